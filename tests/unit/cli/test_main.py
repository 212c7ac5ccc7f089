import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import tether
from tether.cli import doctor, infer
from tether.cli.main import VERBS, app, main
from tether.errors import Reason, TetherError

runner = CliRunner()


def test_verbs_all_explain_themselves_with_an_example():
    for verb in VERBS:
        found = runner.invoke(app, [verb, "--help"], catch_exceptions=False)
        assert found.exit_code == 0, verb
        leaves = runner.invoke(app, [verb, "ls", "--help"]) if "ls  " in found.output else found
        assert "xample" in leaves.output or "COMMAND" in leaves.output, verb


def test_version_is_printed():
    assert runner.invoke(app, ["--version"]).output.strip() == f"tether {tether.__version__}"


def test_verb_misspelt_names_the_nearest():
    found = runner.invoke(app, ["wrokers"])
    assert isinstance(found.exception, TetherError)
    assert "workers" in found.exception.message


def test_infer_without_region_exits_with_words(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tether.cli", "infer", "hi"],
        env={"TETHER_STATE": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == TetherError(Reason.INVALID_FIELD, "").row.exit
    assert "tether up" in done.stderr
    assert "Traceback" not in done.stderr


def test_network_init_twice_changes_nothing(tmp_path):
    first = json.loads(runner.invoke(app, ["network", "init", "--state", str(tmp_path), "-o", "json"]).output)
    again = json.loads(runner.invoke(app, ["network", "init", "--state", str(tmp_path), "-o", "json"]).output)
    assert first["created"] is True
    assert again["created"] is False
    assert first["network_id"] == again["network_id"]


def test_node_issue_makes_a_private_key(tmp_path):
    runner.invoke(app, ["network", "init", "--state", str(tmp_path)])
    arguments = ["node", "issue", "--role", "worker", "--region", "eu-west", "--network", str(tmp_path)]
    found = runner.invoke(app, [*arguments, "--state", str(tmp_path / "w"), "-o", "json"], catch_exceptions=False)
    assert json.loads(found.output)["roles"] == ["worker"]
    assert (tmp_path / "w" / "node.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("role", ["wroker", "", "root"])
def test_node_issue_unknown_role_is_a_typed_error(tmp_path, role):
    runner.invoke(app, ["network", "init", "--state", str(tmp_path)])
    found = runner.invoke(
        app, ["node", "issue", "--role", role, "--network", str(tmp_path), "--state", str(tmp_path / "w")]
    )
    assert isinstance(found.exception, TetherError)


def test_doctor_lists_objects_with_names(tmp_path):
    found = runner.invoke(app, ["doctor", "--state", str(tmp_path), "-o", "json"])
    assert {"name", "ok", "found", "advice"} <= set(json.loads(found.output)[0])


def test_infer_stdin_that_is_no_text_is_refused():
    found = runner.invoke(app, ["infer", "-"], input=b"caf\xe9")
    assert isinstance(found.exception, TetherError)
    assert found.exception.reason is Reason.INVALID_FIELD
    assert "byte 3" in found.exception.message


def test_infer_stdin_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(infer, "STDIN_BYTES_MAX", 10)
    found = runner.invoke(app, ["infer", "-"], input=b"x" * 11)
    assert isinstance(found.exception, TetherError)
    assert found.exception.reason is Reason.TOO_LARGE


def test_folder_that_the_system_refuses_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["workers", "ls", "--state", "x" * 300])
    assert ended.value.code == TetherError(Reason.STATE_UNUSABLE, "").row.exit
    assert capsys.readouterr().err.count("\n") == 1


def test_bootstrap_that_is_no_address_is_named(tmp_path):
    runner.invoke(app, ["network", "init", "--state", str(tmp_path)])
    found = runner.invoke(app, ["workers", "ls", "--state", str(tmp_path), "--bootstrap", "nowhere"])
    assert isinstance(found.exception, TetherError)
    assert found.exception.field == "bootstrap"


@pytest.mark.parametrize(("value", "colored"), [("1", False), ("", True)])
def test_no_color_reaches_verbs(monkeypatch, tmp_path, value, colored):
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setattr(doctor, "_machine", lambda: typer.secho("painted", fg="red") or [])
    found = runner.invoke(app, ["doctor", "--state", str(tmp_path)], color=True)
    assert ("\x1b[31mpainted" in found.output) is colored
    assert "painted" in found.output
