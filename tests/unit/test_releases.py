"""What an approval or a rejection comes to, as a table. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import builders
from builders import JOB, LIVE_JOB, NOON, card, endpoint, model_package, package_changed
from laptop.service_model import validate
from mlplatform import names
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.deployment import Live
from mlplatform.errors import TryAgain
from mlplatform.facts import STACK_TAG, Approval, ModelCard, ModelPackage, Parked, UnreadableCard
from mlplatform.releases import Known, as_it_is, lost_approval, plan_release, skip_package

LIVE = Live(endpoint(), None, card(test=0.85))
FAILED = {"gate": "failed", "training_job": JOB}
OTHERS: dict[str, str] = {}  # registered without a gate of the platform's


def serving(config: str, **changed: Any) -> Live:
    """An endpoint that wants JOB, was asked for it, and runs a config."""
    tags = {names.WANTED_TAG: JOB, names.ASKED_TAG: JOB}
    return Live(endpoint(tags=tags, config_name=config, model_name=config, **changed), None, None)


def decide(
    package: ModelPackage | None = None,
    live: Live | None = LIVE,
    found: ModelCard | UnreadableCard | None = None,
    settings: Any = None,
    live_version: int | None = 1,
    **changed: Any,
) -> Any:
    package = package or model_package()
    known = Known(live, live_version if live else None, found or card(test=0.9))
    return plan_release(package, package_changed(package, **changed), known, settings or builders.settings())


@pytest.mark.parametrize(
    ("package", "changed", "acted_upon", "said"),
    [
        (None, {}, False, "is gone"),
        (model_package(), {"group": "other-churn"}, False, "not a model package group"),
        (
            model_package(),
            {"fields": ("CustomerMetadataProperties",)},
            False,
            "only CustomerMetadataProperties changed",
        ),
        (model_package(approval=Approval.REJECTED), {"approval": Approval.APPROVED}, False, "is Rejected meanwhile"),
        (model_package(tags={STACK_TAG: "ml-platform-2"}), {}, False, "belongs to the stack ml-platform-2"),
        (model_package(tags={STACK_TAG: "ml-platform"}), {}, False, None),
        (model_package(), {"new": True, "fields": None}, False, "registered by the gate"),
        (model_package(), {}, True, "the event came again"),
        (model_package(), {}, False, None),
        (model_package(), {"fields": None}, False, None),  # an event that does not say what changed
        (model_package(), {"fields": ("ApprovalDescription", "ModelApprovalStatus")}, False, None),
        (model_package(properties=OTHERS), {"new": True, "fields": None}, False, None),
    ],
)
def test_an_event_that_is_no_new_word_about_a_model_is_skipped(
    package: ModelPackage | None, changed: dict[str, Any], acted_upon: bool, said: str | None
) -> None:
    event = package_changed(package or model_package(), **changed)
    skip = skip_package(package, event, acted_upon, builders.settings())
    assert (skip is None) if said is None else (skip is not None and said in skip.reason)


@pytest.mark.parametrize(
    ("package", "live", "kind", "said"),
    [
        (model_package(), LIVE, DeployModel, f"it replaces {LIVE_JOB}"),
        (model_package(), None, DeployModel, "it goes live"),
        (model_package(), Live(endpoint(status="Failed"), None, None), DeployModel, "it replaces"),
        (model_package(), serving(JOB), Skip, "live already"),
        (model_package(), serving(LIVE_JOB, status="Updating"), Skip, "live already"),  # on the way to it
        (model_package(), serving(LIVE_JOB), DeployModel, "it replaces"),  # the update to it failed
        (model_package(properties=FAILED), LIVE, Notify, "mlp approve churn/2 --force"),
        (model_package(properties={**FAILED, "forced_by": "ann"}), LIVE, DeployModel, "although it failed its gate"),
        (model_package(properties=OTHERS), LIVE, DeployModel, f"it replaces {LIVE_JOB}"),
        (
            model_package(properties={"gate": "passed", "approved_by": "ann"}, approval_description="Looks good."),
            LIVE,
            DeployModel,
            "was approved by ann (Looks good)",
        ),
        (model_package(approval=Approval.PENDING), LIVE, Skip, "set back"),
        (model_package(approval=Approval.REJECTED), LIVE, Skip, "not live"),
    ],
)
def test_an_approval_deploys_what_passed_its_gate_or_was_forced(
    package: ModelPackage, live: Live | None, kind: type, said: str
) -> None:
    decision = decide(package, live)
    assert isinstance(decision, kind)
    assert said in decision.reason


def test_the_live_model_stays_when_it_is_rejected_and_people_hear_how_to_go_back() -> None:
    running = serving(JOB)
    rejected = model_package(approval=Approval.REJECTED, approval_description="wrong for new customers")
    decision = decide(rejected, running)
    assert isinstance(decision, Notify)
    assert "wrong for new customers" in decision.reason
    assert "mlp rollback churn" in decision.reason
    rolled_back = replace(rejected, properties={**rejected.properties, "rolled_back_to": "1"})
    assert isinstance(decide(rolled_back, running), Skip), "whoever rolls back knows"


def test_an_older_model_is_deployed_as_the_rollback_that_it_is() -> None:
    decision = decide(model_package(2), live_version=5)
    assert isinstance(decision, DeployModel)
    assert decision.reason.endswith("it is older than the live version 5, so that this is a rollback to it.")


def test_what_is_deployed_comes_from_the_package_and_from_nothing_else() -> None:
    package = model_package(
        properties={"gate": "passed", "training_job": "gone-long-ago", "hosting": "instance_type=ml.m5.large"},
        artifact_uri="s3://archive/of-2024/model.tar.gz",
        image="763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:1.13.1",
    )
    decision = decide(package)
    assert isinstance(decision, DeployModel)
    assert decision.model["ModelName"] == "ml-platform-churn-v2"
    assert decision.model["PrimaryContainer"] == {
        "Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:1.13.1",
        "ModelDataUrl": "s3://archive/of-2024/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "inference.py"},
    }
    [variant] = decision.endpoint_config["ProductionVariants"]
    assert variant["InstanceType"] == "ml.m5.large"
    assert decision.deregister is not None, "the instance type changes"
    assert decision.release == "releases/churn/00002-1764.json"
    for operation, request in {
        "CreateModel": decision.model,
        "CreateEndpointConfig": decision.endpoint_config,
        "UpdateEndpoint": decision.endpoint,
    }.items():
        assert validate("sagemaker", operation, request) == [], operation


def test_a_stopped_endpoint_is_not_started_for_an_approval() -> None:
    parked = Parked("ml-platform-churn", LIVE_JOB, NOON, {names.WANTED_TAG: LIVE_JOB}, ())
    decision = decide(live=Live(endpoint(status="Parked"), None, None, parked))
    assert isinstance(decision, DeployModel)
    assert decision.parked is parked
    assert "will come back with this model" in decision.reason
    same = Live(endpoint(status="Parked", tags={names.WANTED_TAG: JOB}), None, None, replace(parked, config=JOB))
    again = decide(live=same)
    assert isinstance(again, Skip)
    assert "parked already" in again.reason


def test_an_endpoint_on_its_way_out_is_waited_for() -> None:
    with pytest.raises(TryAgain, match="being deleted"):
        decide(live=Live(endpoint(status="Deleting"), None, None))


def test_a_model_that_can_not_be_read_is_told_and_not_deployed() -> None:
    decision = decide(found=UnreadableCard("it has no metrics.json"))
    assert isinstance(decision, Notify)
    assert "it has no metrics.json" in decision.reason


@pytest.mark.parametrize(
    ("approval", "found", "environment", "properties", "kind"),
    [
        (Approval.APPROVED, card(test=0.9, live=0.85), "dev", {}, DeployModel),
        (Approval.APPROVED, card(test=0.8, live=0.85), "dev", {}, KeepLiveModel),
        (Approval.APPROVED, card(test=0.9, live=0.85), "prod", {"hosting": "min_instances=2"}, AskApproval),
        (Approval.APPROVED, card(test=0.9, live=0.85), "dev", {"asked": "requested"}, AskApproval),
        (Approval.APPROVED, card(test=0.9, live=0.85), "dev", {"compared_with": "s3://older"}, DeployModel),
        (Approval.APPROVED, card(test=0.84, live=0.8), "dev", {"compared_with": "s3://older"}, KeepLiveModel),
        (Approval.PENDING, card(test=0.9, live=0.85), "dev", {}, AskApproval),
        (Approval.PENDING, card(test=0.8, live=0.85), "dev", {}, KeepLiveModel),
    ],
)
def test_what_others_register_passes_the_same_gate(
    approval: Approval, found: ModelCard, environment: str, properties: dict[str, str], kind: type
) -> None:
    package = model_package(approval=approval, properties=properties)
    settings = builders.settings(environment=environment)
    decision = decide(package, found=found, settings=settings, new=True, fields=None, stamp="new")
    assert isinstance(decision, kind), decision
    assert decision.update["CustomerMetadataProperties"]["test_roc_auc"] == f"{found.metrics.score:.6f}"
    if isinstance(decision, DeployModel):
        assert "ModelApprovalStatus" not in decision.update, "an event that would look like an approval"
        assert decision.update["CustomerMetadataProperties"]["gate"] == "passed"
    if isinstance(decision, KeepLiveModel | AskApproval):
        assert decision.update is not None
        assert validate("sagemaker", "UpdateModelPackage", decision.update) == []
        wanted = "Rejected" if isinstance(decision, KeepLiveModel) else "PendingManualApproval"
        assert decision.update["ModelApprovalStatus"] == wanted
        assert decision.release == "releases/churn/00002-new-asked.json"


def test_of_two_algorithms_the_reason_begins_with_which_was_taken_and_what_it_cost() -> None:
    choice = "XGBoost has roc_auc 0.9100 on the validation rows, 0.0100 better than PyTorch's 0.9000; and so on."
    package = model_package(approval=Approval.APPROVED, properties={})
    decision = decide(package, found=card(test=0.9, live=0.85, choice=choice), new=True, fields=None, stamp="new")
    assert decision.reason.startswith(f"{choice} ")
    assert "better than the live model's 0.8500" in decision.reason


@pytest.mark.parametrize(
    ("minutes", "acted_upon", "found"),
    [(30, False, True), (30, True, False), (5, False, False), (15 * 24 * 60, False, False)],
)
def test_an_approval_that_nothing_came_of_is_found_while_somebody_may_wait_for_it(
    minutes: int, acted_upon: bool, found: bool
) -> None:
    package = model_package()
    lost = lost_approval(package, acted_upon, package.modified + timedelta(minutes=minutes))
    assert (lost is not None) == found
    if lost is not None:
        assert skip_package(package, lost, False, builders.settings()) is None
        assert isinstance(decide(package, stamp=lost.stamp, fields=lost.fields), DeployModel)


@pytest.mark.parametrize(
    ("properties", "fields", "new"),
    [
        (OTHERS, None, True),  # nobody knows how AWS tells of a new package
        (OTHERS, (), True),
        (OTHERS, ("ModelApprovalStatus",), True),  # approved by a person before the gate saw it: it is judged
        (OTHERS, ("CustomerMetadataProperties",), False),  # of the lineage that is written on it
        ({"gate": "passed"}, None, False),
        ({"approved_by": "somebody"}, None, False),
    ],
)
def test_a_package_that_nobody_has_answered_for_is_judged_however_its_event_looks(
    properties: dict[str, str], fields: tuple[str, ...] | None, new: bool
) -> None:
    package = model_package(properties=properties)
    assert as_it_is(package, package_changed(package, fields=fields, new=False)).new is new
