"""Nodes of one network, in temporary folders."""

import pytest

from tether.config import ServiceConfig
from tether.identity import Role
from tether.node.node import Node
from tether.node.region import prepare


@pytest.fixture
def folders(tmp_path):
    return prepare(tmp_path, "local", {"gateway": "gateway", "orchestrator": "orchestrator", "worker-1": "worker"})


@pytest.fixture
async def opened(folders):
    nodes = []

    async def make(name: str, role: Role, *, bootstrap=(), **settings) -> Node:
        config = ServiceConfig(state=folders[name], bootstrap=tuple(bootstrap), **settings)
        node = await Node.open(config, role)
        nodes.append(node)
        return node

    yield make
    for node in reversed(nodes):
        await node.close()
