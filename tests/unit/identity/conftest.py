"""A network with a gateway and a worker, in a temporary folder."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tether.identity import Identity, Role, Trust, network

NOW_S = 1_800_000_000


@dataclass
class World:
    folder: Path
    trust: Trust

    def node(self, name: str, *roles: Role, regions=(), ttl_s=3_600.0, now_s=NOW_S) -> Identity:
        network.issue(self.folder / "network", self.folder / name, roles, regions, name, ttl_s, now_s=now_s)
        return Identity.load(self.folder / name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    network.init(tmp_path / "network", "home", now_s=NOW_S)
    return World(tmp_path, Trust.load(tmp_path / "network"))
