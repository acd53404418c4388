"""A drop that asks for two instances trains in two processes under torchrun, and measures what one does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform import names

from .conftest import Laptop
from .test_loop import customers

pytestmark = pytest.mark.xdist_group("laptop")


def job_of(laptop: Laptop, dataset: str, **wishes: Any) -> str:
    """The training job of the same rows, seed and hyperparameters each time; nothing is deployed."""
    hyperparameters = {"network": "mlp", "epochs": 8}
    spec = {"label": "stays", "hyperparameters": hyperparameters, "approval": "manual", **wishes}
    laptop.put(dataset, names.JOB_SPEC_FILE, json.dumps(spec))
    laptop.put(dataset, "customers.csv", customers())
    verdict = laptop.verdict(dataset)
    assert verdict["verdict"] == "accepted", verdict
    name: str = verdict["job_name"]
    return name


def measured(laptop: Laptop, job_name: str) -> dict[str, float]:
    job = laptop.job_end(job_name, seconds=90)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}


def test_two_instances_measure_what_one_does(laptop: Laptop) -> None:
    """The batches are the same; sums over their rows are rounded in another order."""
    shared, single = job_of(laptop, "shared", instance_count=2), job_of(laptop, "single")
    together, alone = measured(laptop, shared), measured(laptop, single)
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(together) >= 6
    logs = laptop.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{shared}/"
    )
    hosts = sorted(stream["logStreamName"].split("/")[1].rsplit("-", 1)[0] for stream in logs["logStreams"])
    assert hosts == ["algo-1", "algo-2"]
    resources = laptop.sagemaker.describe_training_job(TrainingJobName=shared)["ResourceConfig"]
    assert resources["InstanceCount"] == 2
