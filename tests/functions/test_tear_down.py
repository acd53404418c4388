"""The custom resource that ends what functions made, when the stack goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mlplatform.custom_resource import Request
from mlplatform.decisions import EndResource
from mlplatform.errors import AwsError, TryAgain
from mlplatform.facts import Owned
from tear_down import at_deletion, tear_down


@dataclass
class FakeAws:
    """An account whose endpoints need a look to go, and whose other things go at once."""

    left: list[Owned]
    status: str = "DELETE_IN_PROGRESS"
    refuse: Callable[[EndResource], bool] = lambda _: False
    ended: list[str] = field(default_factory=list)

    def stack_status(self, _: str) -> str:
        return self.status

    def owned(self) -> tuple[Owned, ...]:
        seen = tuple(self.left)
        self.left = [one for one in self.left if one.state != "Deleting"]
        return seen

    def apply(self, decision: EndResource) -> EndResource:
        if self.refuse(decision):
            raise AwsError("sagemaker", "DeleteModel", "AccessDeniedException", "no")
        self.ended.append(decision.name)
        index = next(i for i, one in enumerate(self.left) if one.name == decision.name)
        gone = self.left.pop(index)
        if gone.kind == "endpoint":
            self.left.append(Owned("endpoint", gone.name, "Deleting"))
        return decision


def everything() -> list[Owned]:
    return [
        Owned("model-package-group", "shop-flowers"),
        Owned("model-package", "package/1"),
        Owned("model", "model"),
        Owned("endpoint-config", "config"),
        Owned("endpoint", "shop-flowers-endpoint", "InService"),
        Owned("training-job", "job", "InProgress"),
    ]


def app(aws: FakeAws) -> Any:
    return SimpleNamespace(aws=aws, settings=SimpleNamespace(stack_name="shop"))


def later(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def request(kind: str) -> Request:
    return Request(kind, "http://127.0.0.1:9/", "arn:aws:cloudformation:us-east-1:123456789012:stack/shop/1", "r", "T")


def test_pass_after_pass_everything_goes_in_order() -> None:
    aws, slept = FakeAws(everything()), []
    done = tear_down(app(aws), later(), slept.append)
    assert aws.ended == ["job", "shop-flowers-endpoint", "package/1", "model", "config", "shop-flowers"]
    assert done[-1].reason == "Nothing that the functions made is left."
    assert len(slept) == 1, "once, for the endpoint to go"


def test_when_the_time_is_over_the_next_attempt_is_asked_for() -> None:
    aws = FakeAws(everything())
    with pytest.raises(TryAgain, match="1 training job"):
        tear_down(app(aws), time.monotonic() - 1)
    assert tear_down(app(aws), later(), lambda _: None)[-1].reason == "Nothing that the functions made is left."


def test_what_aws_refuses_does_not_keep_the_rest() -> None:
    aws = FakeAws(everything(), refuse=lambda decision: decision.name == "model")
    with pytest.raises(AwsError, match="AccessDenied"):
        tear_down(app(aws), later(), lambda _: None)
    assert [one.name for one in aws.left] == ["shop-flowers", "model"]


@pytest.mark.parametrize("status", ["DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_a_stack_that_goes_takes_everything_along(status: str) -> None:
    aws = FakeAws([Owned("model", "model")], status)
    at_deletion(app(aws), request("Delete"), later())
    assert aws.ended == ["model"]


@pytest.mark.parametrize("status", ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"])
def test_a_stack_that_lives_on_keeps_everything(status: str) -> None:
    """An update to a template without this resource deletes the resource, and must not delete endpoints."""
    aws = FakeAws(everything(), status)
    [done] = at_deletion(app(aws), request("Delete"), later())
    assert aws.ended == []
    assert "lives on" in done.reason


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_nothing_is_ended_before_the_stack_goes(kind: str) -> None:
    aws = FakeAws(everything())
    at_deletion(app(aws), request(kind), later())
    assert aws.ended == []
