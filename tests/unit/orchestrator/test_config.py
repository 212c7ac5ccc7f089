"""Settings: weights are known terms, shares are shares, all errors at once."""

from pathlib import Path

import pytest

from tether.config import load
from tether.errors import TetherError
from tether_orchestrator.config import Config


def test_defaults_need_only_a_state_folder(tmp_path: Path) -> None:
    config = load(Config, service="orchestrator", flags={"state": tmp_path}, environ={})
    assert (config.session_lease_s, config.weights, config.region) == (5.0, {}, "local")


def test_wrong_weight_and_wrong_share_are_both_named(tmp_path: Path) -> None:
    flags = {"state": tmp_path, "weights": {"hope": 1.0}, "proximity": {"eu": 2.0}}
    with pytest.raises(TetherError) as caught:
        load(Config, service="orchestrator", flags=flags, environ={})
    assert "hope" in caught.value.message
    assert "proximity" in caught.value.message
