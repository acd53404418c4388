"""A command that a person is told works as it stands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli import terminal
from cli.main import commands


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


def test_who_chose_nothing_is_told_plain_commands() -> None:
    terminal.choose([], commands())
    assert terminal.with_options("mlp status") == "mlp status"
