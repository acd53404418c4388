"""Every saving counts once, in dollars, with the formula that anybody can check."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import NOON, settings
from mlplatform import ledger
from mlplatform.decisions import Notify, RecordSaving
from mlplatform.errors import UnknownPrice

REGION = "us-east-1"


def job(**changed: Any) -> Any:
    return builders.training_job(**{"ended": NOON, **changed})


@pytest.mark.parametrize(
    ("changed", "usd"),
    [
        ({"training_seconds": 300, "billable_seconds": 100}, "0.012778"),  # 200 s of 0.23 USD an hour
        ({"training_seconds": 3600, "billable_seconds": 0}, "0.230000"),
        ({"training_seconds": 3600, "billable_seconds": 1800, "instance_count": 4}, "0.460000"),
        ({"training_seconds": 3600, "billable_seconds": 1080, "instance_type": "ml.p3.2xlarge"}, "2.677500"),
    ],
)
def test_spot_saves_the_unbilled_seconds_of_every_instance_at_the_list_price(changed: Any, usd: str) -> None:
    saving = ledger.spot_saving(job(**changed), REGION)
    assert saving is not None
    assert saving.usd == Decimal(usd)


@pytest.mark.parametrize(
    "changed",
    [
        {"spot": False},
        {"billable_seconds": 300},
        {"billable_seconds": None},
        {"training_seconds": None},
        {"training_seconds": 0, "billable_seconds": 0},
        {"ended": None},
    ],
)
def test_nothing_is_claimed_where_nothing_was_saved_or_nobody_knows(changed: Any) -> None:
    assert ledger.spot_saving(job(**changed), REGION) is None


def test_the_formula_holds_every_number_that_it_was_made_of() -> None:
    saving = ledger.spot_saving(job(instance_count=2), REGION)
    assert saving is not None
    for number in ("300 s", "100 s", "x 2 x", "0.23 USD/hour", "ml.m5.xlarge", "/ 3600 s", str(saving.usd)):
        assert number in saving.formula


def test_the_same_job_is_the_same_object_and_another_job_another() -> None:
    first, again = (ledger.spot_saving(job(), REGION) for _ in range(2))
    other = ledger.spot_saving(job(arn="arn:aws:sagemaker:us-east-1:123456789012:training-job/other"), REGION)
    assert first is not None
    assert again is not None
    assert other is not None
    assert ledger.object_key(first) == ledger.object_key(again) != ledger.object_key(other)
    assert ledger.object_key(first).startswith("ledger/2026-11/spot-")


def test_the_end_of_the_job_decides_the_month() -> None:
    late = ledger.spot_saving(job(ended=NOON + timedelta(days=8)), REGION)
    assert late is not None
    assert ledger.object_key(late).startswith("ledger/2026-12/")


def test_an_entry_is_read_back_as_it_was_written() -> None:
    saving = ledger.entry("night", "ml-platform-churn 2026-11-23", Decimal("1.428"), "14 h x 0.102", NOON, "churn")
    assert ledger.parse(json.dumps(ledger.document(saving)).encode()) == saving


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"kind": "spot", "key": "k", "usd": "much"}'])
def test_a_damaged_entry_is_an_error_that_shows_it(content: bytes) -> None:
    with pytest.raises(ValueError, match="An entry of the ledger"):
        ledger.parse(content)


def test_a_type_without_a_price_is_told_once_and_is_never_a_saving_of_zero() -> None:
    odd = job(instance_type="ml.p5.48xlarge")
    with pytest.raises(UnknownPrice, match=r"ml\.p5\.48xlarge"):
        ledger.spot_saving(odd, REGION)
    decision = ledger.plan_spot_saving(odd, settings())
    assert isinstance(decision, Notify)
    assert "ml.p5.48xlarge" in decision.once
    assert isinstance(ledger.plan_spot_saving(job(), settings()), RecordSaving)
