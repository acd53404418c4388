"""A drop that asks for two instances trains in two processes under torchrun, and measures what one does."""

from __future__ import annotations

import json

import pytest

from mlplatform import names

from .conftest import Laptop
from .customers import customers

pytestmark = pytest.mark.xdist_group("laptop")


def measured(laptop: Laptop, job_name: str) -> dict[str, float]:
    job = laptop.job_end(job_name, seconds=90)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}


def test_two_instances_measure_what_one_does(laptop: Laptop, deployed: str) -> None:
    """The same rows, seed and hyperparameters, and so the same batches; sums are rounded in another order."""
    hyperparameters = {"network": "mlp", "epochs": 8}
    spec = {"label": "stays", "hyperparameters": hyperparameters, "approval": "manual", "instance_count": 2}
    laptop.put("shared", names.JOB_SPEC_FILE, json.dumps(spec))
    laptop.put("shared", "customers.csv", customers())
    verdict = laptop.verdict("shared")
    assert verdict["verdict"] == "accepted", verdict
    shared = verdict["job_name"]
    together, alone = measured(laptop, shared), measured(laptop, deployed)
    assert together == pytest.approx(alone, abs=1e-4)
    assert len(together) >= 6
    logs = laptop.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{shared}/"
    )
    hosts = sorted(stream["logStreamName"].split("/")[1].rsplit("-", 1)[0] for stream in logs["logStreams"])
    assert hosts == ["algo-1", "algo-2"]
    resources = laptop.sagemaker.describe_training_job(TrainingJobName=shared)["ResourceConfig"]
    assert resources["InstanceCount"] == 2
