"""What the account may have decides before anything starts; machines of the same size take each other's place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import builders
from laptop.service_model import validate
from mlplatform import capacity, kinds, names, quotas
from mlplatform.autoscaling import told_elsewhere
from mlplatform.decisions import AskApproval, DeployModel, HoldDataset, StartTraining, StartTuning
from mlplatform.deployment import Live, Model, deployment, plan_deployment
from mlplatform.facts import Approval, HostingKind, JobStatus
from mlplatform.kinds import kind_of
from mlplatform.training import plan_training

SPOT, ENDPOINT = "ml.m5.xlarge for spot training job usage", "ml.c5.large for endpoint usage"
MODEL = Model("churn", builders.JOB, {"Image": "image", "ModelDataUrl": "s3://b/model.tar.gz"}, "")


def launch(job_json: Any = None) -> Any:
    return plan_training(builders.drop(job_json=job_json), None, builders.settings())


def deploys(live: Live | None = None, **changed: Any) -> DeployModel:
    return deployment("It is good.", MODEL, live, builders.settings(**changed))


def fitted(told: dict[str, float], live: Live | None = None, **changed: Any) -> DeployModel | AskApproval:
    return quotas.fit_deployment(deploys(live, **changed), live, told, builders.settings(**changed))


def live(**changed: Any) -> Live:
    return Live(builders.endpoint(instance_type="ml.c5.large", **changed), None, None)


@pytest.mark.parametrize(
    ("job_json", "told", "says"),
    [
        (None, {SPOT: 0}, f'"{SPOT}" is 0, and the training needs 1'),
        ({"instance_count": 4}, {SPOT: 3}, f'"{SPOT}" is 3, and the training needs 4'),
        ({"tuning": {}}, {SPOT: 1}, f'"{SPOT}" is 1, and a tuning with 2 trials at a time needs 2'),
        ({"pipeline": {}}, {SPOT: 0}, f'"{SPOT}" is 0, and its training needs 1'),
        (
            {"pipeline": {}},
            {"ml.t3.medium for processing job usage": 0},
            '"ml.t3.medium for processing job usage" is 0',
        ),
    ],
)
def test_a_launch_that_the_account_may_not_make_waits_with_the_quotas_name(
    job_json: Any, told: dict[str, float], says: str
) -> None:
    held = quotas.hold_launch(launch(job_json), told, builders.settings())
    assert isinstance(held, HoldDataset)
    assert says in held.reason
    assert "Service Quotas console" in held.reason


@pytest.mark.parametrize("told", [{}, {SPOT: 1}, {"ml.m5.xlarge for training job usage": 0}])
def test_a_quota_that_is_enough_or_not_told_or_of_another_use_holds_nothing(told: dict[str, float]) -> None:
    assert isinstance(launch(), StartTraining)
    assert quotas.hold_launch(launch(), told, builders.settings()) is None


def test_what_the_account_may_have_instead_is_named_nearest_in_size_first() -> None:
    may = {"ml.m5.large for spot training job usage": 4, "ml.c5.xlarge for spot training job usage": 1, SPOT: 0}
    held = quotas.hold_launch(launch(), may, builders.settings())
    assert held is not None
    assert "(it may have ml.c5.xlarge (1), ml.m5.large (4))" in held.reason


def test_a_tuning_is_told_that_fewer_trials_at_a_time_would_do() -> None:
    tuning = launch({"tuning": {"max_parallel_jobs": 5}})
    assert isinstance(tuning, StartTuning)
    held = quotas.hold_launch(tuning, {SPOT: 2}, builders.settings())
    assert held is not None
    assert "a smaller tuning.max_parallel_jobs" in held.reason


@pytest.mark.parametrize(
    ("served", "value", "says"),
    [
        (None, 0, "is 0, and the endpoint needs 1"),
        # An update has the new fleet beside the old one: two and two.
        (live(instance_count=2), 3, "is 3, and an update with both fleets side by side needs 4"),
    ],
)
def test_a_model_that_the_account_has_no_instances_for_waits_for_an_approval(
    served: Live | None, value: float, says: str
) -> None:
    waiting = fitted({ENDPOINT: value}, served)
    assert isinstance(waiting, AskApproval)
    assert f'"{ENDPOINT}" {says}' in waiting.reason


@pytest.mark.parametrize(
    ("served", "wish", "needs"),
    [
        ("real-time", "", 2 * 3),  # keeps its three, twice
        ("asynchronous", "kind=asynchronous", 1 + 3),  # begins anew with one, beside its three
        ("scale-to-zero", "kind=scale-to-zero", 3),  # gets the model on the three that it has
        ("real-time", "kind=asynchronous", 1 + 3),  # a stand-in beside the three
        ("serverless", "kind=asynchronous", 1 + 1),  # and the new one beside the stand-in
        ("serverless", "kind=real-time", 1),
    ],
)
def test_an_update_needs_what_its_kind_starts_side_by_side(served: str, wish: str, needs: int) -> None:
    kind = HostingKind(served)
    one = live(kind=kind, instance_count=3)
    if kind is HostingKind.SERVERLESS:
        one = replace(one, endpoint=replace(one.endpoint, instance_type=None, instance_count=None))
    decision = deployment("It is good.", replace(MODEL, hosting=wish), one, builders.settings())
    assert isinstance(quotas.fit_deployment(decision, one, {ENDPOINT: needs}, builders.settings()), DeployModel)
    waits = quotas.fit_deployment(decision, one, {ENDPOINT: needs - 1}, builders.settings())
    assert f"needs {needs}" in waits.reason


@pytest.mark.parametrize(("kind", "pooled"), [("real-time", True), ("asynchronous", True), ("scale-to-zero", False)])
def test_what_is_asynchronous_falls_back_to_a_type_of_the_same_size_too(kind: str, pooled: bool) -> None:
    decision = deployment("It is good.", replace(MODEL, hosting=f"kind={kind}"), None, builders.settings())
    told = {ENDPOINT: 5, "ml.c6i.large for endpoint usage": 1}
    deployed = quotas.fit_deployment(decision, None, told, builders.settings())
    assert isinstance(deployed, DeployModel)
    assert ("InstancePools" in deployed.endpoint_config["ProductionVariants"][0]) is pooled
    assert kind_of(deployed.endpoint_config) is HostingKind(kind)
    assert validate("sagemaker", "CreateEndpointConfig", deployed.endpoint_config) == []


def test_a_fleet_of_another_type_does_not_count_beside_the_new_one() -> None:
    other = Live(builders.endpoint(instance_type="ml.m5.large", instance_count=2), None, None)
    assert isinstance(fitted({ENDPOINT: 2}, other), DeployModel)
    assert isinstance(fitted({ENDPOINT: 1}, other), AskApproval)  # both instances come along


def test_a_quota_below_the_most_instances_is_told_and_hinders_nothing() -> None:
    grown = fitted({ENDPOINT: 2}, max_instances=5)
    assert isinstance(grown, DeployModel)
    assert f"It can't grow to 5 instances: the account's quota \"{ENDPOINT}\" is 2." in grown.reason


def test_a_good_model_that_waits_is_registered_as_pending_and_says_why() -> None:
    asked = {
        "ModelPackageGroupName": "g",
        "ModelApprovalStatus": "Approved",
        "CustomerMetadataProperties": {"gate": "passed"},
    }
    waiting = quotas.fit_deployment(replace(deploys(), model_package=asked), None, {ENDPOINT: 0}, builders.settings())
    assert isinstance(waiting, AskApproval)
    assert waiting.model_package is not None
    assert waiting.model_package["ModelApprovalStatus"] == Approval.PENDING.value
    assert waiting.model_package["CustomerMetadataProperties"] == {"gate": "passed", "asked": "quota"}


def test_an_approved_model_that_waits_is_set_back_and_remembered_as_asked() -> None:
    approved = replace(deploys(), package="arn:p/1", release=names.release_key("churn", 1, "7"))
    waiting = quotas.fit_deployment(approved, None, {ENDPOINT: 0}, builders.settings())
    assert isinstance(waiting, AskApproval)
    assert waiting.update is not None
    assert (waiting.update["ModelPackageArn"], waiting.update["ModelApprovalStatus"]) == (
        "arn:p/1",
        "PendingManualApproval",
    )
    assert waiting.release == names.asked_key("churn", 1, "7")


def test_a_type_of_the_same_size_with_a_quota_of_its_own_takes_the_wanted_ones_place() -> None:
    deployed = fitted({ENDPOINT: 5, "ml.c6i.large for endpoint usage": 1})
    assert isinstance(deployed, DeployModel)
    [variant] = deployed.endpoint_config["ProductionVariants"]
    assert "InstanceType" not in variant
    assert variant["InstancePools"] == [
        {"InstanceType": "ml.c5.large", "Priority": 1},
        {"InstanceType": "ml.c6i.large", "Priority": 2},
    ]
    assert validate("sagemaker", "CreateEndpointConfig", deployed.endpoint_config) == []


def test_without_such_a_quota_a_config_names_one_type() -> None:
    for told in ({ENDPOINT: 5}, {}, {ENDPOINT: 5, "ml.c6i.large for endpoint usage": 0}):
        deployed = fitted(told)
        assert isinstance(deployed, DeployModel)
        assert deployed.endpoint_config["ProductionVariants"][0]["InstanceType"] == "ml.c5.large"


@pytest.mark.parametrize(
    ("instance_type", "use", "instead"),
    [
        ("ml.c5.large", "hosting", ("ml.c6i.large",)),
        ("ml.m5.large", "training", ("ml.m6i.large",)),
        ("ml.g5.xlarge", "hosting", ()),  # a GPU is not like another
        ("ml.t2.medium", "hosting", ()),  # whose memory is not in the table
        ("ml.r5.large", "hosting", ()),  # which has no price, so that nothing can be about as dear
    ],
)
def test_the_same_size_is_the_same_processors_and_memory_at_a_known_price(
    instance_type: str, use: Any, instead: tuple[str, ...]
) -> None:
    assert capacity.same_size(instance_type, use, "us-east-1") == instead


@pytest.mark.parametrize(
    ("reason", "lacks"),
    [
        ("CapacityError: Unable to provision requested ML compute capacity. Please retry using another type.", True),
        ("Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error.", True),
        ("ResourceLimitExceeded: the account-level service limit is 0 Instances.", False),
        (None, False),
    ],
)
def test_capacity_is_told_from_other_failures(reason: str | None, lacks: bool) -> None:
    assert capacity.lacks_capacity(reason) is lacks


def test_people_are_told_once_of_an_endpoint_that_runs_on_other_machines() -> None:
    elsewhere = told_elsewhere(builders.endpoint(instance_type="ml.c5.large", running_types=("ml.c6i.large",)))
    assert elsewhere is not None
    assert "runs on ml.c6i.large, because SageMaker had no ml.c5.large" in elsewhere.reason
    assert elsewhere.once.endswith("-elsewhere.json")
    assert told_elsewhere(builders.endpoint(instance_type="ml.c5.large", running_types=("ml.c5.large",))) is None
    assert told_elsewhere(builders.endpoint(instance_type="ml.c5.large")) is None


def test_a_training_that_found_no_machine_is_told_one_of_the_same_size() -> None:
    for job in (
        builders.training_job(
            status=JobStatus.STOPPED, secondary_status="MaxWaitTimeExceeded", instance_type="ml.c5.xlarge"
        ),
        builders.training_job(
            status=JobStatus.FAILED,
            failure_reason="CapacityError: Unable to provision requested ML compute capacity.",
            instance_type="ml.c5.xlarge",
        ),
    ):
        told = plan_deployment(job, None, None, builders.settings())
        assert "instance_type ml.c6i.xlarge in job.json (of the same size; 0.204 USD an hour" in told.reason


@pytest.mark.parametrize(
    ("live_kind", "wish", "told", "says"),
    [
        # Two endpoints of five requests at a time: the stand-in, and then the new one beside it.
        ("real-time", "kind=serverless", {quotas.SERVERLESS_ENDPOINTS: 1}, "is 1, and a move with a stand-in needs 2"),
        (
            "real-time",
            "kind=serverless",
            {quotas.SERVERLESS_CONCURRENCY: 9},
            "is 9, and a move with a stand-in needs 10",
        ),
        ("real-time", "kind=serverless", {quotas.SERVERLESS_ENDPOINTS: 2, quotas.SERVERLESS_CONCURRENCY: 10}, ""),
        # Of what stands beside it only what is of the same type counts: three, beside the first of a queue.
        ("real-time", "kind=asynchronous", {ENDPOINT: 3}, "is 3, and a move with a stand-in side by side needs 4"),
        (
            "real-time",
            "kind=scale-to-zero instance_type=ml.g5.xlarge",
            {"ml.g5.xlarge for endpoint usage": 1},
            "needs 2",
        ),
        ("real-time", "kind=asynchronous", {ENDPOINT: 4}, ""),
        ("serverless", "kind=real-time min_instances=2", {ENDPOINT: 1}, "is 1, and the endpoint needs 2"),
        ("serverless", "kind=real-time", {ENDPOINT: 1}, ""),
        ("real-time", "kind=serverless", {}, ""),
    ],
)
def test_a_move_needs_the_stand_in_beside_what_there_is(
    live_kind: str, wish: str, told: dict[str, float], says: str
) -> None:
    one = builders.endpoint(instance_type="ml.c5.large", instance_count=3, kind=HostingKind(live_kind))
    wanted = kinds.hosting({names.HOSTING_TAG: wish}, builders.settings())
    said = quotas.lacking(quotas.move_needs(one, wanted), told)
    assert says in said
    assert bool(says) is bool(said)


@pytest.mark.parametrize(("value", "waits"), [(4, True), (5, False)])
def test_a_first_serverless_endpoint_needs_its_own_concurrency(value: float, waits: bool) -> None:
    decision = deployment("It is good.", replace(MODEL, hosting="kind=serverless"), None, builders.settings())
    told = {quotas.SERVERLESS_CONCURRENCY: value}
    fitted_to_it = quotas.fit_deployment(decision, None, told, builders.settings())
    assert isinstance(fitted_to_it, AskApproval) is waits
    assert ("a smaller hosting.max_concurrency" in fitted_to_it.reason) is waits
