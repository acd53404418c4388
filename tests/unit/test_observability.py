"""What a decision's line in the log holds, by which people and saved queries find it."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest

from mlplatform.decisions import Decision, Skip, WarnOfEnd
from mlplatform.observability import ABOUT, decided, logger, metrics


def test_a_line_tells_the_decision_its_reason_and_what_it_is_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "tests")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "tests")  # what is made here is kept for the tests that follow
    monkeypatch.setattr(logger().registered_handler, "stream", __import__("sys").stdout)
    decided(WarnOfEnd("It ends tomorrow.", "shop-churn", "arn:config", {}))
    decided(Skip("Nothing to do."))
    metrics().clear_metrics()
    warned, skipped = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (warned["decision"], warned["message"]) == ("WarnOfEnd", "It ends tomorrow.")
    assert warned["endpoint_name"] == "shop-churn"
    assert skipped["decision"] == "Skip"
    assert not set(ABOUT) & set(skipped)


def test_what_a_decision_may_be_about_is_a_member_of_some_decision() -> None:
    members = {field.name for kind in get_args(Decision) for field in dataclasses.fields(kind)}
    assert set(ABOUT) <= members
