"""Hyperparameter tuning on the laptop, seen through the API.

Its trials' scripts are functions here, which take no time; tests/e2e/test_tuning.py has real ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from moto_over_http import RecordingBus, moto_account

from laptop import service_model
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.training import Ending, Training, assert_startable
from laptop.training import Job as Trained
from laptop.tuning import ENDED, Tuning

Losses = list[float] | None  # after each epoch; None for a script that fails
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
RANGES = {
    "ContinuousParameterRanges": [
        {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
    ],
    "IntegerParameterRanges": [{"Name": "hidden_size", "MinValue": "8", "MaxValue": "64"}],
}


def bowl(values: Mapping[str, str]) -> Losses:
    """A loss that is least, 0.1, at a learning rate of 0.01 and 40 hidden units."""
    away = math.log10(float(values["learning_rate"])) + 2
    return [0.1 + away**2 + ((int(values["hidden_size"]) - 40) / 64) ** 2]


class Functions(Training):
    """Training whose scripts are a function of the hyperparameters."""

    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self.script: Callable[[Mapping[str, str]], Losses] = bowl
        self.epoch_seconds = 0.0
        self.most_at_once = 0

    def assert_acceptable(self, parameters: dict[str, Any]) -> None:
        assert_startable(parameters)

    def _run(self, job: Trained) -> None:
        self.most_at_once = max(self.most_at_once, sum(1 for one in self._jobs.all() if one.status not in ENDED))
        job.started = self._account.clock.now()
        losses = self.script(job.request["HyperParameters"])
        for loss in losses or ():
            if job.changed.wait(self.epoch_seconds):
                return self._finish(job, Ending.STOP)
            job.measured("validation:loss", loss, self._account.clock.now())
        if losses is None:
            job.failure_reason, job.ended = "AlgorithmError: it fell over, exit code: 1", self._account.clock.now()
            return self._enter(job, "Failed", "Failed", "Training job failed")
        return self._finish(job, None)


class Sandbox:
    """An account with tuning, whose trials are functions."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.training = Functions(account)
        self.tuning = Tuning(account, self.training)
        account.closers.append(self.tuning.close)

    def request(self, name: str, *, static: Mapping[str, str] | None = None, **config: Any) -> dict[str, Any]:
        limits = {
            "MaxNumberOfTrainingJobs": config.pop("jobs", 4),
            "MaxParallelTrainingJobs": config.pop("parallel", 2),
        }
        warm = {"WarmStartConfig": config.pop("WarmStartConfig")} if "WarmStartConfig" in config else {}
        return {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:loss"},
                "ResourceLimits": limits,
                "ParameterRanges": RANGES,
                "RandomSeed": 1,
                **config,
            },
            "TrainingJobDefinition": {
                "StaticHyperParameters": {"epochs": "3"} if static is None else dict(static),
                "AlgorithmSpecification": {
                    "TrainingImage": IMAGE,
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "validation:loss", "Regex": "loss=(.*)"}],
                },
                "RoleArn": "arn:aws:iam::123456789012:role/training",
                "OutputDataConfig": {"S3OutputPath": "s3://artifacts/training-output/"},
                "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
                "EnableManagedSpotTraining": True,
                "CheckpointConfig": {"S3Uri": "s3://artifacts/checkpoints/x/"},
            },
            "Tags": [{"Key": "Project", "Value": "sandbox"}],
            **warm,
        }

    def start(self, name: str, **changes: Any) -> None:
        request = self.request(name, **changes)
        assert service_model.validate("sagemaker", "CreateHyperParameterTuningJob", request) == []
        self.tuning.create(request)

    def describe(self, name: str) -> dict[str, Any]:
        return self.tuning.describe({"HyperParameterTuningJobName": name})

    def trials(self, name: str, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.tuning.list_trials(
            {"HyperParameterTuningJobName": name, "MaxResults": 100, **more}
        )["TrainingJobSummaries"]
        return found

    def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.01)
        raise AssertionError("it did not happen in time")

    def finish(self, name: str) -> dict[str, Any]:
        self.until(lambda: self.describe(name)["HyperParameterTuningJobStatus"] in ENDED)
        return self.describe(name)

    def tuned(self, name: str, **changes: Any) -> dict[str, Any]:
        self.start(name, **changes)
        return self.finish(name)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setattr("laptop.tuning.LOOK_SECONDS", 0.005)
    with moto_account(tmp_path) as account:
        yield Sandbox(account)


def test_a_tuning_runs_its_trials_two_at_a_time_and_shows_what_they_found(sandbox: Sandbox) -> None:
    sandbox.training.epoch_seconds = 0.02
    job = sandbox.tuned("first", jobs=6)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"] == {
        "Completed": 6, "InProgress": 0, "RetryableError": 0, "NonRetryableError": 0, "Stopped": 0,
    }  # fmt: skip
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 6, "Pending": 0, "Failed": 0}
    assert sandbox.training.most_at_once == 2
    ranked = sandbox.trials("first", SortBy="FinalObjectiveMetricValue")
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in ranked]
    assert values == sorted(values)
    assert len(values) == 6
    assert job["BestTrainingJob"] == ranked[0]
    assert values[0] == pytest.approx(bowl(ranked[0]["TunedHyperParameters"])[0])  # type: ignore[index]


def test_a_trial_is_a_training_job_of_the_tuning(sandbox: Sandbox) -> None:
    job = sandbox.tuned("first", jobs=1, parallel=1)
    name = job["BestTrainingJob"]["TrainingJobName"]
    assert name.startswith("first-001-")
    trial = sandbox.training.describe({"TrainingJobName": name})
    assert trial["TuningJobArn"] == job["HyperParameterTuningJobArn"]
    assert trial["EnableManagedSpotTraining"] is True
    tuned = job["BestTrainingJob"]["TunedHyperParameters"]
    assert trial["HyperParameters"] == {"epochs": "3", **tuned, "_tuning_objective_metric": "validation:loss"}
    assert sandbox.account.tags[trial["TrainingJobArn"]] == {"Project": "sandbox"}
    assert 0.0001 <= float(tuned["learning_rate"]) <= 0.1
    assert 8 <= int(tuned["hidden_size"]) <= 64


def test_what_it_describes_and_lists_is_what_the_service_model_says(sandbox: Sandbox) -> None:
    job = sandbox.tuned("first")
    output = service_model.model("sagemaker").operation_model("DescribeHyperParameterTuningJob").output_shape
    assert job.keys() <= output.members.keys()
    assert set(output.required_members) <= job.keys()
    static = job["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static == {"epochs": "3", "_tuning_objective_metric": "validation:loss"}
    listed = sandbox.tuning.list_jobs({"NameContains": "fir"})["HyperParameterTuningJobSummaries"]
    assert [one["HyperParameterTuningJobName"] for one in listed] == ["first"]
    assert sandbox.tuning.list_jobs({"StatusEquals": "Failed"})["HyperParameterTuningJobSummaries"] == []


def test_the_search_learns_from_what_it_has_seen(sandbox: Sandbox) -> None:
    """Of 30 trials the last ten are nearer to the best than the first ten, which a random search's are not."""
    job = sandbox.tuned("learns", jobs=30, parallel=1)
    losses = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in sandbox.trials("learns")]
    assert sum(losses[-10:]) < sum(losses[:10]) / 2
    assert job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] < 0.2


def test_a_trial_that_is_worse_than_most_is_stopped_early_and_never_the_best(sandbox: Sandbox) -> None:
    sandbox.training.epoch_seconds = 0.01

    def script(values: Mapping[str, str]) -> Losses:
        return [9.0] * 100 if script_runs.pop() else [1.0, 0.9, 0.8, 0.7, 0.6]

    script_runs = [False, True, False, False, False]  # the last one first: the fourth is hopeless
    sandbox.training.script = script
    job = sandbox.tuned("early", jobs=5, parallel=1, TrainingJobEarlyStoppingType="Auto")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Stopped"] == 1
    [stopped] = sandbox.trials("early", StatusEquals="Stopped")
    assert stopped["TrainingJobName"].startswith("early-004-")
    assert stopped["ObjectiveStatus"] == "Succeeded"
    assert job["BestTrainingJob"]["TrainingJobName"] != stopped["TrainingJobName"]


def test_a_tuning_that_is_stopped_stops_its_trials_and_keeps_the_best_so_far(sandbox: Sandbox) -> None:
    runs = iter([[0.5], [0.5] * 10_000])
    sandbox.training.script = lambda _: next(runs)
    sandbox.training.epoch_seconds = 0.01
    sandbox.start("stopped", jobs=9, parallel=1)
    sandbox.until(lambda: sandbox.describe("stopped")["TrainingJobStatusCounters"]["Completed"] == 1)
    sandbox.until(lambda: sandbox.describe("stopped")["TrainingJobStatusCounters"]["InProgress"] == 1)
    sandbox.tuning.stop({"HyperParameterTuningJobName": "stopped"})
    job = sandbox.finish("stopped")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["Stopped"] == 1
    assert job["BestTrainingJob"]["TrainingJobName"].startswith("stopped-001-")
    with pytest.raises(ServiceError, match="in status Stopped"):
        sandbox.tuning.stop({"HyperParameterTuningJobName": "stopped"})


def test_trials_that_fail_do_not_count_and_a_tuning_of_none_but_those_fails(sandbox: Sandbox) -> None:
    sandbox.training.script = lambda _: None
    job = sandbox.tuned("fails", jobs=3)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("All training jobs failed.")
    assert job["ObjectiveStatusCounters"]["Failed"] == 3
    assert "BestTrainingJob" not in job
    outcomes: list[Losses] = [[0.3], None]
    sandbox.training.script = lambda _: outcomes.pop()
    job = sandbox.tuned("half", jobs=2, parallel=1)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 1


def test_its_events_are_spelled_like_the_documentations(sandbox: Sandbox) -> None:
    sandbox.tuned("first")
    assert isinstance(sandbox.account.events, RecordingBus)
    found = [event for event in sandbox.account.events.events if "HyperParameter Tuning" in event[1]]
    assert [event[1] for event in found] == ["SageMaker HyperParameter Tuning Job State Change"] * 2
    detail = found[-1][2]
    assert detail["HyperParameterTuningJobStatus"] == "Completed"
    assert detail["CreationTime"].isdigit()
    assert detail["Tags"] == {"Project": "sandbox"}
    assert detail["TrainingJobStatusCounters"]["Completed"] == 4


# ---- warm start ----


def warm(*parents: str, kind: str = "TransferLearning") -> dict[str, Any]:
    return {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": one} for one in parents],
        "WarmStartType": kind,
    }


def test_a_warm_start_knows_what_its_parent_found(sandbox: Sandbox) -> None:
    """With 30 trials behind it, its very first ones are good, which are random otherwise."""
    sandbox.tuned("parent", jobs=30, parallel=1)
    sandbox.tuned("child", jobs=8, parallel=1, WarmStartConfig=warm("parent"))
    sandbox.tuned("stranger", jobs=8, parallel=1)
    losses = {
        name: sum(one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in sandbox.trials(name))
        for name in ("child", "stranger")
    }
    assert losses["child"] < losses["stranger"] / 2
    assert "OverallBestTrainingJob" not in sandbox.describe("child")


def test_with_identical_data_the_best_of_all_is_told_too(sandbox: Sandbox) -> None:
    sandbox.tuned("parent", jobs=6)
    sandbox.training.script = lambda _: [7.0]
    job = sandbox.tuned("child", WarmStartConfig=warm("parent", kind="IdenticalDataAndAlgorithm"))
    assert job["OverallBestTrainingJob"]["TuningJobName"] == "parent"
    assert job["BestTrainingJob"]["TrainingJobName"].startswith("child-")


# ---- refusals ----


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"jobs": 751}, "'MaxNumberOfTrainingJobs' is 750"),
        ({"jobs": 500, "WarmStartConfig": warm("parent")}, "With its parents' the tuning job has 501"),
        ({"jobs": 20, "parallel": 11}, "'MaxParallelTrainingJobs' is 10"),
        ({"jobs": 2, "parallel": 3}, "can't be greater than"),
        ({"Strategy": "Hyperband"}, "Hyperband needs AWS"),
        ({"HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "x"}}, "none of the job's Metric"),
        ({"ParameterRanges": {}}, "At least one parameter range"),
        ({"static": {"learning_rate": "0.1"}}, "can't be given twice, as ranges or static: learning_rate"),
        (
            {"ParameterRanges": {"IntegerParameterRanges": [{"Name": "n", "MinValue": "9", "MaxValue": "3"}]}},
            "The MinValue of n must be less",
        ),
        ({"WarmStartConfig": warm("nobody")}, "can't find a tuning job with name: nobody"),
        ({"WarmStartConfig": warm("parent"), "static": {}}, "another number of static and tunable"),
    ],
)
def test_what_sagemaker_refuses_is_refused(sandbox: Sandbox, changes: dict[str, Any], said: str) -> None:
    sandbox.tuned("parent", jobs=1, parallel=1)
    with pytest.raises(ServiceError) as refusal:
        sandbox.tuning.create(sandbox.request("refused", **changes))
    assert said in refusal.value.message
    with pytest.raises(ServiceError, match="can't find"):
        sandbox.describe("refused")


def test_a_name_is_used_once_whatever_its_case(sandbox: Sandbox) -> None:
    sandbox.tuned("once", jobs=1, parallel=1)
    with pytest.raises(ServiceError) as refusal:
        sandbox.tuning.create(sandbox.request("ONCE"))
    assert refusal.value.code == "ResourceInUse"
