"""What functions do that changes something: each of their branches, with an account in which it is taken.

The accounts are made by the functions themselves: a drop, a training that ends, a deployment, a night.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from standing_account import WRONG, StandingAccount

import builders
from activate_cost_tags import activate_cost_tags
from compare_models import compare_models
from configure_autoscaling import check_canary, configure_autoscaling
from deploy_model import deploy_model, deploy_tuned, find_lost_approvals, find_lost_ends, finish_pipeline, release_model
from govern_resources import govern_resources, report_untagged
from keep_office_hours import keep_office_hours
from mlplatform import cost_tags, custom_resource, events, holds, names, pipelines
from mlplatform.app import App
from mlplatform.custom_resource import Request
from mlplatform.decisions import Decision
from mlplatform.errors import PlatformError
from mlplatform.facts import (
    STACK_TAG,
    AbTestAsked,
    DatasetArrived,
    EndpointChanged,
    Hold,
    JobStatus,
    PackageChanged,
    PipelineAsked,
    PipelineEnded,
    TrainingEnded,
    TuningEnded,
)
from notify import notify
from publish_model_code import publish_model_code
from report_costs import report_costs
from start_training import start_pipeline, start_training
from tear_down import tear_down
from watch_spend import watch_spend

STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/ml-platform/51af3dc0-da77-11e4-872e-1234567db123"
ENDPOINT = "ml-platform-churn"
DATA = "ml-platform-data"


def settle(account: StandingAccount) -> None:
    """AWS ends what it has begun, and the functions are told of it, until nothing is left."""
    for _ in range(12):
        account.later(seconds=30)
        account.go_on()
        if not account.bus.waiting:
            return
        told, account.bus.waiting = account.bus.waiting, []
        for event in told:
            _tell(account, event)
    raise AssertionError(f"the account does not come to rest: {account.bus.waiting}")


def settle_by_ticks(account: StandingAccount) -> None:
    """With the ticks that look after what no event tells of: moves, and inference components."""
    settle(account)
    for _ in range(3):
        keep_office_hours(account.app(), account.later(minutes=15))
        settle(account)


def _tell(account: StandingAccount, event: Mapping[str, Any]) -> None:
    """As the template's rules do, with Lambda's attempts."""
    for attempt in range(3):
        try:
            app, kind = account.app(), event["detail-type"]
            if events.is_deployment_change(event):
                check_canary(app, events.endpoint_changed(event))
            elif kind == "SageMaker Endpoint State Change":
                if event["detail"]["EndpointStatus"] in ("IN_SERVICE", "FAILED"):
                    configure_autoscaling(app, events.endpoint_changed(event))
            elif events.is_package_change(event):
                release_model(app, events.package_changed(event))
            return
        except PlatformError:
            if attempt == 2:
                raise
            account.later(minutes=1)
            account.go_on()


@dataclass(frozen=True)
class Scenario:
    """One branch of a function: an account to begin with, and an event."""

    function: str  # its file's name
    branch: str
    decides: frozenset[str]  # what the undisturbed run comes to, by the decisions' classes
    prepare: Callable[[StandingAccount], Any]  # the event
    deliver: Callable[[StandingAccount, App, Any], Any]
    tick: Callable[[StandingAccount, App, Any], Any] | None = None  # the next one, of what a clock starts
    settings: Mapping[str, Any] = field(default_factory=dict)
    tells_trouble: bool = False  # it goes on with the rest when something fails, and tells people
    late: bool = True  # whether the event may come again after what was under way has ended
    # Subjects of routine messages: what a tick has tidied up. The next tick finds nothing to tell of.
    may_be_lost: frozenset[str] = frozenset()
    # Where something failed that the function goes on without: what may be otherwise then, and says so.
    may_differ: tuple[str, ...] = ()
    settle: Callable[[StandingAccount], None] = settle


SCENARIOS: dict[str, Scenario] = {}


def scenario(function: str, branch: str, decides: str, **more: Any) -> None:
    SCENARIOS[f"{function}-{branch}"] = Scenario(function, branch, frozenset(decides.split()), **more)


# ---- how an account comes to be ----


def drop(account: StandingAccount, seed: int = 1, **job_json: Any) -> DatasetArrived:
    content = builders.csv(seed=seed)
    if job_json:
        account.put("datasets/churn/job.json", json.dumps(job_json).encode(), DATA)
        account.later(seconds=1)  # the newest object's event is the one that counts
    etag = account.put("datasets/churn/data.csv", content, DATA)
    return DatasetArrived(DATA, "datasets/churn/data.csv", etag, len(content))


def _jobs(account: StandingAccount) -> set[str]:
    return {job.name for job in account.aws.training._jobs.all()}


def train(account: StandingAccount, seed: int = 1, live: float | None = None, **job_json: Any) -> str:
    """A drop whose training has ended. `live` is what the live model reached on its test rows."""
    account.later(minutes=5)
    arrived = drop(account, seed, **job_json)
    before = _jobs(account)
    start_training(account.app(), arrived)
    [job] = _jobs(account) - before
    account.later(minutes=5)
    scored = {} if live is None else {"live": {"rows": 8, "roc_auc": live}}
    account.end_training(job, archive=builders.model_archive(builders.metrics_json(**scored)))
    return job


def ended(job: str, status: JobStatus = JobStatus.COMPLETED) -> TrainingEnded:
    return TrainingEnded(job, status)


def deploy(account: StandingAccount, job: str) -> str:
    deploy_model(account.app(), ended(job))
    settle(account)
    return job


def live(account: StandingAccount, **job_json: Any) -> str:
    """A model that serves and scales; its job's name."""
    return deploy(account, train(account, **job_json))


def deliver_training_end(_account: StandingAccount, app: App, event: TrainingEnded) -> Decision:
    return deploy_model(app, event)


def deliver_drop(_account: StandingAccount, app: App, event: DatasetArrived) -> Decision:
    return start_training(app, event)


# ---- start_training ----

scenario("start_training", "plain", "StartTraining", prepare=drop, deliver=deliver_drop)
scenario(
    "start_training",
    "rejection",
    "RejectDataset",
    prepare=lambda account: drop(account, label="no-such-column"),
    deliver=deliver_drop,
)
scenario(
    "start_training",
    "tuning",
    "StartTuning",
    prepare=lambda account: drop(account, tuning={"max_jobs": 2, "max_parallel_jobs": 1}),
    deliver=deliver_drop,
)


def held_drop(account: StandingAccount) -> DatasetArrived:
    hold = Hold("2026-11-23", "The daily ceiling is reached.", account.clock.now())
    account.put(holds.HOLD_KEY, json.dumps(holds.hold_document(hold)).encode())
    return drop(account)


scenario("start_training", "held", "HoldDataset", prepare=held_drop, deliver=deliver_drop)


def with_pipelines(account: StandingAccount) -> None:
    """As the template makes them."""
    code = f"s3://{account.settings.artifact_bucket}/code/{builders.DIGEST}"
    account.put(f"code/{builders.DIGEST}/source/requirements.txt", b"torch")
    for name, text in pipelines.published_definitions(account.settings, code).items():
        account.client("sagemaker").create_pipeline(
            PipelineName=pipelines.pipeline_name("ml-platform", name),
            PipelineDefinition=text,
            RoleArn=account.settings.training_role_arn,
            ClientRequestToken=f"{name:0>32}",
            Tags=names.tag_list({STACK_TAG: "ml-platform"}),
        )


def pipeline_drop(account: StandingAccount) -> DatasetArrived:
    with_pipelines(account)
    return drop(account, algorithm="xgboost")


def pipeline_asked(account: StandingAccount) -> PipelineAsked:
    with_pipelines(account)
    drop(account, algorithm="xgboost")
    return PipelineAsked("churn", {}, "2026-11-23T12:00:00+00:00")


scenario("start_training", "pipeline", "StartPipeline", prepare=pipeline_drop, deliver=deliver_drop)
scenario(
    "start_training",
    "pipeline-asked",
    "StartPipeline",
    prepare=pipeline_asked,
    deliver=lambda _, app, event: start_pipeline(app, event),
)


# ---- deploy_model ----


def second(account: StandingAccount, live_score: float = 0.8, **job_json: Any) -> TrainingEnded:
    """A live model, and one that was trained after it and held against it."""
    live(account)
    return ended(train(account, seed=2, live=live_score, **job_json))


def ended_badly(account: StandingAccount) -> TrainingEnded:
    arrived = drop(account)
    start_training(account.app(), arrived)
    [job] = _jobs(account)
    account.end_training(job, status="Failed", failure_reason="AlgorithmError: it broke")
    return ended(job, JobStatus.FAILED)


def to_replace(account: StandingAccount) -> TrainingEnded:
    event = second(account)
    account.endpoint(ENDPOINT).status = "Failed"
    return event


def while_parked(account: StandingAccount) -> TrainingEnded:
    live(account)
    stop(account)
    return ended(train(account, seed=2, live=0.8))


scenario(
    "deploy_model",
    "first",
    "DeployModel RecordSaving",
    prepare=lambda account: ended(train(account)),
    deliver=deliver_training_end,
)
scenario("deploy_model", "update", "DeployModel", prepare=second, deliver=deliver_training_end)
scenario(
    "deploy_model",
    "other-instances",
    "DeployModel",
    prepare=lambda account: second(account, hosting={"instance_type": "ml.m5.large"}),
    deliver=deliver_training_end,
)
scenario(
    "deploy_model",
    "kept",
    "KeepLiveModel",
    prepare=lambda account: second(account, live_score=0.95),
    deliver=deliver_training_end,
)
scenario(
    "deploy_model",
    "asked",
    "AskApproval",
    prepare=lambda account: second(account, approval="manual"),
    deliver=deliver_training_end,
)
scenario("deploy_model", "failed", "Notify", prepare=ended_badly, deliver=deliver_training_end)
scenario("deploy_model", "past-repair", "DeployModel", prepare=to_replace, deliver=deliver_training_end)
scenario("deploy_model", "parked", "DeployModel", prepare=while_parked, deliver=deliver_training_end)


def sleeping(account: StandingAccount) -> TrainingEnded:
    """A model that scales to zero is live, and another was trained after it."""
    deploy_model(account.app(), ended(train(account, hosting={"kind": "scale-to-zero"})))
    settle(account)
    return ended(train(account, seed=2, live=0.8, hosting={"kind": "scale-to-zero"}))


scenario(
    "deploy_model",
    "first-asynchronous",
    "DeployModel",
    prepare=lambda account: ended(train(account, hosting={"kind": "asynchronous"})),
    deliver=deliver_training_end,
)
scenario(
    "deploy_model",
    "sleeping",
    "DeployModel",
    prepare=sleeping,
    deliver=deliver_training_end,
    settle=settle_by_ticks,
)
scenario(
    "deploy_model",
    "other-kind",
    "DeployModel",
    prepare=lambda account: second(account, hosting={"kind": "serverless"}),
    deliver=deliver_training_end,
    settle=settle_by_ticks,
)


def tuned(account: StandingAccount, *, best: bool = True) -> TuningEnded:
    """A tuning that has ended, after two trials of which one completed, or none."""
    start_training(account.app(), drop(account, tuning={"max_jobs": 2, "max_parallel_jobs": 1}))
    [tuning] = account.tunings()
    for number, good in ((1, False), (2, best)):
        account.trial(tuning, number, completed=good)
    account.later(minutes=5)
    tuning.status, tuning.ended = "Completed" if best else "Failed", account.clock.now()
    return TuningEnded(tuning.name, tuning.status)


scenario(
    "deploy_model",
    "tuned",
    "DeployModel",
    prepare=tuned,
    deliver=lambda _, app, event: deploy_tuned(app, event),
)
scenario(
    "deploy_model",
    "tuned-in-vain",
    "Notify",
    prepare=lambda account: tuned(account, best=False),
    deliver=lambda _, app, event: deploy_tuned(app, event),
)
scenario(
    "deploy_model",
    "trial",
    "RecordSaving",
    prepare=lambda account: tuned(account) and ended(account.tunings()[0].trials[1].job.name),
    deliver=deliver_training_end,
)


def piped(account: StandingAccount, *, good: bool = True) -> PipelineEnded:
    """A pipeline's execution that has ended, with a model that it registered, or in its training."""
    start_training(account.app(), pipeline_drop(account))
    [execution] = account.executions()
    [trained] = [step for step in execution.definition.steps.values() if step.type == "Training"]
    [register] = [step for step in execution.definition.steps.values() if step.type == "RegisterModel"]
    account.train_step(execution, trained, good=good)
    if good:
        account.register_step(execution, register)
    execution.status, execution.ended = "Succeeded" if good else "Failed", account.clock.now()
    return PipelineEnded(execution.arn, execution.status)


piping: dict[str, Any] = {"deliver": lambda _, app, event: finish_pipeline(app, event)}
scenario("deploy_model", "pipeline", "RecordLineage RecordSaving", prepare=piped, **piping)
scenario("deploy_model", "pipeline-failed", "Notify", prepare=lambda account: piped(account, good=False), **piping)


def release(_account: StandingAccount, app: App, event: PackageChanged) -> Decision:
    return release_model(app, event)


def answered(account: StandingAccount, number: int, status: str, **properties: str) -> PackageChanged:
    """What a person says of a package in the registry, and the event of it."""
    account.later(minutes=1)
    sagemaker = account.client("sagemaker")
    arn = f"arn:aws:sagemaker:{builders.REGION}:123456789012:model-package/{ENDPOINT}/{number}"
    known = sagemaker.describe_model_package(ModelPackageName=arn).get("CustomerMetadataProperties", {})
    account.bus.waiting.clear()
    sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus=status, CustomerMetadataProperties={**known, **properties}
    )
    [event] = [one for one in account.bus.waiting if events.is_package_change(one)]
    return events.package_changed(event)


def approved(account: StandingAccount) -> PackageChanged:
    deploy_model(account.app(), second(account, approval="manual"))
    settle(account)
    return answered(account, 2, "Approved", approved_by="ann")


def rolled_back(account: StandingAccount) -> PackageChanged:
    deploy_model(account.app(), second(account))
    settle(account)
    return answered(account, 1, "Approved", approved_by="ann")


def rejected(account: StandingAccount) -> PackageChanged:
    live(account)
    return answered(account, 1, "Rejected")


def registered(account: StandingAccount, score: float = 0.9) -> PackageChanged:
    """A package that somebody's own program registered, beside a live model."""
    live(account)
    found = account.client("sagemaker").describe_model_package(
        ModelPackageName=f"arn:aws:sagemaker:{builders.REGION}:123456789012:model-package/{ENDPOINT}/1"
    )
    scores = builders.metrics_json(
        test={"rows": 8, "accuracy": 0.9, "roc_auc": score, "log_loss": 0.3}, live={"rows": 8, "roc_auc": 0.8}
    )
    account.put("elsewhere/model.tar.gz", builders.model_archive(scores))
    [container] = found["InferenceSpecification"]["Containers"]
    address = f"s3://{account.settings.artifact_bucket}/elsewhere/model.tar.gz"
    image = {key: container[key] for key in ("Image", "Environment")}
    specification = {**found["InferenceSpecification"], "Containers": [{**image, "ModelDataUrl": address}]}
    account.later(minutes=1)
    account.client("sagemaker").create_model_package(
        ModelPackageGroupName=ENDPOINT, InferenceSpecification=specification, ModelApprovalStatus="Approved"
    )
    [event] = [one for one in account.bus.waiting if events.is_package_change(one)]
    return events.package_changed(event)


def approval_lost(account: StandingAccount) -> datetime:
    approved(account)
    return account.later(hours=4)


scenario("deploy_model", "approved", "DeployModel", prepare=approved, deliver=release)
scenario("deploy_model", "rolled-back", "DeployModel", prepare=rolled_back, deliver=release)
scenario("deploy_model", "rejected", "Notify", prepare=rejected, deliver=release)
scenario("deploy_model", "registered", "DeployModel", prepare=registered, deliver=release)
scenario(
    "deploy_model",
    "registered-badly",
    "KeepLiveModel",
    prepare=lambda account: registered(account, score=0.7),
    deliver=release,
)
scenario(
    "deploy_model",
    "approval-lost",
    "DeployModel",
    prepare=approval_lost,
    deliver=lambda _, app, now: find_lost_approvals(app, now),
)


def ends_lost(account: StandingAccount) -> datetime:
    ended(train(account))
    return account.later(hours=4)


scenario(
    "deploy_model",
    "end-lost",
    "DeployModel",
    prepare=ends_lost,
    deliver=lambda _, app, now: find_lost_ends(app, now),
    tick=lambda account, app, _: find_lost_ends(app, account.later(hours=4)),
    tells_trouble=True,
)


# ---- configure_autoscaling ----


def serve(_account: StandingAccount, app: App, event: EndpointChanged) -> Decision:
    return configure_autoscaling(app, event)


IN_SERVICE = EndpointChanged(ENDPOINT, "InService")


def new_endpoint(account: StandingAccount) -> EndpointChanged:
    deploy_model(account.app(), ended(train(account)))
    account.go_on()
    return IN_SERVICE


def was_busy(account: StandingAccount) -> EndpointChanged:
    """A model was to be deployed while the endpoint was resized; that is over."""
    event = second(account)
    resize(account, 2)
    deploy_model(account.app(), event)
    account.go_on()
    return IN_SERVICE


def resize(account: StandingAccount, count: int) -> None:
    account.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=ENDPOINT,
        DesiredWeightsAndCapacities=[{"VariantName": names.VARIANT, "DesiredInstanceCount": count}],
    )


def failed_update(account: StandingAccount) -> EndpointChanged:
    """An update whose alarms rang: the old model serves on."""
    deploy_model(account.app(), second(account, hosting={"instance_type": "ml.m5.large"}))
    hosted = account.endpoint(ENDPOINT)
    account.forget_works()
    hosted.status, hosted.pending_config = "InService", None
    hosted.failure_reason = "The update was rolled back, because of alarms in ALARM: x."
    return IN_SERVICE


def back_again(account: StandingAccount, count: int = 1) -> EndpointChanged:
    """A parked endpoint that was started, and is in service."""
    live(account)
    if count > 1:
        resize(account, count)
        settle(account)
    stop(account)
    account.clock.at = MORNING
    keep_office_hours(account.app(), MORNING)
    account.go_on()
    return IN_SERVICE


def wrong_answers(account: StandingAccount) -> EndpointChanged:
    """A canary that answers otherwise than its sample says."""
    live(account)
    resize(account, 2)
    settle(account)
    account.later(minutes=5)
    start_training(account.app(), drop(account, 2))
    [job] = [name for name in _jobs(account) if account.aws.training._jobs.find(name).status == "InProgress"]
    archive = builders.model_archive(builders.metrics_json(live={"rows": 8, "roc_auc": 0.8}), **{WRONG: b"yes"})
    account.end_training(job, archive=archive)
    deploy_model(account.app(), ended(job))
    account.begin_update(ENDPOINT)
    return EndpointChanged(ENDPOINT, "Updating")


scenario("configure_autoscaling", "new", "ConfigureAutoscaling", prepare=new_endpoint, deliver=serve)
scenario("configure_autoscaling", "was-busy", "FinishDeployment", prepare=was_busy, deliver=serve)
scenario("configure_autoscaling", "failed-update", "Notify", prepare=failed_update, deliver=serve)
scenario("configure_autoscaling", "restored", "RestoreEndpoint", prepare=back_again, deliver=serve)
scenario(
    "configure_autoscaling",
    "too-few",
    "RestoreCapacity",
    prepare=lambda account: back_again(account, count=2),
    deliver=serve,
)
scenario(
    "configure_autoscaling",
    "wrong-canary",
    "RejectUpdate",
    prepare=wrong_answers,
    deliver=lambda _, app, event: check_canary(app, event),
    late=False,  # an update that is over can't be rejected
)


STAND_IN = names.stand_in(ENDPOINT)


def wish(account: StandingAccount, hosting: str, before: str = "kind=real-time") -> EndpointChanged:
    """As `mlp hosting --move-to` writes it."""
    arn = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    tags = {names.HOSTING_TAG: hosting, names.BEFORE_TAG: before, names.LOOK_TAG: "move"}
    account.client("sagemaker").add_tags(ResourceArn=arn, Tags=names.tag_list(tags))
    return IN_SERVICE


def to_move(account: StandingAccount) -> EndpointChanged:
    """To another kind of hosting, which AWS does not change in place."""
    live(account)
    return wish(account, "kind=serverless memory_gb=4 max_concurrency=9")


def to_change(account: StandingAccount) -> EndpointChanged:
    """To another kind of hosting, which AWS does change in place."""
    live(account, hosting={"kind": "serverless"})
    return wish(account, "kind=real-time", before="kind=serverless")


def with_stand_in(account: StandingAccount, hosting: str = "kind=serverless") -> EndpointChanged:
    live(account)
    configure_autoscaling(account.app(), wish(account, hosting))
    account.go_on()
    return EndpointChanged(STAND_IN, "InService")


def failed_stand_in(account: StandingAccount) -> EndpointChanged:
    with_stand_in(account)
    account.endpoint(STAND_IN).status = "Failed"
    return EndpointChanged(STAND_IN, "Failed")


def without_model(account: StandingAccount) -> EndpointChanged:
    """What scales to zero begins without a model, which then comes as an inference component."""
    deploy_model(account.app(), ended(train(account, hosting={"kind": "scale-to-zero"})))
    account.go_on()
    return IN_SERVICE


moving: dict[str, Any] = {"deliver": serve, "settle": settle_by_ticks}
scenario("configure_autoscaling", "component", "MakeComponent ConfigureAutoscaling", prepare=without_model, **moving)
scenario("configure_autoscaling", "to-change", "ChangeInPlace", prepare=to_change, **moving)
scenario("configure_autoscaling", "to-move", "StartMove SwitchOver RetireStandIn", prepare=to_move, **moving)
scenario("configure_autoscaling", "stand-in", "SwitchOver", prepare=with_stand_in, **moving)
scenario(
    "configure_autoscaling",
    "stand-in-sleeps",
    "MakeComponent SwitchOver",
    prepare=lambda account: with_stand_in(account, "kind=scale-to-zero"),
    **moving,
)
scenario("configure_autoscaling", "stand-in-failed", "AbandonMove", prepare=failed_stand_in, **moving)


# ---- compare_models ----


def challenger(account: StandingAccount) -> AbTestAsked:
    """A model that waits for its approval is to get a fifth of the traffic."""
    deploy_model(account.app(), second(account, approval="manual"))
    settle(account)
    arn = f"arn:aws:sagemaker:{builders.REGION}:123456789012:model-package/{ENDPOINT}/2"
    return AbTestAsked("churn", "start", arn, 0.2)


def in_test(action: Literal["weigh", "drop"], weight: float) -> Callable[[StandingAccount], AbTestAsked]:
    def prepare(account: StandingAccount) -> AbTestAsked:
        compare_models(account.app(), challenger(account))
        settle(account)
        return AbTestAsked("churn", action, "", weight)

    return prepare


comparing: dict[str, Any] = {
    "deliver": lambda _, app, asked: compare_models(app, asked),
    # A person waits for the answer of the command, and asks again where there is none: that answer tells it.
    "may_be_lost": frozenset(
        {
            "ml-platform: an A/B test of churn begins",
            "ml-platform: the A/B test of ml-platform-churn",
            "ml-platform: the A/B test of ml-platform-churn ends",
        }
    ),
}
scenario(
    "compare_models",
    "refused",
    "Refuse",
    prepare=lambda account: live(account) and AbTestAsked("churn", "weigh", "", 0.4),  # where no test runs
    **comparing,
)
scenario("compare_models", "start", "StartAbTest ShareTraffic", prepare=challenger, **comparing)
scenario("compare_models", "weigh", "ShareTraffic", prepare=in_test("weigh", 0.4), **comparing)
scenario("compare_models", "drop", "EndAbTest", prepare=in_test("drop", 0.0), **comparing)


# ---- keep_office_hours ----

EVENING = builders.NOON.replace(hour=19)
MORNING = builders.NOON.replace(hour=8, minute=15) + timedelta(days=1)


def stop(account: StandingAccount) -> None:
    account.clock.at = EVENING
    keep_office_hours(account.app(), EVENING)
    settle(account)


def tick(account: StandingAccount, app: App, now: datetime) -> list[Decision]:
    """The next is a quarter of an hour later than the last."""
    account.clock.at = max(now, account.clock.at)
    return keep_office_hours(app, account.clock.now())


def next_tick(account: StandingAccount, app: App, _now: datetime) -> list[Decision]:
    return keep_office_hours(app, account.later(minutes=15))


def evening(account: StandingAccount) -> datetime:
    live(account)
    account.clock.at = EVENING
    return EVENING


def morning(account: StandingAccount) -> datetime:
    live(account)
    stop(account)
    account.clock.at = MORNING
    return MORNING


def failed_start(account: StandingAccount) -> datetime:
    keep_office_hours(account.app(), morning(account))
    account.go_on()
    account.endpoint(ENDPOINT).status = "Failed"
    return account.later(minutes=15)


def never_told(account: StandingAccount) -> datetime:
    """It is back, but the event of that was lost."""
    back_again(account)
    return account.later(minutes=15)


def deployed_by_hand(account: StandingAccount) -> datetime:
    """Somebody created the endpoint with the model before while it was parked."""
    first = live(account)
    deploy_model(account.app(), ended(train(account, seed=2, live=0.8)))
    settle(account)
    stop(account)
    tags = names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn")
    account.client("sagemaker").create_endpoint(
        EndpointName=ENDPOINT,
        EndpointConfigName=first,
        Tags=names.tag_list({**tags, names.WANTED_TAG: first, names.ASKED_TAG: first}),
    )
    account.go_on()
    account.clock.at = MORNING
    return MORNING


def moved(account: StandingAccount) -> datetime:
    """To another kind, a while ago; what stood in for the endpoint meanwhile is not called any more."""
    configure_autoscaling(account.app(), with_stand_in(account))
    settle(account)
    return account.later(minutes=30)


hours: dict[str, Any] = {
    "deliver": tick,
    "tick": next_tick,
    "tells_trouble": True,
    # Of a failed start the event of the endpoint tells by itself.
    "may_be_lost": frozenset({"Office hours: 1 stopped", "Office hours: 1 failed to start"}),
}
scenario("keep_office_hours", "stop", "StopEndpoint", prepare=evening, **hours)
scenario("keep_office_hours", "start", "StartEndpoint RestoreEndpoint", prepare=morning, **hours)
scenario("keep_office_hours", "failed-start", "ClearFailedStart", prepare=failed_start, **hours)
scenario("keep_office_hours", "never-told", "RestoreEndpoint", prepare=never_told, **hours)
scenario("keep_office_hours", "moved", "RetireStandIn", prepare=moved, **hours)
scenario("keep_office_hours", "by-hand", "ForgetParking", prepare=deployed_by_hand, **hours)


# ---- watch_spend ----

HOUR = timedelta(hours=1)


def meter(_account: StandingAccount, app: App, now: datetime) -> list[Decision]:
    return watch_spend(app, now)


def next_hour(account: StandingAccount, app: App, now: datetime) -> list[Decision]:
    account.clock.at = max(now + HOUR, account.clock.at)
    return watch_spend(app, now + HOUR)


def spending(account: StandingAccount) -> datetime:
    live(account)
    return account.later(hours=1)


def held(account: StandingAccount) -> datetime:
    live(account)
    hold = Hold("2026-11-23", "The daily ceiling is reached.", account.clock.now())
    account.put(holds.HOLD_KEY, json.dumps(holds.hold_document(hold)).encode())
    return account.later(hours=1)


def dear_tuning(account: StandingAccount) -> datetime:
    start_training(account.app(), drop(account, tuning={"max_jobs": 2, "max_parallel_jobs": 1, "max_cost_usd": 0.5}))
    [tuning] = account.tunings()
    account.trial(tuning, 1, completed=None)
    return account.later(hours=4)


metering: dict[str, Any] = {"deliver": meter, "tick": next_hour}
scenario("watch_spend", "plain", "RecordSpend", prepare=spending, **metering)
scenario(
    "watch_spend",
    "breach",
    "HoldLaunches",
    prepare=spending,
    settings={"daily_ceiling_usd": Decimal("0.01")},
    **metering,
)
scenario("watch_spend", "below-again", "LiftHold", prepare=held, **metering)
scenario("watch_spend", "dear-tuning", "StopTuning", prepare=dear_tuning, **metering)
scenario(
    "watch_spend",
    "new-month",
    "RecordSpend",
    prepare=lambda account: watch_spend(account.app(), spending(account)) and account.later(days=8),
    **metering,
)


# ---- report_costs ----


def morning_after(account: StandingAccount) -> datetime:
    live(account)
    report_costs(account.app(), account.later(hours=20))
    return account.later(days=1)


scenario(
    "report_costs",
    "plain",
    "ReportCosts",
    prepare=morning_after,
    deliver=lambda _, app, now: report_costs(app, now),
    tells_trouble=True,
    # It says what it could not look at, and what that leaves unknown.
    may_differ=("/reports/", "/cost-explorer/", "yesterday, "),
)


# ---- govern_resources ----


def govern(_account: StandingAccount, app: App, now: datetime) -> list[Decision]:
    return govern_resources(app, now)


def next_day(account: StandingAccount, app: App, now: datetime) -> list[Decision]:
    account.clock.at = max(now + timedelta(days=1), account.clock.at)
    return govern_resources(app, now + timedelta(days=1))


def old(account: StandingAccount) -> datetime:
    live(account)
    return account.later(days=8)


def warned(account: StandingAccount) -> datetime:
    """On the day on which it ends; everybody knows."""
    old(account)
    for _ in range(3):
        govern_resources(account.app(), account.clock.now())
        account.later(days=1)
    return account.clock.now()


def orphans(account: StandingAccount) -> datetime:
    """The model before the live one, its config, and what somebody left who deleted an endpoint by hand."""
    deploy_model(account.app(), second(account))
    settle(account)
    return account.later(days=2)


def all_orphaned(account: StandingAccount) -> datetime:
    live(account)
    account.client("logs").create_log_group(logGroupName=f"/aws/sagemaker/Endpoints/{ENDPOINT}")
    account.client("sagemaker").delete_endpoint(EndpointName=ENDPOINT)
    settle(account)
    return account.later(days=2)


def untagged(account: StandingAccount) -> datetime:
    live(account)
    arn = f"arn:aws:sagemaker:{builders.REGION}:123456789012:endpoint/{ENDPOINT}"
    account.client("sagemaker").delete_tags(ResourceArn=arn, TagKeys=["Owner"])
    return account.later(hours=1)


governing: dict[str, Any] = {
    "deliver": govern,
    "tick": next_day,
    "tells_trouble": True,
    "may_be_lost": frozenset({"Tidied up"}),
    "may_differ": (names.ENDS_TAG,),  # who is warned a day later ends a day later
}
scenario("govern_resources", "old", "WarnOfEnd", prepare=old, **governing)
scenario("govern_resources", "end", "EndEndpoint", prepare=warned, **governing)
scenario("govern_resources", "orphans", "EndResource", prepare=orphans, **governing)
scenario("govern_resources", "all-orphaned", "EndResource", prepare=all_orphaned, **governing)
scenario("govern_resources", "untagged", "TagResource", prepare=untagged, **governing)
scenario(
    "govern_resources",
    "packages",
    "EndResource",
    prepare=orphans,
    settings={"kept_packages": 0},
    **governing,
)


def others(account: StandingAccount) -> datetime:
    """What somebody made without tags, and without the platform."""
    account.client("s3").create_bucket(Bucket="somebodys")
    return account.later(hours=2)


scenario(
    "govern_resources",
    "others",
    "ReportUntagged Notify",
    prepare=others,
    deliver=lambda _, app, now: report_untagged(app, now),
    tick=lambda account, app, now: report_untagged(app, account.later(days=1)),
)


# ---- the rest ----


def webhook(account: StandingAccount) -> dict[str, Any]:
    account.client("ssm").put_parameter(
        Name=account.settings.slack_webhook_parameter, Value="https://hooks.slack.com/services/x", Type="SecureString"
    )
    return {"Records": [{"Sns": {"Subject": "Something happened", "Message": "It did."}}]}


scenario("notify", "slack", "", prepare=webhook, deliver=lambda _, app, event: notify(app, event))


def asked_by_stack(kind: str) -> Callable[[StandingAccount], Request]:
    return lambda _account: custom_resource.request(
        {
            "RequestType": kind,
            "ResponseURL": "https://answers.s3.amazonaws.com/x",
            "StackId": STACK_ID,
            "RequestId": "unique-1",
            "LogicalResourceId": "ModelCode",
        }
    )


def publish(account: StandingAccount, app: App, request: Request) -> None:
    layer = account.aws.home / "layer"
    layer.mkdir(exist_ok=True)
    for name in ("train.py", "inference.py"):
        (layer / name).write_text(f"# {request.kind}")
    custom_resource.send(request, publish_model_code(app, request, lambda: layer))


for kind in ("Create", "Update", "Delete"):
    scenario("publish_model_code", kind.lower(), "", prepare=asked_by_stack(kind), deliver=publish)


def billed(account: StandingAccount) -> None:
    for key in cost_tags.KEYS:
        account.aws.routes["POST /_laptop/bill"]({"service": "Amazon SageMaker", "usd": 1, "tags": {key: "x"}})


scenario(
    "activate_cost_tags",
    "all",
    "ActivateCostTags",
    prepare=billed,
    deliver=lambda _, app, _event: activate_cost_tags(app),
)


def everything(account: StandingAccount) -> None:
    """Something of all that functions make."""
    with_pipelines(account)
    webhook(account)
    live(account)
    account.client("logs").create_log_group(logGroupName=f"/aws/sagemaker/Endpoints/{ENDPOINT}")
    account.later(minutes=1)
    start_training(account.app(), drop(account, 2))
    account.later(minutes=1)
    start_training(account.app(), drop(account, 3, tuning={"max_jobs": 2, "max_parallel_jobs": 1}))
    account.later(minutes=1)
    start_training(account.app(), drop(account, 4, algorithm="xgboost"))


def end_stack(account: StandingAccount, app: App, _event: None) -> list[Decision]:
    return tear_down(app, time.monotonic() + 60, lambda _: account.go_on())


def in_the_middle_of_a_move(account: StandingAccount) -> None:
    configure_autoscaling(account.app(), with_stand_in(account, "kind=scale-to-zero"))
    settle(account)


scenario("tear_down", "everything", "EndResource", prepare=everything, deliver=end_stack)
scenario("tear_down", "moving", "EndResource", prepare=in_the_middle_of_a_move, deliver=end_stack)
