"""When a load test ends, what it proposes, and that a step stops at its first error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.loadtest import Step, best, ends, propose, run_step


def step(clients: int = 1, rate: int = 100, p99: float = 0.01, **given: Any) -> Step:
    """A second in which 99 of 100 took `p99` seconds or less."""
    return Step(clients, 1.0, (p99,) * rate, **{"errors": 0, "instances": 1, **given})


def test_percentiles_are_by_nearest_rank() -> None:
    one = Step(1, 2.0, tuple(float(n) for n in range(100, 0, -1)), 0, 1)
    assert (one.per_second, one.percentile(50), one.percentile(99)) == (50.0, 50.0, 99.0)
    assert Step(1, 1.0, (), 3, 1).percentile(99) is None


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], None),
        ([step()], None),
        ([step(), step(2, 106)], None),
        ([step(), step(2, 104)], "hardly more"),
        ([step(p99=0.2)], None),
        ([step(p99=0.201)], "the p99 of 201 ms is above 200 ms"),
        ([step(errors=1, error="ThrottlingException")], "1 request failed, the first with: ThrottlingException"),
        ([step(), step(2, 300, instances=0)], "the number of instances changed"),
        ([step(rate=0)], "nothing was answered"),
        ([step(256)], "256 clients are the most"),
    ],
)
def test_a_load_test_ends_when_more_load_would_tell_nothing(steps: list[Step], why: str | None) -> None:
    said = ends(steps, 0.2)
    assert said is None if why is None else said is not None and why in said


@pytest.mark.parametrize(
    ("steps", "rate"),
    [
        ([step(1, 100), step(2, 180), step(4, 150)], 180),
        ([step(1, 100), step(2, 180, p99=0.3)], 100),  # beyond the bound
        ([step(1, 100), step(2, 180, errors=1)], 100),
        ([step(1, 100), step(2, 180, instances=0)], 100),  # nobody knows how many instances that was
        ([step(2, 180, instances=2), step(1, 100)], 100),  # 90 for each
        ([step(1, 100, p99=0.3)], None),
    ],
)
def test_the_best_step_is_the_fastest_for_an_instance_that_kept_the_bound(steps: list[Step], rate: int | None) -> None:
    found = best(steps, 0.2)
    assert (len(found.latencies) if found else None) == rate


def test_the_proposal_is_the_documented_formula_and_keeps_the_other_wishes() -> None:
    # 412 x 0.5 x 60
    said = propose([step(rate=412)], 0.2, {"max_instances": "3", "instance_type": "ml.m5.large"})
    assert "412.0 x 0.5 (safety) x 60 = 12360 invocations a minute" in said
    line = next(line for line in said.splitlines() if '"hosting": ' in line)
    assert json.loads(line.split('"hosting": ')[1]) == {
        "max_instances": 3,
        "instance_type": "ml.m5.large",
        "invocations_per_instance": 12360,
    }
    assert "docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html" in said
    assert "whole core" not in said


def test_a_client_at_its_own_limit_says_so() -> None:
    assert "This program used a whole core" in propose([step(client_busy=0.95)], 0.2, {})


def test_without_a_step_in_the_bound_nothing_is_proposed() -> None:
    assert "nothing to propose" in propose([step(p99=0.5)], 0.2, {})


def test_a_step_asks_with_all_its_clients_at_once() -> None:
    asking: set[int] = set()

    def ask() -> None:
        asking.add(threading.get_ident())
        time.sleep(0.001)

    answered = run_step(ask, 4, 0.1, lambda: 1)
    assert (answered.clients, answered.errors, len(asking)) == (4, 0, 4)
    assert len(answered.latencies) >= 4


def failing_after(calls: int) -> Callable[[], None]:
    count = iter(range(1_000_000))

    def ask() -> None:
        if next(count) >= calls:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, "InvokeEndpoint")
        time.sleep(0.001)

    return ask


@pytest.mark.parametrize("calls", [0, 10])
def test_a_step_ends_at_its_first_error(calls: int) -> None:
    began = time.monotonic()
    found = run_step(failing_after(calls), 2, 60, lambda: 1)
    assert found.errors
    assert "ThrottlingException" in found.error
    assert time.monotonic() - began < 10


def test_a_fleet_that_changes_during_a_step_has_no_rate_for_each() -> None:
    counts = iter((1, 2))
    assert run_step(lambda: time.sleep(0.001), 1, 0.1, lambda: next(counts)).instances == 0
