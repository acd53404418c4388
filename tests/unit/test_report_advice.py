"""What the morning's report says of the recommendations."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import builders
from mlplatform import report_message, report_page
from mlplatform.cost_report import Report, plan_report
from mlplatform.facts import CostFacts
from mlplatform.recommendations import Call, Confidence, Recommendation


def one(number: int, usd: str, appliable: bool = False) -> Recommendation:
    calls = (Call("logs", "delete_log_group", {"logGroupName": "g"}),) if appliable else ()
    return Recommendation(
        number, f"Thing <{number}>", "Because.", Decimal(usd), Confidence.HIGH, "Do it.", calls, subject=str(number)
    )


def report(*advice: Recommendation, usd: str = "0", missing: tuple[str, ...] = ()) -> Report:
    facts = CostFacts(date(2026, 11, 24), None, None, None)
    made = plan_report(facts, builders.settings())
    return replace(made, advice=advice, advice_usd=Decimal(usd), not_looked_at=missing)


def test_what_saves_is_named_with_its_dollars_and_its_command() -> None:
    lines = report_message.advice(report(one(1, "58.96", appliable=True), one(2, "8.00"), one(3, "0.00"), usd="66.96"))
    assert lines == [
        "1. Thing <1>: $58.96 a month (high confidence); mlp costs apply 1 does it",
        "2. Thing <2>: $8.00 a month (high confidence)",
        "Together up to $66.96 a month; mlp costs advice says why and how.",
        "1 thing to tidy up that costs nothing yet.",
    ]


def test_only_the_largest_five_are_in_the_message_and_all_are_on_the_page() -> None:
    made = report(*(one(n, "1.00") for n in range(1, 9)), usd="8.00")
    lines = report_message.advice(made)
    assert len(lines) == 6
    assert "with 3 more" in lines[-1]
    assert all(f"{n}. Thing &lt;{n}&gt;" in report_page.page(made) for n in range(1, 9))


def test_what_could_not_be_looked_at_is_said() -> None:
    assert report_message.advice(report(missing=("buckets (ListBuckets: AccessDenied)",))) == [
        "Not looked at: buckets (ListBuckets: AccessDenied)."
    ]


def test_without_advice_there_is_no_section() -> None:
    assert "What to do next" not in [title for title, _ in report_message.sections(report())]
