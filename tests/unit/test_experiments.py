"""A/B tests: what a person may ask for, and what an endpoint in service needs. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_JOB, NOON, endpoint, model_package
from laptop.service_model import validate
from mlplatform import names
from mlplatform.approval import why_ask
from mlplatform.autoscaling import check_endpoint
from mlplatform.decisions import (
    DeployModel,
    EndAbTest,
    FinishDeployment,
    Notify,
    Refuse,
    ShareTraffic,
    Skip,
    StartAbTest,
)
from mlplatform.deployment import Live, Model, deployment
from mlplatform.experiments import Place, as_challenger, instances_for, plan_ab_test, plan_share, plan_variants
from mlplatform.facts import (
    CHALLENGER,
    DATASET_TAG,
    STACK_TAG,
    AbTestAsked,
    Approval,
    Endpoint,
    HostingKind,
    Parked,
    Prediction,
    Serving,
    UnreadableCard,
    Variant,
)
from mlplatform.model_cost import HostingCost
from mlplatform.registry import spoken

PACKAGE = model_package(3)
AB = names.ab_config("ml-platform-churn", LIVE_JOB, JOB)
SINCE = "2026-11-23T12:00:00+00:00"
TESTED = names.challenger_tag(JOB, 3, 0.1, SINCE)
SETTINGS = builders.settings()
RIGHT = Prediction(True, "as expected")


def with_test(*, weight: float = 0.1, instances: int = 1, challengers: int = 1, **changed: Any) -> Endpoint:
    """An endpoint with an A/B test of JOB beside LIVE_JOB."""
    live = Variant(names.VARIANT, LIVE_JOB, "ml.c5.large", instances, 1 - weight)
    there = Variant(CHALLENGER, JOB, "ml.c5.large", challengers, weight)
    one = endpoint(config_name=AB, variants=(live, there), instance_count=instances)
    return replace(one, tags={**one.tags, names.ASKED_TAG: AB, **TESTED, **changed.pop("tags", {})}, **changed)


def ask(action: Any = "start", weight: float = 0.1, **changed: Any) -> Any:
    """What comes of it on an endpoint in service; `changed` are facts of a Place, and package and card."""
    package, card = changed.pop("package", PACKAGE), changed.pop("card", builders.card())
    variant = {"VariantName": "AllTraffic", "ModelName": LIVE_JOB, "InitialInstanceCount": 1, "InitialVariantWeight": 1}
    variant |= {"InstanceType": "ml.c5.large"}
    place = Place(
        NOON, changed.pop("serving", Serving(changed.pop("endpoint", endpoint()))), **{"variant": variant, **changed}
    )
    return plan_ab_test(AbTestAsked("churn", action, PACKAGE.arn, weight), place, package, card, SETTINGS)


@pytest.mark.parametrize("weight", [0.0, -0.1, 0.51, 1.0, 10.0, float("nan"), float("inf")])
def test_a_share_is_more_than_nothing_and_at_most_half(weight: float) -> None:
    for action, place in (("start", endpoint()), ("weigh", with_test())):
        decision = ask(action, weight, endpoint=place)
        assert isinstance(decision, Refuse)
        assert "more than 0 and at most 0.5" in decision.reason


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"package": None}, "There is no model churn/3"),
        ({"package": model_package(3, group="ml-platform-iris")}, "is no model of churn"),
        ({"package": model_package(3, properties={"training_job": LIVE_JOB})}, "is the live model itself"),
        ({"package": model_package(3, approval=Approval.REJECTED)}, "it is Rejected"),
        ({"package": model_package(3, properties={"gate": "failed"})}, "a challenger is a model that passed its gate"),
        ({"card": UnreadableCard("its metrics.json is missing")}, "its metrics.json is missing"),
        ({"card": None}, "there is nothing at s3://"),
        ({"serving": None}, "has no endpoint"),
        ({"serving": Serving(endpoint(), standing_in=True)}, "on its way to another kind of hosting"),
        (
            {"serving": Serving(endpoint(status="Parked"), Parked("ml-platform-churn", LIVE_JOB, NOON, {}, ()))},
            "is asleep. To wake it: mlp snooze churn",
        ),
        ({"endpoint": endpoint(status="Failed")}, "is Failed"),
        ({"endpoint": endpoint(tags={**endpoint().tags, names.LOOK_TAG: "move"})}, "to another kind of hosting"),
        ({"endpoint": endpoint(status="Deleting")}, "is Deleting"),
        (
            {"endpoint": endpoint(instance_type=None, kind=HostingKind.SERVERLESS)},
            "is serverless, and only a real-time one",
        ),
        (
            {"endpoint": endpoint(status="Updating", tags={**endpoint().tags, names.WANTED_TAG: "newer"})},
            "on its way to newer",
        ),
        (
            {"endpoint": with_test(tags=names.challenger_tag("other", 2, 0.1, SINCE))},
            "An A/B test of churn/2 runs already",
        ),
        ({"endpoint": with_test(tags={names.CHALLENGER_TAG: ""})}, "is still ending"),
        (
            {"quotas": {"ml.c5.large for endpoint usage": 2.0}},
            'quota "ml.c5.large for endpoint usage" is 2, and an update to both models needs 3',
        ),
        ({"weight": 0.2, "endpoint": with_test()}, "mlp ab churn --weight 0.2"),
    ],
)
def test_what_can_not_be_is_refused_by_name(changed: dict[str, Any], said: str) -> None:
    decision = ask("start", **changed)
    assert isinstance(decision, Refuse), decision
    assert said in decision.reason


def test_a_challenger_comes_without_traffic_beside_the_live_model_which_keeps_its_instances() -> None:
    decision = ask(weight=0.25, endpoint=endpoint(instance_count=4))
    assert isinstance(decision, StartAbTest)
    for operation, request in (
        ("CreateModel", decision.model),
        ("CreateEndpointConfig", decision.endpoint_config),
        ("UpdateEndpoint", decision.endpoint),
    ):
        assert validate("sagemaker", operation, request) == []
    live, challenger = decision.endpoint_config["ProductionVariants"]
    assert (live["VariantName"], live["ModelName"], live["InitialVariantWeight"]) == ("AllTraffic", LIVE_JOB, 1.0)
    assert (challenger["VariantName"], challenger["ModelName"], challenger["InitialVariantWeight"]) == (
        CHALLENGER,
        JOB,
        0.0,
    )
    assert challenger["InitialInstanceCount"] == 2  # a quarter of the traffic: 4 x 0.25 / 0.75 = 1.33
    # Whatever the stack makes it finds again by its tag, at the latest when it is torn down.
    for made in (decision.model, decision.endpoint_config):
        assert {"Key": STACK_TAG, "Value": "ml-platform"} in made["Tags"]
    # Guardrails want the same variants before and after, so that nothing watches this update.
    assert "DeploymentConfig" not in decision.endpoint
    assert decision.endpoint["RetainAllVariantProperties"] is True
    assert decision.endpoint["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DesiredWeight"}]
    assert names.challenger_wishes(decision.endpoint_tags) == {
        "model": JOB, "version": "3", "weight": "0.25", "since": SINCE
    }  # fmt: skip
    assert "churn/3 comes beside" in decision.reason
    assert "44.32 USD a month" in decision.reason  # 2 x 0.102 x 730 x 50/168


def test_the_same_question_again_changes_nothing_and_what_was_interrupted_is_taken_up() -> None:
    assert isinstance(ask(endpoint=with_test()), Skip)
    half = endpoint(tags={**endpoint().tags, **TESTED})
    assert isinstance(ask(endpoint=half), StartAbTest)
    assert isinstance(ask(endpoint=replace(half, status="Updating")), Skip)


def test_a_model_that_waits_for_approval_may_be_a_challenger() -> None:
    assert isinstance(ask(package=model_package(3, approval=Approval.PENDING)), StartAbTest)


@pytest.mark.parametrize(
    ("share", "live", "needed"), [(0.1, 1, 1), (0.1, 9, 1), (0.1, 10, 2), (0.5, 4, 4), (0.2, 4, 1), (0.5, 9, 5)]
)
def test_an_instance_of_the_challenger_has_as_much_to_do_as_one_of_the_live_model(
    share: float, live: int, needed: int
) -> None:
    """10 x 0.1 / 0.9 = 1.1; at most the five that an endpoint may have."""
    assert instances_for(share, live, 1, 5) == needed


# ---- what an endpoint in service needs ----


def test_a_challenger_that_answers_as_in_training_gets_its_share_and_one_that_does_not_leaves() -> None:
    fresh = with_test(weight=0.0)
    share = plan_share(fresh, RIGHT, SETTINGS)
    assert isinstance(share, ShareTraffic)
    assert share.capacity is not None
    assert validate("sagemaker", "UpdateEndpointWeightsAndCapacities", share.capacity) == []
    assert share.capacity["DesiredWeightsAndCapacities"] == [
        {"VariantName": "AllTraffic", "DesiredWeight": 0.9},
        {"VariantName": CHALLENGER, "DesiredWeight": 0.1},
    ]
    wrong = plan_share(fresh, Prediction(False, "expected yes, got no"), SETTINGS)
    assert isinstance(wrong, EndAbTest)
    assert not wrong.good
    assert wrong.endpoint is not None
    assert wrong.endpoint["EndpointConfigName"] == LIVE_JOB
    assert plan_share(with_test(weight=0.10000000149011612), RIGHT, SETTINGS) is None
    assert plan_share(endpoint(), RIGHT, SETTINGS) is None


def test_a_larger_share_comes_after_the_instances_for_it() -> None:
    decision = ask("weigh", 0.5, endpoint=with_test(instances=3))
    assert isinstance(decision, ShareTraffic)
    assert decision.capacity is not None
    assert decision.capacity["DesiredWeightsAndCapacities"] == [{"VariantName": CHALLENGER, "DesiredInstanceCount": 3}]
    ready = with_test(instances=3, challengers=3, tags=decision.endpoint_tags)
    share = plan_share(ready, RIGHT, SETTINGS)
    assert isinstance(share, ShareTraffic)
    assert share.capacity is not None
    assert share.capacity["DesiredWeightsAndCapacities"][1] == {"VariantName": CHALLENGER, "DesiredWeight": 0.5}
    # Where SageMaker has none, the share comes all the same: nothing asks for ever.
    short = replace(with_test(instances=3, tags=decision.endpoint_tags), failure_reason="InsufficientInstanceCapacity")
    share = plan_share(short, RIGHT, SETTINGS)
    assert isinstance(share, ShareTraffic)
    assert share.capacity is not None
    assert "DesiredWeight" in share.capacity["DesiredWeightsAndCapacities"][0]


def test_a_share_that_is_changed_while_the_endpoint_is_busy_waits_its_turn() -> None:
    decision = ask("weigh", 0.3, endpoint=with_test(status="Updating"))
    assert isinstance(decision, ShareTraffic)
    assert decision.capacity is None
    assert "The endpoint is Updating; it follows" in decision.reason
    assert isinstance(ask("weigh", 0.1, endpoint=with_test()), Skip)
    assert isinstance(ask("weigh", 0.2), Refuse)


def test_a_challenger_that_is_dropped_leaves_scaling_first() -> None:
    decision = ask("drop", 0, endpoint=with_test())
    assert isinstance(decision, EndAbTest)
    assert decision.endpoint == {
        "EndpointName": "ml-platform-churn",
        "EndpointConfigName": LIVE_JOB,
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
    }
    assert decision.deregister is not None
    assert decision.deregister["ResourceId"] == "endpoint/ml-platform-churn/variant/Challenger"
    assert decision.endpoint_tags == {names.CHALLENGER_TAG: ""}
    assert isinstance(ask("drop", 0), Refuse)


def test_what_had_to_wait_is_done_when_the_endpoint_is_free_and_what_failed_is_told_once() -> None:
    waited = endpoint(tags={**endpoint().tags, **TESTED})
    comes = plan_variants(waited, SETTINGS)
    assert isinstance(comes, FinishDeployment)
    assert comes.endpoint["EndpointConfigName"] == AB
    failed = plan_variants(
        replace(waited, tags={**waited.tags, names.ASKED_TAG: AB}, failure_reason="No capacity."), SETTINGS
    )
    assert isinstance(failed, EndAbTest)
    assert (failed.good, failed.endpoint) == (False, None)
    assert "No capacity." in failed.reason
    assert failed.endpoint_tags[names.ASKED_TAG] == LIVE_JOB, "the same test can be asked for again"
    goes = plan_variants(with_test(tags={names.CHALLENGER_TAG: ""}), SETTINGS)
    assert isinstance(goes, FinishDeployment)
    assert (goes.endpoint["EndpointConfigName"], goes.deregister is not None) == (LIVE_JOB, True)
    stuck = with_test(tags={names.CHALLENGER_TAG: "", names.ASKED_TAG: LIVE_JOB}, failure_reason="No capacity.")
    assert isinstance(plan_variants(stuck, SETTINGS), Notify), "and is no loop"
    for settled in (endpoint(), with_test(), with_test(config_name="7f4e1944-1817-4891-9bef-e055a90787a4")):
        assert check_endpoint(settled, SETTINGS) is None
        assert plan_variants(settled, SETTINGS) is None


# ---- releases ----


def release(on: Live) -> DeployModel:
    return deployment("It is approved.", Model("churn", "ml-platform-churn-v4", {}, ""), on, SETTINGS)


def test_a_release_has_the_challenger_leave_first_and_then_comes_as_any_other() -> None:
    decision = release(Live(with_test(), None, None))
    assert "The A/B test of churn/3 ends with that." in decision.reason
    assert (decision.endpoint["EndpointConfigName"], decision.alarms) == (LIVE_JOB, ())
    assert decision.deregister is not None
    assert decision.deregister["ResourceId"].endswith("/Challenger")
    assert decision.endpoint_tags[names.CHALLENGER_TAG] == ""
    wanted = {names.WANTED_TAG: "ml-platform-churn-v4", names.CHALLENGER_TAG: ""}
    alone = endpoint(tags={**endpoint().tags, **wanted, names.ASKED_TAG: LIVE_JOB})
    then = check_endpoint(alone, SETTINGS)
    assert isinstance(then, FinishDeployment)
    assert then.endpoint["EndpointConfigName"] == "ml-platform-churn-v4"
    assert "DeploymentConfig" in then.endpoint
    assert len(then.alarms) == 3
    # It was busy when the release came, or could not let the challenger go.
    first = check_endpoint(with_test(tags=wanted), SETTINGS)
    assert isinstance(first, FinishDeployment)
    assert first.endpoint["EndpointConfigName"] == LIVE_JOB
    stuck = with_test(tags={**wanted, names.ASKED_TAG: LIVE_JOB}, failure_reason="No capacity.")
    assert isinstance(check_endpoint(stuck, SETTINGS), Notify)


def test_a_sleeping_endpoint_gets_a_release_without_its_challenger() -> None:
    def named(variant: str) -> dict[str, Any]:
        return {"VariantName": variant, "ResourceId": f"endpoint/ml-platform-churn/variant/{variant}"}

    both = (named("AllTraffic"), named(CHALLENGER))
    parked = Parked("ml-platform-churn", AB, NOON, TESTED, both, both, both, both, ())
    decision = release(Live(with_test(status="Parked"), None, None, parked))
    assert decision.parked == replace(
        parked, variants=both[:1], targets=both[:1], policies=both[:1], scheduled_actions=both[:1]
    )


def test_the_gate_asks_a_person_before_it_ends_an_a_b_test() -> None:
    ask = why_ask(
        builders.card(), None, HostingCost(None, ""), SETTINGS, serving=True, tested=names.challenger_wishes(TESTED)
    )
    assert ask is not None
    assert (ask.kinds, ask.reason) == ("tested", "its approval ends the A/B test of version 3")


# ---- names ----


def test_names_of_a_challenger_are_nobody_elses() -> None:
    assert names.alarm("ml-platform-churn", "errors", CHALLENGER) == "ml-platform-churn-Challenger-errors"
    assert not names.is_dataset("ml-platform", "churn-Challenger")
    longest = "x" * names.longest_dataset("ml-platform")
    assert len(names.ab_config(names.endpoint("ml-platform", longest), "a" * 63, "b" * 63)) <= 63
    assert names.ab_config("e", "a", "b") != names.ab_config("e", "b", "a")
    assert spoken(PACKAGE.arn, "ml-platform") == "churn/3"
    one = as_challenger(with_test())
    assert one is not None
    assert (one.variant_name, one.model_name, one.tags[DATASET_TAG], one.tags[STACK_TAG]) == (
        CHALLENGER, JOB, "churn", "ml-platform"
    )  # fmt: skip
