"""Settings: one source over another, and all errors at once."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from tether.config import ServiceConfig, load, split_address, variable
from tether.errors import Reason, TetherError


class Config(ServiceConfig):
    """A service's settings with a field of its own."""

    weights: dict[str, float] = Field(default={})
    slots: int = Field(default=4, ge=1)


def read(file: Path | None = None, environ: dict[str, str] | None = None, **flags: object) -> Config:
    return load(Config, service="gateway", file=file, flags={"state": "here", **flags}, environ=environ or {})


def refused(**kwargs: object) -> TetherError:
    with pytest.raises(TetherError) as caught:
        read(**kwargs)
    assert caught.value.reason is Reason.INVALID_FIELD
    return caught.value


def test_defaults_need_only_a_state_folder() -> None:
    config = read()
    assert (config.state, config.region, config.metrics_port) == (Path("here"), "local", None)


def test_sources_win_in_the_stated_order(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text(
        'region = "eu-a"\noverlay_port = 1\nslots = 2\n[worker]\nslots = 9\n[gateway]\nlog_level = "debug"\n'
    )
    environ = {"TETHER_GATEWAY_OVERLAY_PORT": "2", "TETHER_GATEWAY_SLOTS": "3", "TETHER_WORKER_SLOTS": "8"}
    config = read(file, environ, slots=4)
    assert (config.region, config.overlay_port, config.slots, config.log_level) == ("eu-a", 2, 4, "debug")


def test_flag_none_is_not_given() -> None:
    assert read(environ={"TETHER_GATEWAY_METRICS_PORT": "9"}, metrics_port=None).metrics_port == 9


def test_foreign_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "elsewhere")
    assert load(Config, service="gateway", flags={"state": "x"}).region == "local"


def test_environment_lists_are_comma_separated_or_json() -> None:
    environ = {"TETHER_GATEWAY_BOOTSTRAP": "127.0.0.1:1, 127.0.0.1:2", "TETHER_GATEWAY_WEIGHTS": '{"model": 2}'}
    config = read(environ=environ)
    assert config.bootstrap == ("127.0.0.1:1", "127.0.0.1:2")
    assert config.weights == {"model": 2.0}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        read().region = "other"  # type: ignore[misc]


def test_all_errors_are_reported_at_once_with_field_source_and_rule(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("slots = 0\n")
    environ = {"TETHER_GATEWAY_OVERLAY_PORT": "70000"}
    text = str(refused(file=file, environ=environ, region="EU West", drain_grace_s="nan"))
    assert "4 settings are wrong for gateway" in text
    assert f"slots (in {file}): Input should be greater than or equal to 1" in text
    assert "overlay_port (from TETHER_GATEWAY_OVERLAY_PORT): Input should be less than or equal to 65535" in text
    assert "region (from --region): must be lower-case" in text
    assert "drain_grace_s (from --drain-grace-s)" in text


def test_missing_setting_says_how_to_give_it() -> None:
    with pytest.raises(TetherError, match=r"state .not set; give --state or TETHER_GATEWAY_STATE"):
        load(Config, service="gateway", environ={})


@pytest.mark.parametrize(
    ("kwargs", "nearest"),
    [
        ({"regoin": "x"}, "Did you mean --region"),
        ({"environ": {"TETHER_GATEWAY_REGOIN": "x"}}, "Did you mean TETHER_GATEWAY_REGION"),
    ],
)
def test_unknown_setting_is_refused_with_the_nearest_name(kwargs: dict[str, object], nearest: str) -> None:
    assert nearest in refused(**kwargs).message


def test_what_kubernetes_injects_is_no_setting() -> None:
    injected = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT", "PORT_7400_TCP", "PORT_7400_TCP_ADDR")
    environ = {f"TETHER_GATEWAY_{name}": "tcp://10.0.0.1:7400" for name in injected}
    assert read(environ=environ | {"TETHER_GATEWAY_OVERLAY_PORT": "5"}).overlay_port == 5


def test_unknown_key_in_the_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "g.toml"
    file.write_text("overlay-port = 1\n")
    assert "Did you mean overlay_port" in refused(file=file).message


@pytest.mark.parametrize("text", ["region = ", "\0", "gateway = 3\n"])
def test_broken_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "g.toml"
    file.write_text(text)
    assert str(file) in refused(file=file).message


def test_absent_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(file=tmp_path / "none.toml").message


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "[::]", "example.com", "8.8.8.8"])
def test_listen_beyond_loopback_is_refused_with_the_reason(host: str) -> None:
    assert "loopback only until mTLS is there" in refused(listen=f"{host}:0").message


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:7400", "localhost:7400", "127.9.9.9:1"])
def test_listen_on_loopback_is_taken(address: str) -> None:
    assert read(listen=address).listen == address


@pytest.mark.parametrize("address", ["", ":1", "127.0.0.1", "127.0.0.1:-1", "127.0.0.1:70000", "::1:80", "h:\uff11"])
def test_split_address_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"must be|stands in brackets"):
        split_address(address)


def test_bootstrap_needs_a_port() -> None:
    assert "must name the port" in refused(bootstrap=["127.0.0.1:0"]).message


def test_values_are_never_repeated_in_errors() -> None:
    assert "hunter2" not in str(refused(slots="hunter2"))


def test_variable_is_derived() -> None:
    assert variable("worker", "drain_grace_s") == "TETHER_WORKER_DRAIN_GRACE_S"
