"""An endpoint becomes another kind of hosting: each step from what there is. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_JOB, NOON, endpoint
from laptop.service_model import validate
from mlplatform import kinds, names
from mlplatform.autoscaling import check_endpoint
from mlplatform.decisions import AbandonMove, ChangeInPlace, RetireStandIn, Skip, StartMove, SwitchOver
from mlplatform.facts import Component, Endpoint, HostingKind, Prediction, Unasked
from mlplatform.moving import Pair, asks, plan_move

SETTINGS = builders.settings()
NAME, STAND_IN = "ml-platform-churn", "ml-platform-churn--stand-in"
RIGHT, WRONG = Prediction(True, "as expected"), Prediction(False, "it said no.")
LATER = NOON + timedelta(minutes=16)
WISH = "kind=serverless memory_gb=4 max_concurrency=9"
BEFORE = "instance_type=ml.c5.large"


def old(wish: str = WISH, **changed: Any) -> Endpoint:
    """In real time, and to become serverless."""
    one = endpoint(created=NOON)
    tags = {names.HOSTING_TAG: wish, names.BEFORE_TAG: BEFORE, names.LOOK_TAG: "move", names.KEEP_TAG: "always"}
    return replace(one, tags={**one.tags, **tags, names.BOUNDS_TAG: "1..5"}, **changed)


def made(name: str, **changed: Any) -> Endpoint:
    """Serverless, from what StartMove asks for."""
    start = plan_move(Pair(NAME, old(), None), SETTINGS, NOON)
    assert isinstance(start, StartMove)
    one = endpoint(
        name=name,
        kind=HostingKind.SERVERLESS,
        instance_type=None,
        config_name=start.endpoint["EndpointConfigName"],
        tags={tag["Key"]: tag["Value"] for tag in start.endpoint["Tags"]},
        created=NOON,
    )
    return replace(one, **changed)


def stand_in(**changed: Any) -> Endpoint:
    return made(STAND_IN, **changed)


def new(looked: str = "", **changed: Any) -> Endpoint:
    """The endpoint, once it is made anew; `looked` until it is configured."""
    switch = plan_move(Pair(NAME, None, stand_in()), SETTINGS, NOON)
    assert isinstance(switch, SwitchOver)
    tags = {tag["Key"]: tag["Value"] for tag in switch.endpoint["Tags"]}
    return made(NAME, tags=tags | {names.LOOK_TAG: looked}, **changed)


def test_first_a_stand_in_of_the_new_kind_is_made_and_the_endpoint_is_left_as_it_is() -> None:
    decision = plan_move(Pair(NAME, old(), None), SETTINGS, NOON)
    assert isinstance(decision, StartMove)
    assert validate("sagemaker", "CreateEndpointConfig", decision.endpoint_config) == []
    assert validate("sagemaker", "CreateEndpoint", decision.endpoint) == []
    assert decision.endpoint["EndpointName"] == STAND_IN
    assert decision.endpoint["EndpointConfigName"] == decision.endpoint_config["EndpointConfigName"]
    [variant] = decision.endpoint_config["ProductionVariants"]
    assert (variant["ModelName"], variant["ServerlessConfig"]["MaxConcurrency"]) == (LIVE_JOB, 9)
    tags = {tag["Key"]: tag["Value"] for tag in decision.endpoint["Tags"]}
    assert tags.items() >= {names.KIND_TAG: "serverless", names.KEEP_TAG: "always", names.STANDS_IN_TAG: NAME}.items()
    assert names.BOUNDS_TAG not in tags, "what was done to the old one is nothing that the new one is to have"
    assert f"calls of its name fail, and InvokeEndpoint on {STAND_IN} answers" in decision.reason


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("kind=asynchronous", f"InvokeEndpointAsync on {STAND_IN}"),
        ("kind=scale-to-zero", f"InvokeEndpoint on {STAND_IN} with InferenceComponentName={STAND_IN}"),
    ],
)
def test_it_says_what_to_call_meanwhile(wish: str, said: str) -> None:
    decision = plan_move(Pair(NAME, old(wish), None), SETTINGS, NOON)
    assert isinstance(decision, StartMove)
    assert said in decision.reason


def test_what_aws_changes_in_place_is_an_update_and_one_that_failed_is_not_tried_for_ever() -> None:
    one = made(NAME)
    one = replace(one, tags={**one.tags, names.HOSTING_TAG: "kind=real-time", names.BEFORE_TAG: WISH})
    decision = plan_move(Pair(NAME, one, None), SETTINGS, NOON)
    assert isinstance(decision, ChangeInPlace)
    assert validate("sagemaker", "CreateEndpointConfig", decision.endpoint_config) == []
    assert decision.endpoint == {"EndpointName": NAME, "EndpointConfigName": LIVE_JOB}
    failed = replace(one, tags={**one.tags, **decision.endpoint_tags}, failure_reason="no machines.")
    given_up = plan_move(Pair(NAME, failed, None), SETTINGS, NOON)
    assert isinstance(given_up, AbandonMove)
    assert given_up.endpoint_tags[names.HOSTING_TAG] == WISH
    assert "no machines. ml-platform-churn stays serverless" in given_up.reason


@pytest.mark.parametrize("serverless", [True, False])
def test_what_a_quota_forbids_does_not_begin_and_is_not_wished_for_any_more(serverless: bool) -> None:
    """By a stand-in, and in place."""
    one, name = old(), "Maximum number of serverless endpoints"
    if not serverless:
        one, name = made(NAME), "ml.c5.large for endpoint usage"
        one = replace(one, tags={**one.tags, names.HOSTING_TAG: "kind=real-time", names.BEFORE_TAG: WISH})
    decision = plan_move(Pair(NAME, one, None, quotas={name: 0}), SETTINGS, NOON)
    assert isinstance(decision, AbandonMove)
    assert f'the account\'s quota "{name}" is 0' in decision.reason
    assert f"could not become {'serverless' if serverless else 'real-time'}" in decision.reason
    assert (decision.stand_in, decision.endpoint_tags[names.LOOK_TAG]) == ("", "")
    assert decision.endpoint_tags[names.HOSTING_TAG] == (BEFORE if serverless else WISH)
    stays = replace(one, tags={**one.tags, **decision.endpoint_tags})
    assert plan_move(Pair(NAME, stays, None), SETTINGS, NOON) is None


@pytest.mark.parametrize(
    ("pair", "outcome", "said"),
    [
        (Pair(NAME, old(status="Updating"), None), Skip, "is Updating; it moves when"),
        (Pair(NAME, old(), stand_in(status="Creating")), Skip, "is on its way"),
        (Pair(NAME, old(), stand_in()), Skip, "not proven itself"),
        (Pair(NAME, old(), stand_in(), Unasked("its queue is long")), Skip, "its queue is long"),
        (
            Pair(NAME, old(), stand_in(), WRONG),
            AbandonMove,
            "answers wrongly: it said no. ml-platform-churn stays real-",
        ),
        (Pair(NAME, old(), stand_in(status="Failed", failure_reason="no image.")), AbandonMove, "failed: no image."),
        (Pair(NAME, old(), stand_in(), RIGHT), SwitchOver, "calls of ml-platform-churn fail; ml-platform-churn--stand"),
        (Pair(NAME, old(status="Updating"), stand_in(), RIGHT), Skip, "is Updating"),
        (Pair(NAME, old(), stand_in(), RIGHT, waiting=2), Skip, "has 2 requests in its queue, which would be lost"),
        (Pair(NAME, old(status="Deleting"), stand_in()), Skip, "is being deleted, to be made anew"),
        (Pair(NAME, None, stand_in()), SwitchOver, "is made anew"),
        (Pair(NAME, None, stand_in(status="Deleting")), Skip, "is being deleted"),
        (
            Pair(NAME, new(status="Failed", failure_reason="no machines."), stand_in(), RIGHT),
            SwitchOver,
            "no machines) and",
        ),
        (Pair(NAME, old("kind=real-time"), stand_in()), AbandonMove, "is not to be serverless any more."),
        (
            Pair(NAME, replace(new(), tags={**new().tags, names.HOSTING_TAG: "kind=real-time"}), stand_in()),
            AbandonMove,
            "is not to be serverless any more; it becomes real-time after that, at the next tick.",
        ),
        (
            Pair(NAME, old(), stand_in(tags={**stand_in().tags, names.WANTED_TAG: JOB})),
            AbandonMove,
            "has an older model",
        ),
    ],
)
def test_the_next_step_follows_from_what_there_is(pair: Pair, outcome: type, said: str) -> None:
    decision = plan_move(pair, SETTINGS, NOON)
    assert isinstance(decision, outcome)
    assert said in decision.reason  # type: ignore[attr-defined]


def test_a_new_kind_that_failed_leaves_the_endpoint_with_what_it_had() -> None:
    decision = plan_move(Pair(NAME, old(), stand_in(), WRONG), SETTINGS, NOON)
    assert isinstance(decision, AbandonMove)
    assert decision.stand_in == STAND_IN
    assert decision.once
    assert (
        decision.endpoint_tags.items()
        >= {
            names.HOSTING_TAG: BEFORE,
            names.WANTED_TAG: LIVE_JOB,
            names.LOOK_TAG: "",
            names.KIND_TAG: "real-time",
        }.items()
    )
    stays = old()
    stays = replace(stays, tags={**stays.tags, **decision.endpoint_tags})
    assert plan_move(Pair(NAME, stays, None), SETTINGS, NOON) is None
    assert check_endpoint(stays, SETTINGS) is None


def test_the_endpoint_is_made_anew_like_its_stand_in() -> None:
    decision = plan_move(Pair(NAME, old(), stand_in(), RIGHT), SETTINGS, NOON)
    assert isinstance(decision, SwitchOver)
    assert decision.deletes
    assert validate("sagemaker", "CreateEndpoint", decision.endpoint) == []
    assert (decision.endpoint["EndpointName"], decision.endpoint["EndpointConfigName"]) == (
        NAME,
        stand_in().config_name,
    )
    tags = {tag["Key"]: tag["Value"] for tag in decision.endpoint["Tags"]}
    assert tags.items() >= {names.KIND_TAG: "serverless", names.KEEP_TAG: "always", names.LOOK_TAG: "move"}.items()
    assert names.STANDS_IN_TAG not in tags
    again = plan_move(Pair(NAME, None, stand_in()), SETTINGS, NOON)
    assert isinstance(again, SwitchOver)
    assert (again.deletes, again.endpoint) == (False, decision.endpoint)


def test_what_stood_in_is_not_judged_once_there_is_nothing_to_go_back_to() -> None:
    assert asks(Pair(NAME, old(), stand_in()), SETTINGS)
    assert not asks(Pair(NAME, None, stand_in()), SETTINGS)
    assert not asks(Pair(NAME, new(), stand_in()), SETTINGS)


@pytest.mark.parametrize(
    ("pair", "now", "retired"),
    [
        (Pair(NAME, new(), stand_in(), calls=0), LATER, True),
        (Pair(NAME, new(), stand_in(), calls=3), LATER, False),
        (Pair(NAME, new(), stand_in(), calls=0), NOON, False),
        (Pair(NAME, new(), stand_in(), calls=None), LATER, False),
        (Pair(NAME, new(looked="move"), stand_in(), calls=0), LATER, False),
        (Pair(NAME, new(status="Creating"), stand_in(), calls=0), LATER, False),
        (Pair(NAME, new(component=Component("Creating", LIVE_JOB, 0)), stand_in(), calls=0), LATER, False),
    ],
)
def test_the_stand_in_goes_when_the_endpoint_serves_and_nobody_calls_the_other(
    pair: Pair, now: Any, retired: bool
) -> None:
    assert isinstance(plan_move(pair, SETTINGS, now), RetireStandIn) is retired


def test_while_it_moves_an_endpoint_is_not_updated_to_what_it_can_t_become() -> None:
    one = old()
    decision = check_endpoint(replace(one, tags={**one.tags, names.WANTED_TAG: JOB}), SETTINGS)
    assert isinstance(decision, Skip)
    assert "on its way to serverless" in decision.reason


def test_no_dataset_has_an_endpoint_that_is_called_like_a_stand_in() -> None:
    assert names.DATASET_PATTERN.fullmatch("churn--stand-in") is None
    assert names.bare(names.stand_in(NAME)) == NAME
    longest = names.endpoint("ml-platform", "a" * 32)
    assert len(names.stand_in(longest)) <= names.NAME_LIMIT
    assert kinds.config_name(kinds.hosting({names.HOSTING_TAG: "kind=scale-to-zero"}, SETTINGS), JOB, STAND_IN) == (
        kinds.config_name(kinds.hosting({names.HOSTING_TAG: "kind=scale-to-zero"}, SETTINGS), JOB, NAME)
    )
