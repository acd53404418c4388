"""Facts become a report whose figures add up to the cent. Expected values are worked out by hand. Pure: no AWS."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import pytest

import builders
from mlplatform.cost_report import (
    Report,
    apportion,
    document,
    money,
    plan_report,
    precise,
    same_day_last_month,
)
from mlplatform.facts import CostFacts, CostLine, EndpointBirth, Forecast, JobRun, Saving, TaggedCost

TODAY = date(2026, 11, 24)
YESTERDAY = date(2026, 11, 23)
SAGEMAKER, S3 = "Amazon SageMaker", "Amazon Simple Storage Service"


def line(day: date, amount: str, service: str = SAGEMAKER, kind: str = "Usage", **changed: Any) -> CostLine:
    return CostLine(day, service, kind, D(amount), **{"currency": "USD", "estimated": True, **changed})


def tagged(day: date, amount: str, project: str = "ml-platform", dataset: str = "churn") -> TaggedCost:
    return TaggedCost(day, project, dataset, D(amount), "USD")


def november(day: int) -> date:
    return date(2026, 11, day)


def report(facts: CostFacts | None = None, *, budget: str = "500", **changed: Any) -> Report:
    facts = facts or CostFacts(TODAY, **changed)
    return plan_report(facts, builders.settings(monthly_budget_usd=D(budget)))


def job(name: str = "ml-platform-churn-0123456789ab-a1b2c", *, billable: int = 3600, day: date = YESTERDAY) -> JobRun:
    ended = datetime(day.year, day.month, day.day, 9, tzinfo=UTC)
    return JobRun(name, "ml.m5.xlarge", 1, billable * 3, billable, True, ended)


# ---- adding up ----


@pytest.mark.parametrize(
    ("amounts", "cents"),
    [
        ([], []),
        (["1.004"], ["1.00"]),
        (["0.005"], ["0.01"]),
        # the cent that is left over goes to the row that lost most
        (["0.3333333", "0.3333333", "0.3333334"], ["0.33", "0.33", "0.34"]),
        # none is worth half a cent, together they are worth one: of equals the first gets it
        (["0.004", "0.004", "0.004"], ["0.01", "0.00", "0.00"]),
        (["10.006", "-3.333", "0"], ["10.00", "-3.33", "0.00"]),
    ],
)
def test_rounded_rows_add_up_to_the_rounded_total(amounts: list[str], cents: list[str]) -> None:
    assert apportion([D(amount) for amount in amounts]) == [D(cent) for cent in cents]


def test_every_table_adds_up_and_agrees_with_the_bill_to_the_cent() -> None:
    lines = tuple(
        line(date(2026, 10, 1) + timedelta(days=n), amount, service, kind)
        for n in range(54)
        for service, kind, amount in (
            (SAGEMAKER, "Usage", "1.0049"),
            (S3, "Usage", "0.0033333"),
            ("AWS Lambda", "Usage", "0.0000017"),
            ("Tax", "Tax", "0.1017"),
            (SAGEMAKER, "Credit", "-0.2001"),
        )
    )
    tags = tuple(
        tagged(one.day, amount, project, dataset)
        for one in lines
        if one.service == SAGEMAKER and one.record_type == "Usage"
        for amount, project, dataset in (
            ("0.7", "ml-platform", "churn"),
            ("0.3049", "ml-platform", "iris"),
            ("0.0033350", "", ""),
        )
    )
    made = report(lines=lines, tagged=tags)
    assert made.services is not None
    assert made.projects is not None
    assert made.datasets is not None
    # 23 days of 1.0049 + 0.0033333 + 0.0000017 + 0.1017 - 0.2001 = 0.909835: 20.926205; one day of it: 0.909835
    assert made.services.total.month_to_date == D("20.93")
    assert made.services.total.yesterday == D("0.91")
    assert made.services.total.last_month == D("20.93")
    for table in (made.services, made.projects, made.datasets):
        for column in ("yesterday", "month_to_date", "last_month"):
            assert sum(getattr(row, column) for row in table.rows) == getattr(table.total, column)
    use = sum(row.month_to_date for row in made.services.rows if row.name not in {"Tax", "Credits"})
    assert made.projects.total.month_to_date == made.datasets.total.month_to_date == use
    assert made.missing == ()


def test_tax_credits_and_refunds_have_rows_of_their_own_behind_the_services() -> None:
    made = report(
        lines=(
            line(november(2), "10"),
            line(november(2), "5", S3),
            line(november(1), "1.90", "Tax", "Tax"),
            line(november(3), "-4", SAGEMAKER, "Credit"),
            line(november(3), "-1", S3, "Refund"),
        )
    )
    assert made.services is not None
    assert [(row.name, row.month_to_date) for row in made.services.rows] == [
        (SAGEMAKER, D("10.00")),
        (S3, D("5.00")),
        ("Tax", D("1.90")),
        ("Refunds", D("-1.00")),
        ("Credits", D("-4.00")),
    ]
    assert made.services.total.month_to_date == D("11.90")


def test_amounts_in_two_currencies_are_never_added() -> None:
    made = report(
        lines=(
            line(november(2), "10"),
            line(november(2), "70", currency="CNY"),
            line(november(2), "0", S3, currency="N/A"),
        ),
        tagged=(TaggedCost(november(2), "ml-platform", "", D(70), "CNY"), tagged(november(2), "10")),
    )
    assert made.services is not None
    assert made.services.total.month_to_date == D("10.00")
    assert made.other_currencies == (("CNY", D(70)),)
    assert made.budget.spent_usd == D("10.00")


def test_a_bill_in_another_currency_is_shown_in_it_and_not_held_against_a_budget_in_dollars() -> None:
    made = report(lines=(line(november(2), "70", currency="CNY"),))
    assert made.currency == "CNY"
    assert made.budget.sentence == ("How much of the budget of $500.00 is left is not known: the bill is in CNY.")
    assert money(D(70), made.currency) == "70.00 CNY"


def test_what_the_answer_by_tag_lacks_has_a_row_and_a_sentence() -> None:
    made = report(lines=(line(november(2), "10"),), tagged=(tagged(november(2), "7.50"),))
    assert made.projects is not None
    assert [(row.name, row.month_to_date) for row in made.projects.rows] == [
        ("ml-platform", D("7.50")),
        ("not in this answer", D("2.50")),
    ]
    assert "differ" in made.missing[0]


def test_the_untagged_share_leaves_out_tax_and_credits() -> None:
    made = report(
        lines=(line(november(2), "8"), line(november(2), "2", S3), line(november(1), "5", "Tax", "Tax")),
        tagged=(tagged(november(2), "8"), tagged(november(2), "2", "", "")),
    )
    assert made.untagged_percent == D("20.0")


def test_what_carries_the_project_but_no_dataset_is_the_platform_itself() -> None:
    made = report(
        lines=(
            line(november(2), "8"),
            line(november(2), "0.60", "AmazonCloudWatch"),
            line(november(2), "0.03", "AWS Cost Explorer"),
        ),
        tagged=(tagged(november(2), "8"), tagged(november(2), "0.60", dataset=""), tagged(november(2), "0.03", "", "")),
    )
    assert made.own_usd == D("0.63")


def test_without_any_dataset_on_the_bill_nobody_can_tell_what_the_platform_itself_costs() -> None:
    lines = (line(november(2), "8"), line(november(2), "1", S3))
    made = report(lines=lines, tagged=(tagged(november(2), "9", dataset=""),))
    assert (made.own_usd, made.datasets) == (None, None)
    assert "No cost carries the tag ml-platform:dataset" in made.missing[0]
    quiet = report(lines=lines[1:], tagged=(tagged(november(2), "1", dataset=""),))
    assert (quiet.own_usd, quiet.missing) == (D("1.00"), ())


# ---- days ----


@pytest.mark.parametrize(
    ("day", "same"),
    [
        (date(2026, 11, 23), date(2026, 10, 23)),
        (date(2026, 10, 31), date(2026, 9, 30)),
        (date(2026, 3, 31), date(2026, 2, 28)),
        (date(2028, 3, 29), date(2028, 2, 29)),
        (date(2027, 1, 1), date(2026, 12, 1)),
    ],
)
def test_the_same_day_last_month_is_its_last_where_it_has_fewer(day: date, same: date) -> None:
    assert same_day_last_month(day) == same


def test_the_first_of_a_month_reports_on_the_whole_month_before() -> None:
    made = report(
        CostFacts(
            date(2026, 12, 1),
            lines=(
                line(november(1), "1"),
                line(november(30), "2"),
                line(date(2026, 10, 31), "4"),
                line(date(2026, 10, 30), "8"),
            ),
        )
    )
    assert made.services is not None
    assert (made.day, made.compared_until) == (november(30), date(2026, 10, 30))
    assert (made.services.total.yesterday, made.services.total.month_to_date) == (D("2.00"), D("3.00"))
    assert made.services.total.last_month == D("8.00")  # the 31st has no counterpart
    assert made.month_end is None
    assert made.forecast == "There is no forecast: November is over."


@pytest.mark.parametrize(("estimated", "said"), [(True, True), (False, False)])
def test_yesterday_is_marked_estimated_where_aws_says_so(estimated: bool, said: bool) -> None:
    assert report(lines=(line(YESTERDAY, "1", estimated=estimated), line(november(1), "1"))).estimated is said


# ---- what is to come ----


def test_the_forecast_is_what_was_spent_and_what_is_expected_from_today() -> None:
    made = report(lines=(line(november(2), "100.004"),), forecast=Forecast(TODAY, D("41.238"), "USD"))
    assert made.month_end == D("141.24")
    assert made.forecast == (
        "$141.24 by the end of November: $100.00 so far and $41.24 that Cost Explorer forecasts for 24 November to "
        "30 November."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"forecast_note": "There is no forecast: too little history."}, "There is no forecast: too little history."),
        ({}, "There is no forecast: Cost Explorer was not asked."),
        ({"forecast": Forecast(TODAY, D(7), "CNY")}, "There is no forecast in USD: Cost Explorer's is 7 CNY."),
    ],
)
def test_a_sentence_says_why_there_is_no_forecast(changed: dict[str, Any], said: str) -> None:
    made = report(lines=(line(november(2), "1"),), **changed)
    assert (made.month_end, made.forecast) == (None, said)


def spending(*amounts: str) -> tuple[tuple[CostLine, ...], tuple[TaggedCost, ...]]:
    """On the days up to yesterday, the last amount yesterday's; half of each carries the project."""
    days = [YESTERDAY - timedelta(days=n) for n in reversed(range(len(amounts)))]
    return (
        tuple(line(day, str(D(amount) * 2)) for day, amount in zip(days, amounts, strict=True)),
        tuple(
            one
            for day, amount in zip(days, amounts, strict=True)
            for one in (tagged(day, amount), tagged(day, amount, "", ""))
        ),
    )


@pytest.mark.parametrize(
    ("amounts", "budget", "out", "said"),
    [
        # 8 spent, 12 left, the mean of 1, 2, 2, 2 (not yesterday's 1) is 1.75: 12 / 1.75 = 6.9 days, the 30th
        (
            ["1", "2", "2", "2", "1"],
            "20",
            november(30),
            "runs out on 30 November at $1.75 a day, the mean of the 4 days before yesterday.",
        ),
        # 12.25 left are 7 days, exactly to the month's last evening
        (["1", "2", "2", "2", "1"], "20.25", november(30), "runs out on 30 November"),
        (["1", "2", "2", "2", "1"], "20.26", None, "$12.26 is left, which lasts through November at $1.75 a day"),
        # one day of history: yesterday's amount is all there is
        (
            ["3"],
            "10",
            november(26),
            "$7.00 is left, which runs out on 26 November at $3.00 a day, as yesterday.",
        ),
        (["5", "4", "3"], "9", november(22), "it ran out on 22 November, and $3.00 went over it."),
        (["5", "4"], "9", november(23), "it ran out on 23 November."),
        (["0", "0", "1"], "9", None, "$8.00 is left, which lasts through November at $1.00 a day, as yesterday."),
        (["1", *["0"] * 8], "9", None, "$8.00 is left, and nothing is being spent."),
    ],
)
def test_the_day_on_which_the_budget_runs_out(amounts: list[str], budget: str, out: date | None, said: str) -> None:
    lines, tags = spending(*amounts)
    made = report(lines=lines, tagged=tags, budget=budget)
    assert made.budget.runs_out_on == out
    assert said in made.budget.sentence
    assert "on what is tagged Project = ml-platform" in made.budget.sentence


def test_the_whole_account_counts_where_no_cost_carries_the_projects_tag_yet() -> None:
    made = report(lines=(line(november(2), "4"),), tagged=(tagged(november(2), "4", "", ""),), budget="10")
    assert made.budget.left_usd == D("6.00")
    assert "in the whole account, because no cost carries the project's tag" in made.budget.sentence


def test_on_the_months_last_day_nothing_can_run_out_any_more() -> None:
    made = report(CostFacts(date(2026, 12, 1), lines=(line(november(30), "4"),)), budget="10")
    assert made.budget.runs_out_on is None
    assert made.budget.outlook == "$6.00 was left at the month's end."


# ---- why ----


def test_a_mover_is_told_against_the_week_before_with_the_jobs_and_endpoints_that_caused_it() -> None:
    week = tuple(line(YESTERDAY - timedelta(days=n), "1") for n in range(1, 8))
    made = report(
        lines=(*week, line(YESTERDAY, "2.50"), line(YESTERDAY, "0.30", S3), line(YESTERDAY - timedelta(days=9), "99")),
        jobs=(job(), job("ml-platform-churn-small-a1b2c", billable=360), job("older", day=november(20))),
        endpoints=(EndpointBirth("ml-platform-churn", "churn", datetime(2026, 11, 23, 8, tzinfo=UTC)),),
    )
    sagemaker, storage = made.movers
    assert (sagemaker.name, sagemaker.change, sagemaker.usual) == (SAGEMAKER, D("1.50"), D("1.00"))
    # ml.m5.xlarge trains at 0.23 USD an hour: one hour, and a tenth of it
    assert sagemaker.cause == (
        "Training job ml-platform-churn-0123456789ab-a1b2c was billed $0.23; training job "
        "ml-platform-churn-small-a1b2c was billed $0.023; endpoint ml-platform-churn was started."
    )
    assert (storage.change, storage.cause) == (D("0.30"), "The platform does not know what caused it.")


def test_the_first_whole_day_of_an_endpoint_is_told_and_so_is_what_can_not_be_known() -> None:
    lines = (line(november(22), "0.50"), line(YESTERDAY, "2.50"))
    born = EndpointBirth("ml-platform-churn", "churn", datetime(2026, 11, 22, 15, tzinfo=UTC))
    assert report(lines=lines, endpoints=(born,)).movers[0].cause == (
        "Endpoint ml-platform-churn was started the day before, and this was its first whole day."
    )
    assert report(lines=lines).movers[0].cause == (
        "No job ended that would explain it, and no endpoint that is there now was started on these two days."
    )


def test_a_few_predictions_do_not_tell_what_a_thousand_cost() -> None:
    made = report(
        lines=(line(november(2), "9"),),
        tagged=(tagged(november(2), "6"), tagged(november(2), "3", dataset="iris")),
        predictions={"churn": 99, "iris": 100},
    )
    assert [unit.name for unit in made.unit_costs] == ["per dataset", "per 1,000 predictions of iris"]


def test_a_fall_is_explained_by_the_endpoints_that_slept() -> None:
    night = Saving("night", "n1", D("1.428"), "14 h x 0.102", datetime(2026, 11, 23, 8, tzinfo=UTC), "churn")
    made = report(lines=(line(november(22), "3"), line(YESTERDAY, "1")), savings=(night,))
    assert made.movers[0].cause == "1 endpoint slept, which saved $1.43; no training job ended."


def test_unit_costs_come_with_their_formula() -> None:
    made = report(
        lines=(line(november(2), "9"),),
        tagged=(tagged(november(2), "6"), tagged(november(2), "3", dataset="iris")),
        jobs=(job(billable=1800), job(billable=3600)),
        predictions={"churn": 12_000, "iris": 0},
    )
    # the mean of 0.115 and 0.23; 9 for two datasets; 6 for 12 thousand
    assert [(unit.name, unit.usd) for unit in made.unit_costs] == [
        ("per training job", D("0.1725")),
        ("per dataset", D("4.5")),
        ("per 1,000 predictions of churn", D("0.5")),
    ]
    assert made.unit_costs[2].formula == (
        "$6.00 of training and hosting this month / 12,000 predictions (the platform's own check after each start and "
        "change among them) x 1,000"
    )


def test_a_type_without_a_price_is_named_and_its_jobs_are_left_out() -> None:
    strange = JobRun("j", "ml.quantum.xlarge", 1, 60, 60, True, datetime(2026, 11, 23, tzinfo=UTC))
    made = report(lines=(line(november(2), "1"),), jobs=(strange,))
    assert "ml.quantum.xlarge" in made.missing[0]
    assert [unit.name for unit in made.unit_costs] == []


def test_savings_add_up_by_kind_and_say_what_they_leave_out() -> None:
    at = datetime(2026, 11, 5, tzinfo=UTC)
    made = report(
        savings=(
            Saving("spot", "a", D("0.004"), "f1", at, "churn"),
            Saving("night", "b", D("1.428"), "f2", at, "churn"),
            Saving("spot", "c", D("0.009"), "f3", at, "churn"),
        )
    )
    # 1.428 + 0.013 = 1.441
    assert made.saved_usd == D("1.44")
    assert [(kind.kind, kind.usd, len(kind.entries)) for kind in made.savings] == [
        ("night", D("1.43"), 1),
        ("spot", D("0.01"), 2),
    ]
    assert "refuses every request" in made.savings[0].caveat


def test_cost_explorer_requests_are_told_with_their_price() -> None:
    made = report(requests=3)
    assert (made.requests, made.requests_usd) == (3, D("0.03"))


# ---- what is missing ----


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"missing": ("What was spent by service: Cost Explorer is off.",)}, "Cost Explorer is off"),
        ({"lines": ()}, "answered without any cost"),
    ],
)
def test_without_costs_there_is_still_a_report_that_says_so(changed: dict[str, Any], said: str) -> None:
    made = report(jobs=(job(),), **changed)
    assert made.services is None
    assert said in " ".join(made.missing)
    assert made.unit_costs[0].usd == D("0.23")
    assert "is not known: what was spent is not known." in made.budget.sentence


def test_the_numbers_keep_every_digit() -> None:
    made = report(lines=(line(YESTERDAY, "0.1234567890123"),))
    numbers = json.loads(document(made, "words"))
    assert numbers["days"][0]["amounts"] == {SAGEMAKER: "0.1234567890123"}
    assert numbers["services"]["total"]["month_to_date"] == "0.12"
    assert (numbers["day"], numbers["text"]) == ("2026-11-23", "words")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("1234.5", "$1,234.50"), ("-0.4", "-$0.40"), ("-0.001", "$0.00"), ("0.005", "$0.01")],
)
def test_money_is_shown_to_the_cent(amount: str, shown: str) -> None:
    assert money(D(amount)) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("1.5", "$1.50"), ("0.0067", "$0.0067"), ("0.00001234", "$0.000012"), ("0", "$0.00"), ("0.023", "$0.023")],
)
def test_what_is_less_than_a_cent_keeps_two_digits_that_count(amount: str, shown: str) -> None:
    assert precise(D(amount)) == shown
