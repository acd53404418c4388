"""A command that a person is told works as it stands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import advice, terminal
from cli.main import commands
from cli.terminal import Terminal


@pytest.fixture(autouse=True)
def chosen() -> Iterator[None]:
    terminal.choose(["--laptop"], commands())
    yield
    terminal.choose([], commands())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("To wake it: mlp snooze churn --hours 2", "To wake it: mlp --laptop snooze churn --hours 2"),
        ("run `mlp costs resume`, or mlp logs.", "run `mlp --laptop costs resume`, or mlp --laptop logs."),
        ("mlp laptop clock --to 18:05", "mlp laptop clock --to 18:05"),  # which is about the laptop anyway
        ("without mlp status is lost", "without mlp --laptop status is lost"),
        (".venv/bin/mlp status, mlp can", ".venv/bin/mlp status, mlp can"),
        ("mlp --laptop status", "mlp --laptop status"),
    ],
)
def test_a_command_gets_the_options_that_chose_the_account(said: str, shown: str) -> None:
    assert terminal.with_options(said) == shown


def test_a_command_is_called_as_the_person_called_it() -> None:
    terminal.choose(["--laptop"], commands(), "PORT=4711 .venv/bin/mlp")
    said = "try it: mlp predict churn; mlp laptop clock --to 18:05"
    assert terminal.with_options(said) == (
        "try it: PORT=4711 .venv/bin/mlp --laptop predict churn; PORT=4711 .venv/bin/mlp laptop clock --to 18:05"
    )
    terminal.choose([], commands(), ".venv/bin/mlp")
    assert terminal.with_options("mlp status") == ".venv/bin/mlp status"


def test_mlp_is_called_by_its_bare_name_where_a_shell_finds_it(tmp_path: Path) -> None:
    mine, other = tmp_path / "mlp", tmp_path / "elsewhere" / "mlp"
    other.parent.mkdir()
    for file in (mine, other):
        file.touch()
    assert terminal.program(str(mine), str(mine), None) == "mlp"
    assert terminal.program(str(mine), None, None) == str(mine)
    assert terminal.program(str(mine), str(other), "4711") == f"PORT=4711 {mine}"
    assert terminal.program("/usr/lib/python3/cli/main.py", None, None) == "mlp"


def test_who_chose_nothing_is_told_plain_commands() -> None:
    terminal.choose([], commands())
    assert terminal.with_options("mlp status") == "mlp status"


def test_a_command_of_the_aws_cli_goes_to_the_laptop_and_not_to_aws() -> None:
    how = "Think first, then aws s3api put-bucket-lifecycle-configuration --bucket b (AWS says how)"
    assert advice.at("http://127.0.0.1:4566", how) == (
        "Think first, then aws --endpoint-url http://127.0.0.1:4566 s3api put-bucket-lifecycle-configuration "
        "--bucket b (AWS says how)"
    )


def shown(text: str, width: int, *, terminal: bool = True, hang: int = 0) -> list[str]:
    """What stands on the screen, or in a pipe."""
    out = io.StringIO()
    Terminal(file=out, width=width, force_terminal=terminal, color_system=None).print(text, hang=hang)
    return out.getvalue().splitlines()


def test_a_line_is_broken_between_words_and_keeps_its_indentation() -> None:
    assert shown("the model is [bold]kept[/bold]\n  -> run it again", 12) == [
        "the model is",
        "kept",
        "  -> run it",
        "  again",
    ]


def test_what_hangs_is_indented_by_so_much_where_it_goes_on() -> None:
    assert shown("10:00 notify Posted it to Slack", 16, hang=6) == ["10:00 notify", "      Posted it", "      to Slack"]


def test_an_address_is_never_broken() -> None:
    assert shown("see http://127.0.0.1:4566/a/b?c=d for it", 12) == ["see", "http://127.0.0.1:4566/a/b?c=d", "for it"]


def test_a_command_in_backticks_is_not_broken_either() -> None:
    assert shown("See `mlp status churn`, or ask", 28) == ["See", "`mlp --laptop status churn`,", "or ask"]


def test_what_is_piped_keeps_its_lines() -> None:
    assert shown("the model is kept, and mlp status says why", 12, terminal=False) == [
        "the model is kept, and mlp --laptop status says why"
    ]
