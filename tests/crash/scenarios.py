"""What functions do that changes something: each of their branches, with an account in which it is taken.

The accounts are made by the functions themselves: a drop, a training that ends, a deployment, a night.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from standing_account import StandingAccount

import builders
from configure_autoscaling import check_canary, configure_autoscaling
from deploy_model import deploy_model, release_model
from mlplatform import events
from mlplatform.app import App
from mlplatform.decisions import Decision
from mlplatform.errors import PlatformError
from mlplatform.facts import DatasetArrived, JobStatus, TrainingEnded
from start_training import start_training

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
    settle: Callable[[StandingAccount], None] = settle


SCENARIOS: dict[str, Scenario] = {}


def scenario(function: str, branch: str, decides: str, **more: Any) -> None:
    SCENARIOS[f"{function}-{branch}"] = Scenario(function, branch, frozenset(decides.split()), **more)


# ---- how an account comes to be ----


def drop(account: StandingAccount, seed: int = 1, **job_json: Any) -> DatasetArrived:
    content = builders.csv(seed=seed)
    if job_json:
        account.put("datasets/churn/job.json", json.dumps(job_json).encode(), DATA)
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


# ---- deploy_model ----

scenario(
    "deploy_model",
    "first",
    "DeployModel",
    prepare=lambda account: ended(train(account)),
    deliver=deliver_training_end,
)


def second(account: StandingAccount, live_score: float = 0.8, **job_json: Any) -> TrainingEnded:
    live(account)
    return ended(train(account, seed=2, live=live_score, **job_json))


scenario("deploy_model", "update", "DeployModel", prepare=second, deliver=deliver_training_end)
