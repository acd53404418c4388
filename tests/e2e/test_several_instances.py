"""A drop that asks for two instances trains in two processes under torchrun, and measures what one does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform import names

from .conftest import Laptop
from .test_loop import customers, deployed  # noqa: F401  (the fixture, whose job ran on one instance)

pytestmark = pytest.mark.xdist_group("laptop")


def measured(laptop: Laptop, job_name: str) -> dict[str, float]:
    job = laptop.job_end(job_name, seconds=90)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    return {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}


def test_two_instances_measure_what_one_does(laptop: Laptop, deployed: str) -> None:  # noqa: F811
    """The same rows, seed and batches as the job behind `deployed`; sums are rounded in another order."""
    wishes: dict[str, Any] = {
        "label": "stays",
        "hyperparameters": {"network": "mlp", "epochs": 8},
        "instance_count": 2,
    }
    laptop.put("shared", names.JOB_SPEC_FILE, json.dumps({**wishes, "approval": "manual"}))
    laptop.put("shared", "customers.csv", customers())
    verdict = laptop.verdict("shared")
    assert verdict["verdict"] == "accepted", verdict
    together, alone = measured(laptop, verdict["job_name"]), measured(laptop, deployed)
    assert together == pytest.approx(alone, abs=1e-4)
    logs = laptop.client("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{verdict['job_name']}/"
    )
    hosts = sorted(stream["logStreamName"].split("/")[1].rsplit("-", 1)[0] for stream in logs["logStreams"])
    assert hosts == ["algo-1", "algo-2"]
    assert laptop.sagemaker.describe_training_job(TrainingJobName=verdict["job_name"])["ResourceConfig"] == {
        "InstanceType": "ml.m5.xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 11,
    }
