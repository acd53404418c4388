"""What a tick decides about each endpoint. Pure: no AWS. 2026-11-23 is a Monday."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

import builders
from laptop.service_model import validate
from mlplatform import names
from mlplatform.decisions import (
    ClearFailedStart,
    ForgetParking,
    Notify,
    Skip,
    StartEndpoint,
    StopEndpoint,
)
from mlplatform.facts import DATASET_TAG, STACK_TAG, Hold, HostedEndpoint, Parked, Prediction, Variant
from mlplatform.office_hours import CheckAgain, due, on_anyway, on_stretches, plan_office_hours, summary
from mlplatform.parking import BadRecord, parking_record, parking_tags, read_record, record_tags
from mlplatform.restoring import night_saving, plan_capacity, plan_recheck, plan_restore

NAME = "ml-platform-churn"
TAGS = {STACK_TAG: "ml-platform", DATASET_TAG: "churn", "Environment": "dev"}
CREATED = datetime(2026, 11, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def running(status: str = "InService", created: datetime = CREATED, **tags: str) -> HostedEndpoint:
    return HostedEndpoint(
        NAME, status, created, TAGS | {f"ml-platform:{k.replace('_', '-')}": v for k, v in tags.items()}
    )


def record(**changed: Any) -> Parked:
    parked = Parked(
        endpoint=NAME,
        config=builders.LIVE_JOB,
        since=utc("2026-11-22 18:00"),
        tags=TAGS,
        variants=(
            {
                "VariantName": "AllTraffic",
                "InstanceType": "ml.c5.large",
                "DesiredInstanceCount": 3,
                "DesiredWeight": 1.0,
            },
        ),
    )
    return replace(parked, **changed)


def parked(**tags: str) -> HostedEndpoint:
    one = TAGS | {f"ml-platform:{key.replace('_', '-')}": value for key, value in tags.items()}
    return HostedEndpoint(NAME, None, None, one, record(tags=one))


def decide(endpoint: HostedEndpoint, at: str, hold: Hold | None = None, **settings: Any) -> Any:
    holidays = frozenset({date(2026, 12, 25)})
    [decision] = plan_office_hours([endpoint], builders.settings(**settings), holidays, utc(at), hold)
    return decision


@pytest.mark.parametrize(
    ("endpoint", "at", "expected"),
    [
        (running(), "2026-11-23 12:00", Skip),
        (running(), "2026-11-23 18:00", StopEndpoint),
        (running(), "2026-11-23 23:45", StopEndpoint),  # seven hours of ticks were missed
        (running(), "2026-11-28 12:00", StopEndpoint),  # and so was a whole Friday evening
        (running(), "2026-12-25 12:00", StopEndpoint),  # a holiday
        (parked(), "2026-11-24 07:45", Skip),
        (parked(), "2026-11-24 08:00", StartEndpoint),
        (parked(), "2026-11-24 16:45", StartEndpoint),
        (parked(), "2026-11-28 08:00", Skip),
        (parked(), "2026-12-25 08:00", Skip),
        (running(hours="always-on"), "2026-11-28 03:00", Skip),
        (running(hours="daily 06:00-22:00"), "2026-11-28 12:00", Skip),
        (running(hours="mon-fri 08:00-18:00 @America/New_York"), "2026-11-23 22:59", Skip),
        (running(hours="mon-fri 08:00-18:00 @America/New_York"), "2026-11-23 23:00", StopEndpoint),
        (parked(hours="always-on"), "2026-11-28 03:00", StartEndpoint),
    ],
)
def test_an_endpoint_runs_when_its_hours_say_so(endpoint: HostedEndpoint, at: str, expected: type) -> None:
    decision = decide(endpoint, at)
    assert isinstance(decision, expected), decision.reason


@pytest.mark.parametrize(
    ("until", "at", "expected"),
    [
        ("2026-11-23T22:00:00+00:00", "2026-11-23 21:59", Skip),
        ("2026-11-23T22:00:00+00:00", "2026-11-23 22:00", StopEndpoint),
        ("2026-11-23T22:00", "2026-11-23 21:59", Skip),
        ("2026-11-28", "2026-11-28 23:59", Skip),  # a date is kept on to its end
        ("2026-11-28", "2026-11-29 00:00", StopEndpoint),
        ("2026-11-20", "2026-11-23 12:00", Skip),  # an old snooze stops nothing
    ],
)
def test_a_snooze_keeps_an_endpoint_on(until: str, at: str, expected: type) -> None:
    decision = decide(running(keep_on_until=until), at)
    assert isinstance(decision, expected), decision.reason


def test_a_snooze_wakes_a_parked_endpoint_which_sleeps_again_after_it() -> None:
    assert isinstance(decide(parked(keep_on_until="2026-11-23T23:00"), "2026-11-23 20:00"), StartEndpoint)
    woken = running(created=utc("2026-11-23 20:01"), keep_on_until="2026-11-23T23:00")
    assert isinstance(decide(woken, "2026-11-23 22:45"), Skip)
    assert isinstance(decide(woken, "2026-11-23 23:00"), StopEndpoint)


def test_what_people_start_after_hours_stays_until_the_next_boundary() -> None:
    """Started on Friday at 20:00: it runs through the weekend and Monday, and stops on Monday evening."""
    manual = running(created=utc("2026-11-27 20:00"))
    for at in ("2026-11-27 20:15", "2026-11-29 12:00", "2026-11-30 07:45", "2026-11-30 12:00"):
        assert isinstance(decide(manual, at), Skip)
    assert isinstance(decide(manual, "2026-11-30 18:00"), StopEndpoint)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_prod_is_left_alone_unless_it_is_tagged_for_hours(environment: str) -> None:
    """Whatever the stack's own environment is: the endpoint's counts."""
    prod = replace(running(), tags=TAGS | {"Environment": "prod"})
    assert isinstance(decide(prod, "2026-11-28 12:00", environment=environment), Skip)
    by_hand = replace(running(), tags=TAGS | {"Environment": "Production"})
    assert isinstance(decide(by_hand, "2026-11-28 12:00", environment=environment), Skip)
    tagged = replace(prod, tags=prod.tags | {names.HOURS_TAG: "mon-fri 08:00-18:00"})
    assert isinstance(decide(tagged, "2026-11-28 12:00", environment=environment), StopEndpoint)


def test_without_a_tag_of_its_own_an_endpoint_is_in_the_stacks_environment() -> None:
    untagged = replace(running(), tags={key: TAGS[key] for key in (STACK_TAG, DATASET_TAG)})
    assert isinstance(decide(untagged, "2026-11-28 12:00", environment="prod"), Skip)
    assert isinstance(decide(untagged, "2026-11-28 12:00", environment="dev"), StopEndpoint)


def test_a_prod_endpoint_that_loses_its_tag_while_parked_comes_back_for_good() -> None:
    one = replace(parked(), tags=TAGS | {"Environment": "prod"})
    assert isinstance(decide(one, "2026-11-28 12:00"), StartEndpoint)


@pytest.mark.parametrize("tags", [{}, {STACK_TAG: "another", DATASET_TAG: "churn"}, {STACK_TAG: "ml-platform"}])
def test_other_peoples_endpoints_are_not_touched(tags: dict[str, str]) -> None:
    assert isinstance(decide(replace(running(), tags=tags), "2026-11-28 12:00"), Skip)


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"])
@pytest.mark.parametrize("at", ["2026-11-23 12:00", "2026-11-23 20:00"])
def test_what_is_in_flux_is_left_to_settle(status: str, at: str) -> None:
    for record_or_none in (None, record()):
        assert isinstance(decide(replace(running(status), parked=record_or_none), at), Skip)


def test_a_malformed_tag_is_reported_once_per_text_and_the_endpoint_left_alone() -> None:
    first, again, other = (
        decide(running(hours=text), at)
        for text, at in (
            ("9 to 5", "2026-11-28 12:00"),
            ("9 to 5", "2026-11-28 12:15"),
            ("10 to 6", "2026-11-28 12:15"),
        )
    )
    assert isinstance(first, Notify)
    assert "'9 to 5' is not a window" in first.reason
    assert first.once == again.once != other.once
    assert isinstance(decide(running(keep_on_until="tomorrow"), "2026-11-28 12:00"), Notify)


def test_a_failed_start_is_cleared_away_and_tried_again_at_the_next_tick() -> None:
    failed = replace(running("Failed"), parked=record())
    assert isinstance(decide(failed, "2026-11-24 08:15"), ClearFailedStart)
    assert isinstance(decide(parked(), "2026-11-24 08:30"), StartEndpoint)
    assert isinstance(decide(failed, "2026-11-24 20:00"), ClearFailedStart)


@pytest.mark.parametrize("status", ["Failed", "OutOfService", "UpdateRollbackFailed"])
def test_an_endpoint_that_failed_by_itself_is_not_hidden_by_stopping_it(status: str) -> None:
    assert isinstance(decide(running(status), "2026-11-23 20:00"), Skip)


def test_a_restoration_whose_event_was_lost_is_finished_and_a_half_done_stop_too() -> None:
    half = replace(running(created=utc("2026-11-24 08:00")), parked=record())
    assert isinstance(decide(half, "2026-11-24 08:15"), CheckAgain)
    assert isinstance(decide(half, "2026-11-24 18:00"), StopEndpoint)


def test_a_spending_hold_closes_dev_endpoints_whatever_their_hours_and_nothing_else() -> None:
    hold = Hold("2026-11-23", "The daily ceiling is reached.", utc("2026-11-23 11:00"))
    assert isinstance(decide(running(hours="always-on"), "2026-11-23 12:00", hold), StopEndpoint)
    assert isinstance(decide(parked(), "2026-11-23 12:00", hold), Skip)
    assert isinstance(decide(parked(), "2026-11-24 12:00", hold), StartEndpoint)  # its day is over
    for environment in ("prod", "staging"):
        other = replace(running(), tags=TAGS | {"Environment": environment})
        assert isinstance(decide(other, "2026-11-23 12:00", hold), Skip)


def test_a_parked_endpoint_is_created_with_its_config_and_its_tags() -> None:
    decision = decide(parked(hours="daily 08:00-20:00"), "2026-11-24 08:00")
    assert validate("sagemaker", "CreateEndpoint", decision.endpoint) == []
    assert decision.endpoint["EndpointConfigName"] == builders.LIVE_JOB
    assert {"Key": names.HOURS_TAG, "Value": "daily 08:00-20:00"} in decision.endpoint["Tags"]


def test_people_get_one_message_about_what_a_tick_stopped_and_none_about_a_quiet_one() -> None:
    stop, start = decide(running(), "2026-11-23 18:00"), decide(parked(hours="always-on"), "2026-11-23 18:00")
    said = summary([stop, start])
    assert said is not None
    assert (said.subject, said.routine) == ("Office hours: 1 stopped", True)
    assert "opens at Tue 24 Nov 08:00 (UTC)" in said.reason
    assert summary([Skip("nothing"), start]) is None
    failed = summary([stop, decide(replace(running("Failed"), parked=record()), "2026-11-24 08:15")])
    assert failed is not None
    assert (failed.subject, failed.routine) == ("Office hours: 1 stopped, 1 failed to start", False)


def test_a_tick_that_comes_late_is_about_now_and_not_about_an_hour_that_is_over() -> None:
    evening, morning = utc("2026-11-23 18:00"), utc("2026-11-24 10:00")
    assert due(evening, morning) == morning
    assert due(morning, evening) == morning  # a laptop's clock was moved


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (running(), [("2026-11-27 12:00", "2026-11-27 18:00"), ("2026-11-30 08:00", "2026-11-30 12:00")]),
        (
            running(keep_on_until="2026-11-28"),
            [("2026-11-27 12:00", "2026-11-29 00:00"), ("2026-11-30 08:00", "2026-11-30 12:00")],
        ),
        (running(hours="always-on"), [("2026-11-27 12:00", "2026-11-30 12:00")]),
        (
            replace(running(), tags=TAGS | {"Environment": "prod"}),
            [("2026-11-27 12:00", "2026-11-30 12:00")],
        ),
        (running(kind="serverless"), [("2026-11-27 12:00", "2026-11-30 12:00")]),  # it has no hours
    ],
)
def test_the_plan_of_a_weekend(endpoint: HostedEndpoint, expected: list[tuple[str, str]]) -> None:
    found = on_stretches(endpoint, builders.settings(), frozenset(), utc("2026-11-27 12:00"), utc("2026-11-30 12:00"))
    assert found == [(utc(begins), utc(ends)) for begins, ends in expected]


def test_the_plan_knows_of_a_start_after_hours() -> None:
    manual = running(created=utc("2026-11-28 09:00"))
    found = on_stretches(manual, builders.settings(), frozenset(), utc("2026-11-28 12:00"), utc("2026-11-29 12:00"))
    assert found == [(utc("2026-11-28 12:00"), utc("2026-11-29 12:00"))]


def test_a_thousand_endpoints_are_one_plan() -> None:
    rng = random.Random(1)

    def hours() -> str:
        return f"{rng.choice(days)} {rng.randrange(12):02}:00-{rng.randrange(12, 24)}:30 @{rng.choice(zones)}"

    days, zones = ["mon-fri", "daily", "mon+wed"], ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]
    fleet = [
        replace(
            (running, parked)[n % 2](),
            name=f"ml-platform-d{n}",
            tags=TAGS | {names.HOURS_TAG: hours()},
        )
        for n in range(1_000)
    ]
    decisions = plan_office_hours(fleet, builders.settings(), frozenset(), utc("2026-11-23 12:07"))
    assert len(decisions) == 1_000


# ---- the record ----

DESCRIBED = {
    "EndpointName": NAME,
    "ProductionVariants": [
        {
            "VariantName": "AllTraffic",
            "CurrentWeight": 1.0,
            "DesiredWeight": 1.0,
            "CurrentInstanceCount": 2,
            "DesiredInstanceCount": 3,
        }
    ],
}
CONFIG_ARN = names.config_arn(builders.endpoint().arn, builders.LIVE_JOB)
CONFIG = {
    "EndpointConfigName": builders.LIVE_JOB,
    "ProductionVariants": [{"VariantName": "AllTraffic", "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}],
}
VARIANT = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{NAME}/variant/AllTraffic",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
SCALING = {
    "targets": [{**VARIANT, "MinCapacity": 1, "MaxCapacity": 5, "RoleARN": "r", "CreationTime": CREATED}],
    "policies": [],
    "scheduled_actions": [
        {**VARIANT, "ScheduledActionName": "lunch", "Schedule": "cron(0 12 * * ? *)", "StartTime": CREATED}
    ],
}


def test_a_record_survives_its_tags() -> None:
    made = parking_record(DESCRIBED, CONFIG, TAGS | {"aws:cloudformation:stack-id": "x"}, SCALING, ["a"], CREATED)
    tags = record_tags(made, TAGS)
    assert validate("sagemaker", "AddTags", {"ResourceArn": CONFIG_ARN, "Tags": names.tag_list(tags)}) == []
    back = read_record(TAGS | tags)
    assert back is not None
    assert back.variants[0]["DesiredInstanceCount"] == 3
    assert back.tags == TAGS  # AWS's own tags can't be given to a new endpoint
    assert back.targets == ({**VARIANT, "MinCapacity": 1, "MaxCapacity": 5},)
    assert back.scheduled_actions[0]["StartTime"] == "2026-11-01T00:00:00+00:00"
    assert (back.endpoint, back.config, back.since, back.alarms) == (NAME, builders.LIVE_JOB, CREATED, ("a",))
    assert set(parking_tags(TAGS | tags)) == set(tags)


def test_hours_that_are_changed_while_it_is_parked_are_those_it_comes_back_with() -> None:
    tags = record_tags(record(tags=TAGS | {names.HOURS_TAG: "always-on", names.KEEP_ON_TAG: "2026-11-24"}), {})
    assert tags[names.HOURS_TAG] == "always-on"
    changed = {**tags, names.HOURS_TAG: "daily 08:00-20:00"}
    del changed[names.KEEP_ON_TAG]
    back = read_record(changed)
    assert back is not None
    assert back.tags == TAGS | {names.HOURS_TAG: "daily 08:00-20:00"}


def test_a_damaged_record_is_an_error_and_no_record_is_none() -> None:
    noise = "".join(random.Random(2).choices("abcdefghij", k=2000))
    tags = record_tags(record(alarms=(noise,)), {})
    assert len(tags) > 2
    with pytest.raises(BadRecord, match="damaged"):
        read_record({key: value for key, value in tags.items() if not key.endswith("-1")})
    with pytest.raises(BadRecord, match="damaged"):
        read_record(tags | {f"{names.PARKED_TAG}0": tags[f"{names.PARKED_TAG}0"].swapcase()})
    assert read_record(TAGS) is None


def test_what_does_not_fit_in_fifty_tags_is_refused_before_anything_is_deleted() -> None:
    noise = "".join(random.Random(3).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    with pytest.raises(BadRecord, match="more than 50"):
        record_tags(record(alarms=(noise,)), TAGS)


# ---- coming back ----

BACK = builders.endpoint(
    counts={"AllTraffic": 1}, created=utc("2026-11-23 08:00"), modified=utc("2026-11-23 08:05"), tags=TAGS
)


def test_first_come_the_instances_then_the_rest() -> None:
    capacity = plan_capacity(BACK, record())
    assert capacity is not None
    assert validate("sagemaker", "UpdateEndpointWeightsAndCapacities", capacity.capacity) == []
    assert capacity.capacity["DesiredWeightsAndCapacities"][0]["DesiredInstanceCount"] == 3
    assert plan_capacity(replace(BACK, counts={"AllTraffic": 3}), record()) is None


def test_instances_that_sagemaker_could_not_give_are_not_asked_for_again_and_people_hear_of_it() -> None:
    short = replace(BACK, failure_reason="Unable to provision 3 ml.c5.large.")
    assert plan_capacity(short, record()) is None
    decision = plan_restore(short, record(), Prediction(True, "as expected"), builders.settings())
    assert not decision.good
    assert "Unable to provision 3 ml.c5.large; it took 5 min 0 s" in decision.reason


def test_a_night_saves_its_hours_times_the_instances_at_the_list_price() -> None:
    """14 hours of 3 instances at 0.102 USD: 4.284 USD."""
    saving = night_saving(BACK, record(), "us-east-1")
    assert saving is not None
    assert saving.usd == Decimal("4.284")
    assert saving.formula == (
        "14.00 hours off x (3 x 0.102 USD/hour for ml.c5.large) = 4.2840 USD (list price in us-east-1)"
    )
    again = night_saving(replace(BACK, modified=utc("2026-11-23 09:05")), record(), "us-east-1")
    assert again == saving  # the same night is the same entry, whenever it is looked at


def test_a_restoration_says_how_long_it_was_off_and_how_long_it_took() -> None:
    decision = plan_restore(BACK, record(), Prediction(True, "as expected"), builders.settings())
    assert decision.good
    assert decision.reason == (
        f"{NAME} is back after 14 h 0 min off, and answers as expected; it took 5 min 0 s to start, and has the "
        "scaling and the alarms that it had. The time off saved 4.28 USD."
    )


def test_a_failed_smoke_test_brings_scaling_and_alarms_back_all_the_same_and_is_told() -> None:
    decision = plan_restore(BACK, record(), Prediction(False, "expected yes, got no"), builders.settings())
    assert not decision.good
    assert "its smoke test failed: expected yes, got no" in decision.reason


def test_a_model_that_was_deployed_meanwhile_stays_and_inherits_what_people_wished() -> None:
    settings = builders.settings()
    assert plan_recheck(BACK, record(config=str(BACK.config_name)), settings) is None
    # A copy that SageMaker made when the capacity changed is no deployment.
    copied = replace(BACK, config_name="7f4e1944-1817-4891-9bef-e055a90787a4")
    assert plan_recheck(copied, record(config=str(BACK.model_name)), settings) is None
    old = record(config="older", tags=TAGS | {names.HOURS_TAG: "always-on"})
    decision = plan_recheck(BACK, old, settings)
    assert isinstance(decision, ForgetParking)
    assert decision.endpoint_tags == {names.HOURS_TAG: "always-on"}
    assert decision.config_arn.endswith(":endpoint-config/older")


def test_two_variants_get_their_instances_one_after_the_other_and_then_their_shares() -> None:
    """A call changes weights, or the capacity of one variant. The config gives the challenger no traffic."""
    two = record(
        variants=(
            {
                "VariantName": "AllTraffic",
                "InstanceType": "ml.c5.large",
                "DesiredInstanceCount": 3,
                "DesiredWeight": 0.8,
            },
            {
                "VariantName": "Challenger",
                "InstanceType": "ml.c5.large",
                "DesiredInstanceCount": 2,
                "DesiredWeight": 0.2,
            },
        )
    )
    live = Variant("AllTraffic", builders.LIVE_JOB, "ml.c5.large", 1, 1.0)
    back = replace(
        BACK, counts={"AllTraffic": 1, "Challenger": 1}, variants=(live, replace(live, name="Challenger", weight=0.0))
    )
    asked = []
    for counts in ({}, {"AllTraffic": 3}, {"AllTraffic": 3, "Challenger": 2}):
        decision = plan_capacity(replace(back, counts={**back.counts, **counts}), two)
        assert decision is not None
        assert validate("sagemaker", "UpdateEndpointWeightsAndCapacities", decision.capacity) == []
        asked.append(decision.capacity["DesiredWeightsAndCapacities"])
    assert asked == [
        [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}],
        [{"VariantName": "Challenger", "DesiredInstanceCount": 2}],
        [{"VariantName": "AllTraffic", "DesiredWeight": 0.8}, {"VariantName": "Challenger", "DesiredWeight": 0.2}],
    ]
    whole = replace(
        back,
        counts={"AllTraffic": 3, "Challenger": 2},
        variants=(
            replace(live, weight=0.800000011920929),
            replace(live, name="Challenger", weight=0.20000000298023224),
        ),
    )
    assert plan_capacity(whole, two) is None, "weights are kept in single precision"


@pytest.mark.parametrize(
    ("endpoint", "at", "until"),
    [
        (running(), "2026-11-23 12:00", "2026-11-23 18:00"),  # a Monday, in office hours
        (running(), "2026-11-23 20:00", None),  # it is about to stop
        (running(created=utc("2026-11-27 20:00")), "2026-11-28 12:00", "2026-11-30 08:00"),  # somebody wants it
        # Woken by a snooze, it is on for as long as that.
        (running(created=utc("2026-11-23 20:01"), keep_on_until="2026-11-23T23:00"), "2026-11-23 21:00", None),
        (parked(), "2026-11-23 20:00", None),
    ],
)
def test_what_is_on_anyway_needs_no_snooze_which_would_end_it_sooner(
    endpoint: HostedEndpoint, at: str, until: str | None
) -> None:
    found = on_anyway(endpoint, builders.settings(), frozenset(), utc(at))
    assert found == (utc(until) if until else None)


@pytest.mark.parametrize("kind", ["serverless", "scale-to-zero", "asynchronous"])
def test_what_costs_nothing_while_nobody_asks_has_no_hours(kind: str) -> None:
    decision = decide(running(kind=kind), "2026-11-23 22:00")
    assert isinstance(decision, Skip)
    assert f"is {kind} and costs nothing while nobody asks" in decision.reason
    assert "hold" not in decision.reason


@pytest.mark.parametrize("kind", ["serverless", "scale-to-zero", "asynchronous"])
def test_a_spending_hold_leaves_what_costs_only_while_it_is_asked_and_says_so(kind: str) -> None:
    hold = Hold("2026-11-23", "The daily ceiling is reached.", utc("2026-11-23 11:00"))
    decision = decide(running(kind=kind), "2026-11-23 12:00", hold)
    assert isinstance(decision, Skip)
    assert decision.reason.endswith("A spending hold does not stop it: it costs only while it is asked.")


def test_what_was_begun_and_has_no_event_of_its_end_is_looked_at_by_every_tick() -> None:
    for endpoint in (running(kind="scale-to-zero", look_again="component"), running(look_again="move")):
        decision = decide(endpoint, "2026-11-23 22:00")
        assert isinstance(decision, CheckAgain)
        assert decision.parked is None
    became = replace(running(kind="serverless"), parked=record())
    assert isinstance(decide(became, "2026-11-23 09:00"), CheckAgain), "its record of the night is to be forgotten"
