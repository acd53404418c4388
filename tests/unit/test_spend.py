"""The meter counts every second once, whatever the ticks do; and a ceiling acts on money that was spent."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import NOON, settings
from mlplatform import holds, names, spend
from mlplatform.decisions import HoldLaunches, LiftHold, Notify, RecordSaving, RecordSpend
from mlplatform.facts import DATASET_TAG, Hold, Run, SpendFacts, SpendMonth

REGION = "us-east-1"
HOUR = timedelta(hours=1)
NOVEMBER = SpendMonth("2026-11")
TAGS = {DATASET_TAG: "churn", "Environment": "dev", "Project": "ml-platform"}


def endpoint(name: str = "ml-platform-churn", **changed: Any) -> Run:
    """One ml.c5.large, 0.102 USD an hour, since noon of the 23rd."""
    one = Run(name, "hosting", name, TAGS, started=NOON, ended=None, fleet=(("ml.c5.large", 1),))
    return replace(one, **changed)


def job(name: str = "ml-platform-churn-1", **changed: Any) -> Run:
    """An ml.m5.xlarge on spot, 0.23 USD an hour, which runs since noon."""
    one = Run(name, "training", name, TAGS, started=NOON, ended=None, fleet=(("ml.m5.xlarge", 1),), spot=True)
    return replace(one, **changed)


def metered(runs: Sequence[Run], *ticks: timedelta, month: SpendMonth = NOVEMBER) -> SpendMonth:
    for after in ticks:
        month = spend.meter(month, runs, NOON + after, REGION)
        month = spend.read_month(json.loads(json.dumps(spend.document(month))))  # as it comes back from its object
    return month


def usd(month: SpendMonth, period: str = "2026-11") -> Decimal:
    return spend.total(month, period)


# ---- counting ----


@pytest.mark.parametrize(
    ("runs", "after", "expected"),
    [
        ([endpoint()], 1, "0.102"),
        ([endpoint()], 10, "1.02"),
        ([endpoint(fleet=(("ml.c5.large", 3),))], 2, "0.612"),
        ([endpoint(fleet=(("ml.c5.large", 1), ("ml.m5.xlarge", 2)))], 1, "0.562"),
        ([endpoint(), endpoint("ml-platform-iris")], 1, "0.204"),
        ([job()], 1, "0.23"),
        ([job(ended=NOON + HOUR, billable_seconds=1080)], 5, "0.069"),
        ([job(ended=NOON + HOUR, billable_seconds=1080, fleet=(("ml.m5.xlarge", 4),))], 5, "0.276"),
        ([job(ended=NOON + HOUR, billable_seconds=0)], 5, "0"),
        ([job(started=None)], 5, "0"),
        ([endpoint(use="notebook", fleet=(("ml.t3.medium", 1),))], 4, "0.2"),
        ([job(use="processing", spot=False, ended=NOON + HOUR)], 3, "0.23"),
        ([endpoint(started=NOON + 2 * HOUR)], 1, "0"),
    ],
)
def test_what_runs_costs_its_time_at_the_list_price(runs: list[Run], after: int, expected: str) -> None:
    assert usd(metered(runs, after * HOUR)) == Decimal(expected)


@pytest.mark.parametrize("seed", range(20))
def test_late_missed_and_repeated_ticks_come_to_the_same(seed: int) -> None:
    rng = random.Random(seed)
    runs = [endpoint(), job(ended=NOON + 90 * timedelta(minutes=1), billable_seconds=1800)]
    ticks = sorted(rng.randrange(0, 20 * 3600) for _ in range(rng.randrange(1, 30)))
    ticks += [rng.choice(ticks) for _ in range(5)]  # an old tick that is delivered again, after newer ones
    month = metered(runs, *(timedelta(seconds=tick) for tick in ticks), 20 * HOUR)
    assert abs(usd(month) - Decimal("2.155")) < Decimal("0.0001")  # 20 h of 0.102 and half an hour of 0.23


def test_two_ticks_at_once_do_not_count_twice_whoever_writes_last() -> None:
    before = metered([endpoint()], HOUR)
    newer = metered([endpoint()], 2 * HOUR, month=before)
    older = metered([endpoint()], timedelta(minutes=90), month=before)
    for written_last in (newer, older):
        assert usd(metered([endpoint()], 3 * HOUR, month=written_last)) == Decimal("0.306")


def test_a_lost_object_is_counted_anew_from_what_exists() -> None:
    kept = metered([endpoint()], HOUR, 2 * HOUR, 3 * HOUR)
    assert usd(metered([endpoint()], 3 * HOUR)) == usd(kept)


def test_what_is_gone_keeps_what_it_cost() -> None:
    month = metered([endpoint()], HOUR)
    assert usd(metered([], 5 * HOUR, month=month)) == Decimal("0.102")


def test_an_endpoint_that_was_deleted_and_made_anew_is_another_run() -> None:
    month = metered([endpoint(key="first")], HOUR)
    again = endpoint(key="second", started=NOON + 10 * HOUR)
    assert usd(metered([again], 11 * HOUR, month=month)) == Decimal("0.204")


def test_time_is_counted_with_the_fleet_that_was_seen_in_it() -> None:
    month = metered([endpoint()], HOUR)
    assert usd(metered([endpoint(fleet=(("ml.c5.large", 5),))], 2 * HOUR, month=month)) == Decimal("0.612")


def fleet(count: int, **changed: Any) -> Run:
    return endpoint(fleet=(("ml.c5.large", count),), **changed)


def scaled_in(month: SpendMonth, since: datetime | None, now: datetime) -> list[tuple[str, Decimal]]:
    """What the ledger gets: on what, and how much."""
    return [(one.saving.key, one.saving.usd) for one in spend.scaled_in(month, since, now, REGION)]


MIDNIGHT = NOON + 12 * HOUR


def test_scaling_in_saves_what_the_days_largest_fleet_would_have_cost_more() -> None:
    """3 hours of one, 2 of four, 7 of two: 3 x 3 and 7 x 2 instance-hours less, at 0.102 USD."""
    month = metered([fleet(1)], HOUR, 2 * HOUR, 3 * HOUR)
    month = metered([fleet(2)], 6 * HOUR, 12 * HOUR, month=metered([fleet(4)], 5 * HOUR, month=month))
    [decision] = spend.scaled_in(month, NOON, MIDNIGHT, REGION)
    assert decision.saving.usd == Decimal("2.346")
    assert (decision.saving.kind, decision.saving.dataset, decision.saving.at.day) == ("scale-in", "churn", 23)
    assert "3.00 hours x (0.408 - 0.102) USD/hour + 7.00 hours x (0.408 - 0.204) USD/hour" in decision.saving.formula


def serverless(usd_on_the_23rd: str, **changed: Any) -> Run:
    """Made at noon of Monday the 23rd; what it cost comes of GB-seconds at 0.00002 USD."""
    seconds = {"2026-11-23": Decimal(usd_on_the_23rd) / Decimal("0.00002")}
    tags = {**TAGS, names.KIND_TAG: "serverless", names.HOSTING_TAG: "kind=serverless memory_gb=2"}
    return endpoint(fleet=(), gb_seconds=seconds, tags=tags, **changed)


def by_kind(run: Run, since: datetime | None, now: datetime, **changed: Any) -> list[tuple[str, Decimal]]:
    month = metered([run], now - NOON)
    found = spend.by_kind(month, [run], since, now, settings(**changed))
    return [(one.saving.kind, one.saving.usd) for one in found]


def test_a_serverless_endpoint_costs_what_its_requests_took_however_often_that_is_looked_at() -> None:
    assert usd(metered([serverless("0.30")], HOUR, 2 * HOUR, 2 * HOUR)) == Decimal("0.30")


def test_what_serverless_saved_is_what_a_real_time_endpoint_would_have_cost_in_its_open_hours() -> None:
    """From noon to 18:00 it would have been open: 6 x 0.102 = 0.612 USD, of which 0.30 were spent."""
    after = MIDNIGHT + HOUR
    assert by_kind(serverless("0.30"), NOON, after) == [("serverless", Decimal("0.312"))]
    assert by_kind(serverless("1.612"), NOON, after) == [("serverless", Decimal("-1.000"))]
    assert by_kind(serverless("0.30"), NOON, after, office_hours="always-on") == [("serverless", Decimal("0.924"))]
    assert by_kind(serverless("0.30"), NOON, MIDNIGHT - HOUR) == []
    assert by_kind(serverless("0.30"), after - HOUR / 2, after) == [], "the tick before had that day"
    assert by_kind(endpoint(), NOON, after) == []


def test_what_sleeps_is_held_against_a_real_time_endpoint_and_not_against_its_own_largest_fleet() -> None:
    """One instance for 2 of the 6 open hours: 0.612 - 0.204 USD."""
    tags = {**TAGS, names.KIND_TAG: "asynchronous"}
    runs = [fleet(1, tags=tags)], [fleet(0, tags=tags)]
    month = metered(runs[1], 12 * HOUR, month=metered(runs[0], 2 * HOUR))
    facts = SpendFacts(MIDNIGHT + HOUR, replace(month, through=NOON), None, tuple(runs[1]), None)
    found = [one.saving for one in spend.plan_spend(facts, settings()) if isinstance(one, RecordSaving)]
    assert [(one.kind, one.usd) for one in found] == [("scale-to-zero", Decimal("0.408"))]
    assert "6.00 open hours x 1 x ml.c5.large at 0.102 USD/hour in real time - 0.2040 USD" in found[0].formula


def test_a_day_that_is_not_over_and_a_fleet_that_stood_still_save_nothing_by_scaling_in() -> None:
    month = metered([fleet(1)], 12 * HOUR, month=metered([fleet(2)], HOUR))
    assert scaled_in(month, NOON, MIDNIGHT - HOUR) == []
    assert scaled_in(metered([fleet(3)], HOUR, 12 * HOUR), NOON, MIDNIGHT) == []


def test_what_scaling_in_saved_is_found_by_the_first_tick_of_the_next_day_and_by_later_ones_not_again() -> None:
    month = metered([fleet(1)], 14 * HOUR, month=metered([fleet(2)], HOUR))
    known = [("ml-platform-churn 2026-11-23", Decimal("1.122"))]  # eleven hours with one instance less
    assert scaled_in(month, NOON + HOUR, MIDNIGHT + 2 * HOUR) == known
    assert scaled_in(month, None, MIDNIGHT + 2 * HOUR) == known  # the object was lost: the ledger has it already
    assert scaled_in(month, MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR) == []


def test_an_endpoint_that_came_back_on_the_same_day_is_one_in_the_ledger() -> None:
    morning = metered([fleet(3, key="ARN one")], HOUR)
    month = metered([fleet(1, key="ARN two", started=NOON + 4 * HOUR)], 6 * HOUR, month=morning)
    assert scaled_in(month, NOON, MIDNIGHT) == [("ARN 2026-11-23", Decimal("0.408"))]


def test_days_are_utc_days() -> None:
    month = metered([endpoint()], 24 * HOUR)
    assert usd(month, "2026-11-23") == Decimal("1.224")
    assert usd(month, "2026-11-24") == Decimal("1.224")


def test_a_job_that_ran_over_midnight_is_split_by_time() -> None:
    late = job(started=NOON + 11 * HOUR, ended=NOON + 14 * HOUR, billable_seconds=3600)
    month = metered([late], 15 * HOUR)
    assert abs(usd(month, "2026-11-23") - Decimal("0.076667")) < Decimal("0.000002")
    assert abs(usd(month) - Decimal("0.23")) < Decimal("0.000002")


def test_a_month_begins_at_its_first_moment_and_counts_what_ran_before_from_there() -> None:
    december = spend.meter(SpendMonth("2026-12"), [endpoint()], datetime(2026, 12, 1, 10, tzinfo=UTC), REGION)
    assert usd(december, "2026-12") == Decimal("1.02")


def test_a_running_spot_job_is_an_estimate_until_its_billable_seconds_are_known() -> None:
    month = metered([job()], HOUR)
    [item] = month.items.values()
    assert (item.estimate, item.final) == (True, False)
    [item] = metered([job(ended=NOON + HOUR, billable_seconds=1080)], 2 * HOUR, month=month).items.values()
    assert (item.estimate, item.final) == (False, True)
    assert sum(item.days.values()) == Decimal("0.069")


def test_a_spot_job_that_ended_without_a_word_on_its_bill_stays_an_estimate() -> None:
    [item] = metered([job(ended=NOON + HOUR)], 2 * HOUR).items.values()
    assert (item.estimate, item.final) == (True, False)


def test_what_has_no_price_is_named_and_nothing_is_counted_for_it() -> None:
    month = metered([endpoint(fleet=(("ml.p5.48xlarge", 1),)), endpoint("ml-platform-iris")], HOUR)
    assert usd(month) == Decimal("0.102")
    [said] = month.unpriced
    assert "ml-platform-churn" in said
    assert "ml.p5.48xlarge" in said


def test_a_thousand_endpoints_are_one_plan() -> None:
    runs = [endpoint(f"ml-platform-{number}") for number in range(1_000)]
    month = metered(runs, HOUR)
    decisions = spend.plan_spend(facts(month, runs, now=NOON + 2 * HOUR), settings())
    assert isinstance(decisions[0], RecordSpend)


# ---- periods ----


@pytest.mark.parametrize(
    ("period", "end"),
    [
        ("2026-11-23", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2026-11-30", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-11", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2028-02", datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_hold_ends_with_its_period(period: str, end: datetime) -> None:
    hold = Hold(period, "Spent.", NOON)
    assert holds.hold_applies(hold, end - timedelta(seconds=1))
    assert not holds.hold_applies(hold, end)
    assert holds.read_hold(holds.hold_document(hold)) == hold


def test_last_month_is_closed_by_the_first_tick_of_this_one() -> None:
    october_to_november = datetime(2026, 12, 1, 3, tzinfo=UTC)
    last_tick = metered([endpoint()], HOUR)
    decisions = spend.plan_spend(
        SpendFacts(october_to_november, SpendMonth("2026-12"), last_tick, (endpoint(),), None), settings()
    )
    closed, current = (decision for decision in decisions if isinstance(decision, RecordSpend))
    assert closed.key == "spend/2026-11.json"
    assert Decimal(closed.document["usd"]) == Decimal("0.102") * 180  # noon of the 23rd to the end of the 30th
    assert closed.metrics == ()
    assert current.key == "spend/2026-12.json"
    assert Decimal(current.document["usd"]) == Decimal("0.306")


# ---- metrics ----


def values(month: SpendMonth, now: datetime) -> dict[str, float]:
    return {
        "/".join(dimension["Value"] for dimension in datum["Dimensions"]): datum["Value"]
        for request in spend.metric_data(month, now, settings())
        for datum in request["MetricData"]
    }


def test_the_day_so_far_is_published_for_the_stack_and_by_dataset_in_one_call() -> None:
    iris = endpoint("ml-platform-iris", tags=TAGS | {DATASET_TAG: "iris"})
    month = metered([endpoint(), iris], HOUR)
    assert len(spend.metric_data(month, NOON + HOUR, settings())) == 1
    assert values(month, NOON + HOUR) == pytest.approx(
        {"ml-platform": 0.204, "ml-platform/churn": 0.102, "ml-platform/iris": 0.102}
    )
    assert values(month, NOON + 13 * HOUR) == {"ml-platform": 0}  # a new day begins at nothing


def test_a_tag_is_split_by_only_where_runs_differ_in_it() -> None:
    other = endpoint("ml-platform-iris", tags=TAGS | {"Environment": "staging"})
    assert values(metered([endpoint(), other], HOUR), NOON + HOUR) == pytest.approx(
        {"ml-platform": 0.204, "ml-platform/churn": 0.204, "ml-platform/dev": 0.102, "ml-platform/staging": 0.102}
    )


def test_a_tag_beyond_ascii_does_not_cost_the_tick() -> None:
    """CloudWatch refuses the whole call for one such dimension."""
    other = endpoint("ml-platform-iris", tags=TAGS | {"Owner": "Jürgen"})
    blank = endpoint("ml-platform-wine", tags=TAGS | {"Owner": " "})
    assert "ml-platform/J\\xfcrgen" in (found := values(metered([endpoint(), other, blank], HOUR), NOON + HOUR))
    assert all(name.isascii() and name.strip() == name for name in found)


# ---- ceilings ----


def facts(
    month: SpendMonth = NOVEMBER, runs: Sequence[Run] = (), *, now: datetime = NOON + 2 * HOUR, **more: Any
) -> SpendFacts:
    return SpendFacts(now, month, None, tuple(runs), more.pop("hold", None), **more)


def spending(usd_today: float, *, estimate: bool = False) -> Run:
    """A job that has cost at least so much since noon, or, for an estimate, will have cost no more."""
    if estimate:
        return job(fleet=(("ml.m5.xlarge", math.ceil(usd_today / 0.46)),))
    return job(ended=NOON + 2 * HOUR, billable_seconds=math.ceil(usd_today / 0.23 * 3600))


def decided(runs: Sequence[Run], **more: Any) -> list[Any]:
    ceilings = {
        "daily_ceiling_usd": Decimal(more.pop("daily", 10)),
        "monthly_ceiling_usd": Decimal(more.pop("monthly", 100)),
        "environment": more.pop("environment", "dev"),
    }
    decisions = spend.plan_spend(facts(runs=runs, **more), settings(**ceilings))
    return [decision for decision in decisions if not isinstance(decision, RecordSpend)]


def test_below_80_percent_nobody_hears_anything() -> None:
    assert decided([spending(7.9)]) == []


@pytest.mark.parametrize(("daily", "monthly", "period"), [(10, 100, "2026-11-23"), (90, 10, "2026-11")])
def test_at_80_percent_people_are_warned_once_a_period(daily: int, monthly: int, period: str) -> None:
    [warning] = decided([spending(8)], daily=daily, monthly=monthly)
    assert isinstance(warning, Notify)
    assert warning.once == f"spend/told/{period}-warning.json"
    assert "80%" in warning.reason


@pytest.mark.parametrize(
    ("environment", "said", "not_said"),
    [
        ("dev", "dev endpoints are stopped", "staging"),
        ("staging", "new trainings are refused; endpoints of staging go on", "stopped"),
        ("prod", "nothing is stopped or refused in prod", "trainings"),
    ],
)
def test_a_warning_and_the_ceiling_say_what_they_do_in_their_environment(
    environment: str, said: str, not_said: str
) -> None:
    [warning] = decided([spending(8.5)], environment=environment)
    [reached] = decided([spending(10.01)], environment=environment)
    assert isinstance(reached, Notify if environment == "prod" else HoldLaunches)
    for decision in (warning, reached):
        assert said in decision.reason
        assert not_said not in decision.reason


@pytest.mark.parametrize(("daily", "monthly", "period"), [(10, 100, "2026-11-23"), (90, 10, "2026-11")])
def test_at_100_percent_launches_are_held_for_the_period(daily: int, monthly: int, period: str) -> None:
    [held] = decided([spending(10.01)], daily=daily, monthly=monthly)
    assert isinstance(held, HoldLaunches)
    assert held.hold.period == period
    assert "mlp costs resume" in held.reason
    assert "except serverless, asynchronous and scale-to-zero ones" in held.reason


def test_the_months_ceiling_goes_before_the_days() -> None:
    [held] = decided([spending(30)], daily=10, monthly=20)
    assert held.hold.period == "2026-11"


def test_a_hold_that_is_there_is_not_announced_again() -> None:
    assert decided([spending(10.01)], hold=Hold("2026-11-23", "Spent.", NOON)) == []


def test_a_days_hold_becomes_the_months_when_its_ceiling_is_reached_too() -> None:
    [held] = decided([spending(30)], daily=10, monthly=20, hold=Hold("2026-11-23", "Spent.", NOON))
    assert held.hold.period == "2026-11"


@pytest.mark.parametrize("hold", [None, Hold("2026-11-23", "Spent.", NOON)])
def test_an_estimate_warns_but_never_holds(hold: Hold | None) -> None:
    decisions = decided([spending(25, estimate=True)], hold=hold)
    assert not any(isinstance(decision, HoldLaunches) for decision in decisions)
    assert isinstance(decisions[0], Notify)
    assert "for spot jobs that still run" in decisions[0].reason


def test_prod_is_only_told() -> None:
    [told] = decided([spending(50)], environment="prod")
    assert isinstance(told, Notify)
    assert told.once == "spend/told/2026-11-23-ceiling.json"


def test_a_hold_does_not_outlive_that_its_stack_becomes_prod() -> None:
    told, lifted = decided([spending(50)], environment="prod", hold=Hold("2026-11-23", "Spent.", NOON))
    assert isinstance(told, Notify)
    assert isinstance(lifted, LiftHold)
    assert "the stack is prod now" in lifted.reason


def test_a_hold_is_lifted_when_its_day_is_over() -> None:
    tomorrow = NOON + timedelta(days=1)
    [lifted] = decided([], now=tomorrow, hold=Hold("2026-11-23", "Spent.", NOON))
    assert isinstance(lifted, LiftHold)


def test_a_hold_is_lifted_when_the_ceiling_is_raised() -> None:
    [lifted] = decided([spending(11)], daily=50, hold=Hold("2026-11-23", "Spent.", NOON))
    assert isinstance(lifted, LiftHold)


def test_what_people_resumed_is_not_held_again_in_that_period() -> None:
    assert decided([spending(11)], resumed=frozenset({"2026-11-23"})) == []


def test_a_resumed_day_does_not_lift_the_months_ceiling() -> None:
    [held] = decided([spending(30)], daily=10, monthly=20, resumed=frozenset({"2026-11-23"}))
    assert held.hold.period == "2026-11"


def test_what_has_no_price_is_told_once_a_month() -> None:
    [told] = decided([endpoint(fleet=(("ml.p5.48xlarge", 1),))])
    assert isinstance(told, Notify)
    assert told.once.startswith("spend/told/2026-11-")
    assert "ml.p5.48xlarge" in told.reason
