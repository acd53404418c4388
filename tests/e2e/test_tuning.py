"""A tuning from the drop to the endpoint on the laptop: real trials, the best of which is deployed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform import names

from .conftest import Laptop, eventually
from .customers import customers

pytestmark = pytest.mark.xdist_group("laptop")


def tuning_end(laptop: Laptop, name: str, seconds: float = 90) -> dict[str, Any]:
    def read() -> dict[str, Any] | None:
        found: dict[str, Any] = laptop.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return found if found["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return eventually(read, seconds, f"{name} did not end")


def test_a_drop_that_asks_for_tuning_gets_the_endpoint_of_its_best_trial(laptop: Laptop) -> None:
    wishes = {
        "label": "stays",
        # Long and fast enough that whichever trials the sampler draws, the best of them beats chance.
        "hyperparameters": {"epochs": 30},
        "tuning": {"max_jobs": 2, "ranges": {"hidden_size": [16, 64], "learning_rate": [0.005, 0.02]}},
    }
    laptop.put("tuned", names.JOB_SPEC_FILE, json.dumps(wishes))
    laptop.put("tuned", "customers.csv", customers(rows=200, seed=3))
    verdict = laptop.verdict("tuned")
    assert verdict["verdict"] == "accepted", verdict
    assert "They cost at most 0.46 USD (2 trials x 3600 s x 0.23 USD an hour on demand)" in verdict["reason"]
    job = tuning_end(laptop, verdict["job_name"])
    assert job["TrainingJobStatusCounters"]["Completed"] == 2, job
    best = job["BestTrainingJob"]

    trials = laptop.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=verdict["job_name"], SortBy="FinalObjectiveMetricValue"
    )["TrainingJobSummaries"]
    assert trials[0]["TrainingJobName"] == best["TrainingJobName"]
    assert len({one["TunedHyperParameters"]["learning_rate"] for one in trials}) == 2

    laptop.endpoint_serving("tuned", best["TrainingJobName"])
    outcomes = [laptop.function_entry("deploy-model", one["TrainingJobName"]) for one in trials]
    told = laptop.inbox(f"Tuning job {verdict['job_name']}: 2 of 2 trials (2 completed).")
    assert len(told) == 1, "one outcome, for the tuning and not for its trials"
    assert all(entry["error"] is None for entry in outcomes)
    packages = laptop.sagemaker.list_model_packages(ModelPackageGroupName="ml-platform-tuned")
    assert len(packages["ModelPackageSummaryList"]) == 1

    # What was tuned travels with the weights: the endpoint's network is as wide as the best trial's.
    body = json.dumps({"records": [{"age": 40, "income": 2100, "plan": "pro"}]})
    answer = laptop.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="ml-platform-tuned", Body=body, ContentType="application/json"
    )
    assert json.loads(answer["Body"].read())["model_version"] == best["TrainingJobName"]
