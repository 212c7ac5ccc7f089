"""A network with a publisher and a worker, and a folder that can be published."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tether.identity import Identity, Role, Trust, network

NOW_S = 1_800_000_000


@dataclass
class World:
    folder: Path
    trust: Trust

    def node(self, name: str, *roles: Role, ttl_s=3_600.0, now_s=NOW_S) -> Identity:
        network.issue(self.folder / "network", self.folder / name, roles, (), name, ttl_s, now_s=now_s)
        return Identity.load(self.folder / name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    network.init(tmp_path / "network", "home", now_s=NOW_S)
    return World(tmp_path, Trust.load(tmp_path / "network"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "extra").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"format": "onnx-decoder"}))
    (folder / "weights.int8.bin").write_bytes(bytes(range(256)) * 5_000)
    (folder / "extra" / "card.md").write_text("A model.")
    return folder
