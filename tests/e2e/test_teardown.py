"""The end: the stack goes, and everything that its functions made goes before it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import ROOT, STACK, Laptop, start_laptop, stop_laptop
from .customers import SHORT, customers

pytestmark = pytest.mark.xdist_group("teardown")


def mlp(laptop: Laptop, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "--laptop", *arguments],
        cwd=ROOT,
        env={**os.environ, "AWS_ENDPOINT_URL": laptop.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def buckets(laptop: Laptop) -> set[str]:
    return {bucket["Name"] for bucket in laptop.s3.list_buckets()["Buckets"]}


def test_teardown_first_shows_then_ends_everything_and_proves_it() -> None:
    """A laptop of its own: the stack is gone afterwards."""
    laptop = start_laptop()
    try:
        assert laptop.connection.outputs  # known also when the stack is gone
        laptop.put("gone", "job.json", SHORT)
        laptop.put("gone", "data.csv", customers(300))
        laptop.endpoint_serving("gone", laptop.verdict("gone")["job_name"])
        laptop.scaling_policies("gone")
        # Of another stack whose name begins alike, and nobody's business here.
        laptop.sagemaker.create_model_package_group(
            ModelPackageGroupName=f"{STACK}-two-flowers", Tags=[{"Key": "ml-platform:stack", "Value": f"{STACK}-two"}]
        )

        shown = mlp(laptop, "teardown")
        assert shown.returncode == 0, shown.stderr
        assert "1 endpoint, " in shown.stdout
        assert "Nothing was changed." in shown.stdout
        assert laptop.sagemaker.describe_endpoint(EndpointName=f"{STACK}-gone")["EndpointStatus"] == "InService"

        # A training that runs when the stack goes is stopped, and deploys nothing any more.
        laptop.put("late", "data.csv", customers(300))
        running = laptop.verdict("late")["job_name"]
        done = mlp(laptop, "teardown", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Nothing billable of {STACK} is left." in done.stdout
        assert laptop.job_end(running)["TrainingJobStatus"] in ("Stopped", "Completed")
        assert laptop.sagemaker.list_endpoints()["Endpoints"] == []
        assert laptop.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
        assert laptop.sagemaker.list_models()["Models"] == []
        groups = laptop.sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]
        assert [group["ModelPackageGroupName"] for group in groups] == [f"{STACK}-two-flowers"]
        assert (
            laptop.connection.autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
            == []
        )
        logs = [group["logGroupName"] for group in laptop.connection.logs.describe_log_groups()["logGroups"]]
        assert logs in ([], ["/aws/sagemaker/TrainingJobs"]), "that group is the whole account's"
        assert laptop.client("lambda").list_functions()["Functions"] == []

        mine = {laptop.connection.outputs["DataBucketName"], laptop.connection.outputs["ArtifactBucketName"]}
        assert mine < buckets(laptop), "data and models are kept unless they are asked for"
        assert mlp(laptop, "teardown", "--yes", "--data").returncode == 0
        assert not mine & buckets(laptop)
        assert "There is no stack" in mlp(laptop, "teardown", "--yes").stderr
    finally:
        stop_laptop(laptop)
