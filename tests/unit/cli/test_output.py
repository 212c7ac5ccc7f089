import json

from tether.cli.option import Output
from tether.cli.output import print_object, print_rows

ROWS = [{"name": "a", "models": ["x:1.0", "y:2.0"], "rate": 1.23456, "none": None}]


def test_rows_json_is_a_list_with_all_fields(capsys):
    print_rows(ROWS, Output.JSON, columns=["name"])
    assert json.loads(capsys.readouterr().out) == ROWS


def test_rows_table_holds_the_chosen_columns(capsys):
    print_rows(ROWS, Output.TABLE, columns=["name", "models", "none"])
    out = capsys.readouterr().out
    assert "x:1.0, y:2.0" in out
    assert "RATE" not in out


def test_rows_brackets_are_no_markup(capsys):
    print_rows([{"name": "[red]x[/red]"}], Output.TABLE)
    assert "[red]x[/red]" in capsys.readouterr().out


def test_rows_none_says_so_and_json_stays_json(capsys):
    print_rows([], Output.TABLE)
    assert capsys.readouterr().err == "none\n"
    print_rows([], Output.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_object_table_has_a_line_per_field(capsys):
    print_object({"name": "a", "context_tokens": 7}, Output.TABLE)
    assert capsys.readouterr().out == "name            a\ncontext tokens  7\n"


def test_rows_in_a_narrow_terminal_become_blocks(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the pipe for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_rows([{"name": "a" * 30, "model": "b" * 30}, {"name": "c", "model": "d"}], Output.TABLE)
    assert capsys.readouterr().out == f"name   {'a' * 30}\nmodel  {'b' * 30}\n\nname   c\nmodel  d\n"


def test_rows_fold_words_and_never_ids(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")
    print_rows([{"name": "a" * 32, "why": "some words " * 6}], Output.TABLE)
    out = capsys.readouterr().out
    assert "a" * 32 in out
    assert out.count("some words") == 6


def test_rows_in_a_pipe_are_a_line_each(capsys):
    print_rows([{"name": "a" * 200, "model": "b" * 200}], Output.TABLE)
    assert len(capsys.readouterr().out.splitlines()) == 3
