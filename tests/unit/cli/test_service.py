import pytest

from tether.cli.service import parse_flags, setting_rows
from tether.config import SERVICES
from tether.errors import TetherError


def test_flags_become_settings():
    found = parse_flags(
        ["--state", "x", "--overlay-port=7500", "--standalone", "--bootstrap", "a:1", "--bootstrap", "b:2"]
    )
    assert found == {"state": "x", "overlay_port": "7500", "standalone": "true", "bootstrap": ("a:1", "b:2")}


def test_flags_list_may_be_written_with_commas():
    assert parse_flags(["--bootstrap", "a:1,b:2"]) == {"bootstrap": ("a:1", "b:2")}


def test_flags_last_of_a_single_value_wins():
    assert parse_flags(["--region", "a", "--region", "b"]) == {"region": "b"}


def test_flags_stray_word_is_refused():
    with pytest.raises(TetherError):
        parse_flags(["state", "x"])


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_listed_with_their_meaning(service):
    rows = setting_rows(service)
    assert {"--state", "--region", "--listen", "--bootstrap", "--drain-grace-s"} <= {row["name"] for row in rows}
    assert [row["name"] for row in rows if not row["meaning"]] == []
    assert {row["variable"] for row in rows if row["default"] == "required"} == {f"TETHER_{service.upper()}_STATE"}


def test_settings_of_an_unknown_service_name_the_nearest():
    with pytest.raises(TetherError, match="gateway"):
        setting_rows("gatway")
