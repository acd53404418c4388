"""A tuning from the drop to its outcome: what each function asks of SageMaker, and does about the answer. On moto."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from builders import NOON, Account
from deploy_model import deploy_model, deploy_tuned, handler
from mlplatform import events, names
from mlplatform.decisions import (
    Decision,
    DeployModel,
    HoldDataset,
    Notify,
    RejectDataset,
    Skip,
    StartTuning,
    StopTuning,
)
from mlplatform.errors import AwsError, NotAsPlanned, TryAgain
from start_training import start_training
from watch_spend import watch_spend

ARTIFACTS = "ml-platform-artifacts"
TUNING = "ml-platform-churn-t0123456789a"
BEST = f"{TUNING}-002-abcdef12"
ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012"
TAGS = {
    "ml-platform:stack": "ml-platform",
    "ml-platform:dataset": "churn",
    names.VERSION_TAG: builders.VERSION,
    names.TUNING_TAG: TUNING,
    names.CEILING_TAG: "5",
}
HYPERPARAMETERS = {"sagemaker_submit_directory": '"s3://ml-platform-artifacts/code/x/sourcedir.tar.gz"'}


def described(**changed: Any) -> dict[str, Any]:
    """DescribeHyperParameterTuningJob of one that completed."""
    return {
        "HyperParameterTuningJobName": TUNING,
        "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{TUNING}",
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
        },
        "TrainingJobDefinition": {"StaticHyperParameters": {}, "EnableManagedSpotTraining": True},
        "CreationTime": NOON,
        "TrainingJobStatusCounters": {"Completed": 2},
        "BestTrainingJob": {
            "TrainingJobName": BEST,
            "TunedHyperParameters": {"learning_rate": "0.001"},
            "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation:loss", "Value": 0.25},
        },
        **changed,
    }


def trial(name: str = BEST, **changed: Any) -> dict[str, Any]:
    """A trial that has ended, as DescribeTrainingJob and Search tell it."""
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"{ARN}:training-job/{name}",
        "TuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{TUNING}",
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "ModelArtifacts": {"S3ModelArtifacts": f"s3://{ARTIFACTS}/training-output/{name}/output/model.tar.gz"},
        "EnableManagedSpotTraining": True,
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        "HyperParameters": HYPERPARAMETERS,
        "CreationTime": NOON,
        "TrainingStartTime": NOON,
        "TrainingEndTime": NOON + timedelta(seconds=300),
        "TrainingTimeInSeconds": 300,
        "BillableTimeInSeconds": 100,
        **changed,
    }


def tuned(account: Account, tuning: Mapping[str, Any] | None = None, *trials: Mapping[str, Any]) -> None:
    """SageMaker knows a tuning job and its trials."""
    tuning = tuning or described()
    jobs = {one["TrainingJobName"]: one for one in trials or (trial(),)}
    tags = names.tag_list(TAGS | {"Project": "ml-platform"})

    def search(parameters: Mapping[str, Any]) -> dict[str, Any]:
        kind = parameters["Resource"]
        found = {"HyperParameterTuningJob": [tuning], "TrainingJob": list(jobs.values())}.get(kind, [])
        wanted = [one["Value"] for one in parameters["SearchExpression"]["Filters"] if one["Name"].endswith("Status")]
        chosen = [one for one in found if not wanted or one[f"{kind}Status"] in wanted]
        return {"Results": [{kind: one | {"Tags": tags}} for one in chosen]}

    account.answers |= {
        "search": search,
        "describe_hyper_parameter_tuning_job": tuning,
        "describe_training_job": lambda parameters: jobs.get(parameters["TrainingJobName"]),
        "list_tags": lambda parameters: (
            {"Tags": tags}
            if TUNING in parameters["ResourceArn"] and "endpoint" not in parameters["ResourceArn"]
            else None
        ),
    }
    for name in jobs:
        account.put(f"training-output/{name}/output/model.tar.gz", builders.model_archive(), ARTIFACTS)


def end(account: Account, status: str = "Completed") -> Decision:
    event = builders.sample_event("sagemaker_tuning_job_state_change")
    event["detail"] |= {"HyperParameterTuningJobName": TUNING, "HyperParameterTuningJobStatus": status}
    assert events.is_tuning(event)
    return deploy_tuned(account.app(), events.tuning_ended(event))


# ---- the drop ----


def dropped(account: Account, tuning: Any = None) -> dict[str, Any]:
    account.put("datasets/churn/data.csv", builders.csv())
    return account.put("datasets/churn/job.json", json.dumps({"tuning": {} if tuning is None else tuning}).encode())


def handle(account: Account, event: Mapping[str, Any]) -> Decision:
    return start_training(account.app(), events.dataset_arrived(event))


def started(account: Account, *earlier: Mapping[str, Any]) -> None:
    """SageMaker takes a tuning job, once, and describes it; moto's own leaves most of it out."""
    created: dict[str, Any] = {}

    def create(parameters: Mapping[str, Any]) -> dict[str, Any]:
        if created:
            raise AwsError("sagemaker", "CreateHyperParameterTuningJob", "ResourceInUse", "already exists")
        created.update(parameters)
        return {"HyperParameterTuningJobArn": "arn"}

    def describe(_: Any) -> dict[str, Any]:
        return described(
            HyperParameterTuningJobName=created["HyperParameterTuningJobName"],
            HyperParameterTuningJobStatus="InProgress",
            TrainingJobDefinition=created["TrainingJobDefinition"],
        )

    account.answers |= {
        "create_hyper_parameter_tuning_job": create,
        "describe_hyper_parameter_tuning_job": describe,
        "stop_hyper_parameter_tuning_job": {},
        "list_tags": lambda _: {"Tags": created.get("Tags", [])},
        "search": {"Results": [{"HyperParameterTuningJob": one} for one in earlier]},
    }


def test_a_drop_that_asks_for_tuning_starts_one_tuning_job_and_says_so_in_its_verdict(account: Account) -> None:
    started(account)
    event = dropped(account)
    decision = handle(account, event)
    assert isinstance(decision, StartTuning)
    verdict = account.document(f"verdicts/churn/{decision.version}.json")
    assert (verdict["verdict"], verdict["job_name"]) == ("accepted", decision.job_name)
    assert "They cost at most 4.60 USD" in verdict["reason"]
    assert account.document(f"manifests/churn/{decision.version}.json", ARTIFACTS)[1] == "data.csv"
    assert [type(handle(account, event)) for _ in range(3)] == [Skip] * 3
    assert len(account.called("create_hyper_parameter_tuning_job")) == 1
    assert account.called("create_training_job") == []


def test_a_second_tuning_asks_for_the_datasets_earlier_ones_and_starts_from_them(account: Account) -> None:
    started(account)
    first = handle(account, dropped(account))
    assert isinstance(first, StartTuning)
    config = {**first.request["HyperParameterTuningJobConfig"]}
    definition = first.request["TrainingJobDefinition"]
    static = {**definition["StaticHyperParameters"], "_tuning_objective_metric": "validation:loss"}  # SageMaker's own
    earlier = described(
        HyperParameterTuningJobConfig=config, TrainingJobDefinition={**definition, "StaticHyperParameters": static}
    )
    started(account, earlier)
    second = handle(account, dropped(account, {"round": 2}))
    assert isinstance(second, StartTuning)
    assert second.request["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [
        {"HyperParameterTuningJobName": TUNING}
    ]
    [asked] = account.called("search")[-1:]
    assert {one["Name"]: one["Value"] for one in asked["SearchExpression"]["Filters"]} == {
        "Tags.ml-platform:stack": "ml-platform",
        "Tags.ml-platform:dataset": "churn",
    }
    account.calls.clear()
    started(account, earlier)
    third = handle(account, dropped(account, {"round": 3, "warm_start": False}))
    assert isinstance(third, StartTuning)
    assert account.called("search") == []


def test_a_tuning_above_its_ceiling_exists_nowhere(account: Account) -> None:
    decision = handle(account, dropped(account, {"max_jobs": 100}))
    assert isinstance(decision, RejectDataset)
    assert "may cost up to 23.00 USD" in decision.reason
    assert [name for name, _ in account.calls if name.startswith("create")] == []


def test_a_tuning_waits_while_launches_are_held(account: Account) -> None:
    started(account)
    document = {"period": "2999-12-31", "reason": "The ceiling is reached.", "since": NOON.isoformat()}
    account.put("spend/hold.json", json.dumps(document).encode(), ARTIFACTS)
    assert isinstance(handle(account, dropped(account)), HoldDataset)
    assert account.called("create_hyper_parameter_tuning_job") == []


@pytest.mark.parametrize("fault", ["not spot", "not tagged"])
def test_a_tuning_that_is_not_on_spot_or_not_tagged_is_stopped(account: Account, fault: str) -> None:
    started(account)
    if fault == "not tagged":
        account.answers["list_tags"] = {"Tags": []}
    else:
        account.answers["describe_hyper_parameter_tuning_job"] = described(
            HyperParameterTuningJobStatus="InProgress", TrainingJobDefinition={}
        )
    with pytest.raises(NotAsPlanned, match="spot" if fault == "not spot" else "Owner"):
        handle(account, dropped(account))
    assert len(account.called("stop_hyper_parameter_tuning_job")) == 1
    assert account.keys("ml-platform-data", "verdicts/") == []


def test_a_tuning_that_nobody_can_describe_yet_is_looked_at_again_and_not_taken_for_good(account: Account) -> None:
    started(account)
    account.answers["describe_hyper_parameter_tuning_job"] = lambda _: None
    event = dropped(account)
    with pytest.raises(TryAgain, match="can't be described yet"):
        handle(account, event)
    assert account.keys("ml-platform-data", "verdicts/") == []
    started(account)
    assert isinstance(handle(account, event), StartTuning)


# ---- the end ----


def test_the_best_trial_is_deployed_once_and_people_hear_how_the_tuning_went(account: Account) -> None:
    tuned(account, None, trial(f"{TUNING}-001-00000000"), trial())
    first = end(account)
    assert isinstance(first, DeployModel), first.reason
    assert first.job_name == BEST
    assert [type(end(account)) for _ in range(3)] == [Skip] * 3
    endpoint = account.client("sagemaker").describe_endpoint(EndpointName="ml-platform-churn")
    assert endpoint["EndpointConfigName"] == BEST
    [alert] = account.alerts()
    assert f"Tuning job {TUNING}: 2 of 2 trials (2 completed)." in alert["Message"]
    assert "Its 2 trials cost 0.0128 USD." in alert["Message"]  # 200 s of 3600 at 0.23
    [package] = account.called("create_model_package")
    assert package["CustomerMetadataProperties"]["tuning_job"] == TUNING


def test_a_trial_that_ends_is_not_deployed_but_its_spot_saving_is_counted_once(account: Account) -> None:
    tuned(account)
    event = builders.sample_event("sagemaker_training_job_state_change")
    event["detail"] |= {"TrainingJobName": BEST, "TrainingJobStatus": "Completed"}
    decisions = [deploy_model(account.app(), events.training_ended(event)) for _ in range(2)]
    assert [type(one) for one in decisions] == [Skip, Skip]
    assert "is a trial of ml-platform-churn-t0123456789a" in decisions[0].reason
    end(account)
    assert len(account.keys(ARTIFACTS, "ledger/2026-11/")) == 1


def test_a_stopped_tuning_goes_on_with_what_it_has_found(account: Account) -> None:
    tuned(account, described(HyperParameterTuningJobStatus="Stopped"))
    decision = end(account, "Stopped")
    assert isinstance(decision, DeployModel)
    assert "It ended as Stopped." in decision.reason


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_tuning_without_a_usable_trial_is_told_once(account: Account, status: str) -> None:
    failed = described(
        HyperParameterTuningJobStatus=status, FailureReason="All training jobs failed.", BestTrainingJob={}
    )
    tuned(account, failed, trial(TrainingJobStatus="Failed"))
    assert isinstance(end(account, status), Notify)
    assert isinstance(end(account, status), Skip)
    [alert] = account.alerts()
    assert "All training jobs failed." in alert["Message"]
    assert account.called("create_endpoint") == []


def test_an_event_that_is_late_or_about_somebody_elses_tuning_changes_nothing(account: Account) -> None:
    tuned(account, described(HyperParameterTuningJobStatus="InProgress"))
    assert "is InProgress" in end(account).reason
    account.answers["list_tags"] = {"Tags": []}
    account.answers["describe_hyper_parameter_tuning_job"] = described()
    assert "is not a tuning job that ml-platform started" in end(account).reason
    assert account.alerts() == []


def test_the_function_tells_the_two_kinds_of_events_apart(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    import deploy_model as function

    monkeypatch.setattr(function, "live_app", account.app)
    tuned(account, described(HyperParameterTuningJobStatus="InProgress"))
    event = builders.sample_event("sagemaker_tuning_job_state_change")
    event["detail"] |= {"HyperParameterTuningJobName": TUNING}
    answer = handler(event, builders.LambdaContext())  # type: ignore[arg-type]
    assert TUNING in answer["reason"]


# ---- the ceiling ----


def test_a_tuning_that_costs_too_much_is_stopped_and_told(account: Account) -> None:
    running = described(HyperParameterTuningJobStatus="InProgress")
    tuned(account, running, trial(TrainingJobStatus="InProgress", TrainingEndTime=None, BillableTimeInSeconds=None))
    account.answers["stop_hyper_parameter_tuning_job"] = {}
    cheap = watch_spend(account.app(), NOON + timedelta(hours=2))
    assert [one for one in cheap if isinstance(one, StopTuning)] == []
    assert account.alerts() == []
    dear = watch_spend(account.app(), datetime(2026, 11, 24, 10, tzinfo=UTC))  # 22 h x 0.23 = 5.06
    assert [type(one) for one in dear if isinstance(one, StopTuning)] == [StopTuning]
    [stopped] = account.called("stop_hyper_parameter_tuning_job")
    assert stopped == {"HyperParameterTuningJobName": TUNING}
    assert "has cost 5.06 USD in 1 trials, its ceiling is 5 USD" in json.dumps(account.alerts())
