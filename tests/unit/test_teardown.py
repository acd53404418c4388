"""What is ended, and in which order, when the stack goes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cli.teardown import Kept, what_it_costs
from mlplatform.facts import Owned, OwnedKind
from mlplatform.teardown import plan_teardown, said

STACK = "shop"


def ended(*owned: Owned) -> list[str]:
    return [one.name for one in plan_teardown(owned, STACK).ends]


def test_where_nothing_is_left_there_is_nothing_to_do() -> None:
    step = plan_teardown((), STACK)
    assert (step.ends, step.waiting, step.later) == ((), (), 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tuning-job", "training-job"),
        ("pipeline-execution", "endpoint"),
        ("training-job", "endpoint"),
        ("endpoint", "endpoint-config"),
        ("endpoint", "model"),
        ("endpoint", "scaling-target"),
        ("model-package", "model-package-group"),
        ("log-group", "model-package-group"),
    ],
)
def test_what_something_depends_on_goes_after_it(first: OwnedKind, second: OwnedKind) -> None:
    assert ended(Owned(second, "later"), Owned(first, "now")) == ["now"]


@pytest.mark.parametrize("state", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
def test_an_endpoint_that_sagemaker_would_not_delete_now_is_waited_for_and_its_config_too(state: str) -> None:
    busy = Owned("endpoint", "shop-flowers", state)
    step = plan_teardown((busy, Owned("endpoint-config", "shop-flowers-1")), STACK)
    assert step.ends == ()
    assert step.waiting == (busy,)
    assert step.later == 1


@pytest.mark.parametrize("state", ["InService", "Failed", "OutOfService", "UpdateRollbackFailed"])
def test_an_endpoint_in_any_other_state_is_deleted(state: str) -> None:
    assert ended(Owned("endpoint", "shop-flowers", state)) == ["shop-flowers"]


def test_a_job_that_stops_already_is_not_stopped_again() -> None:
    stopping, running = Owned("training-job", "a", "Stopping"), Owned("training-job", "b", "InProgress")
    assert ended(stopping, running) == ["b"]


def test_each_end_says_what_goes_and_why() -> None:
    [one] = plan_teardown((Owned("endpoint", "shop-flowers", "InService"),), STACK).ends
    assert one.reason == "Endpoint shop-flowers is deleted: the stack shop that made it goes."
    [two] = plan_teardown((Owned("training-job", "shop-flowers-1", "InProgress"),), STACK).ends
    assert two.reason == "Training job shop-flowers-1 is stopped: the stack shop that made it goes."


def test_what_is_left_is_counted_in_words() -> None:
    assert said(()) == "nothing"
    assert said((Owned("model", "a"), Owned("model", "b"), Owned("log-group", "c"))) == "2 models, 1 log group"


def test_what_a_bucket_costs_that_has_no_price_is_unknown_and_not_nothing() -> None:
    data, models = Kept("data", 2, 2048, Decimal("0.25")), Kept("models", 1, 1024, None)
    assert what_it_costs([data]) == "What was kept costs $0.2500 a month."
    assert what_it_costs([models]) == "What models costs is unknown."
    assert what_it_costs([data, models]) == (
        "What models costs is unknown; the rest that was kept costs $0.2500 a month."
    )
