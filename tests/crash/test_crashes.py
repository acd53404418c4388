"""A function that fails or dies at any of its calls: its event comes again, and the account is as if it had not.

explorer.py says how a case is made and what it is held against. Nothing is chosen by hand but the scenarios: each call
that a scenario is seen to make gives two cases, and three where it may change the account.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from crash.scenarios import SCENARIOS
from standing_account import is_write

from mlplatform.decisions import Decision

FUNCTIONS = Path(__file__).parents[2] / "functions"
Explore = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def explore() -> Iterator[Explore]:
    """One process that has loaded everything, for all scenarios: it forks."""
    explorer = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("explorer.py"))],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "MOTO_IAM_LOAD_MANAGED_POLICIES": "false",  # a thousand of them, and a second
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert explorer.stdin is not None
    assert explorer.stdout is not None
    asked, told = explorer.stdin, explorer.stdout

    def ask(scenario: str) -> dict[str, Any]:
        asked.write(f"{scenario}\n")
        asked.flush()
        return json.loads(told.readline())  # type: ignore[no-any-return]

    yield ask
    asked.close()
    explorer.wait(10)


def in_halves() -> list[Any]:
    """Two groups, so that two workers share the work, and each makes one process."""
    return [
        pytest.param(name, marks=pytest.mark.xdist_group(f"crashes-{number % 2}"))
        for number, name in enumerate(SCENARIOS)
    ]


@pytest.mark.parametrize("name", in_halves())
def test_a_crash_at_any_call_changes_nothing_in_the_end(name: str, explore: Explore, subtests: pytest.Subtests) -> None:
    found = explore(name)
    assert not found.get("problems"), found["problems"]
    assert SCENARIOS[name].decides <= set(found["decided"]), f"this account takes another branch: {found['decided']}"
    for case in found["cases"]:
        if case["problems"]:  # thousands of good ones would only fill the screen
            with subtests.test(f"{name} {case['number']} {case['call']} {case['mode']}"):
                assert case["problems"] == []
    told = [(case["number"], case["mode"]) for case in found["cases"]]
    made = [(number, mode) for number, call in enumerate(found["calls"]) for mode in modes(call)]
    assert told == made, "every call gives its cases, and none was left out"


def modes(call: str) -> tuple[str, ...]:
    changes = is_write(call.partition(".")[2])
    return ("fails", "killed after", "answer lost") if changes else ("fails", "killed after")


def test_every_decision_has_its_scenario() -> None:
    """So that a function which comes to something new gets a scenario of it."""
    decided = {name for scenario in SCENARIOS.values() for name in scenario.decides}
    assert {one.__name__ for one in get_args(Decision)} - decided == {"Skip"}, "it does nothing"


def test_every_function_has_its_scenarios() -> None:
    assert {scenario.function for scenario in SCENARIOS.values()} == {path.stem for path in FUNCTIONS.glob("*.py")}
