"""A drop whose job.json asks for another kind of hosting is deployed so, answers, and has what its kind needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from cli.main import app
from mlplatform import names

from .conftest import STACK, Laptop, eventually
from .customers import customers

pytestmark = pytest.mark.xdist_group("second-laptop")
NEW = "age,income,plan\n70,900,basic\n20,3500,pro\n"


def drop(laptop: Laptop, dataset: str, hosting: dict[str, Any]) -> str:
    """The name of the model that came of it, once its endpoint is configured."""
    spec = {"label": "stays", "hyperparameters": {"network": "mlp", "epochs": 2}, "hosting": hosting}
    laptop.put(dataset, names.JOB_SPEC_FILE, json.dumps(spec))
    laptop.put(dataset, "customers.csv", customers(200))
    verdict = laptop.verdict(dataset)
    assert verdict["verdict"] == "accepted", verdict["reason"]
    laptop.job_end(verdict["job_name"])
    return str(verdict["job_name"])


def predicted(laptop: Laptop, dataset: str, tmp_path: Path) -> list[str]:
    """What `mlp predict` answers for two new customers."""
    file = tmp_path / "new.csv"
    file.write_text(NEW)
    ran = CliRunner().invoke(app, ["predict", dataset, str(file)], env={"AWS_ENDPOINT_URL": laptop.url})
    assert ran.exit_code == 0, ran.output
    return list(json.loads(ran.stdout)["predictions"])


def test_serverless(laptop: Laptop, tmp_path: Path) -> None:
    model = drop(laptop, "seldom", {"kind": "serverless", "memory_gb": 2, "max_concurrency": 3})
    said = laptop.function_entry("configure-autoscaling", f"{STACK}-seldom serves {model}", 60)
    assert "nothing to scale" in json.dumps(said)
    assert len(predicted(laptop, "seldom", tmp_path)) == 2
    eventually(lambda: "seldom" in widget(laptop, "Serverless: cold starts") or None, 60, "no cold start is drawn")


def widget(laptop: Laptop, title: str) -> str:
    """What is drawn in a widget of the stack's dashboard."""
    page = urlopen(f"{laptop.url}/_laptop/dashboards/{STACK}-overview", timeout=60).read().decode()
    return str(page.partition(f"<h2>{title}")[2].partition("</section>")[0])


def test_asynchronous(laptop: Laptop, tmp_path: Path) -> None:
    model = drop(laptop, "patient", {"kind": "asynchronous", "max_instances": 2})
    said = laptop.function_entry("configure-autoscaling", f"{STACK}-patient serves {model}", 60)
    assert "it scales from 0 to 2 instances" in json.dumps(said)
    assert len(predicted(laptop, "patient", tmp_path)) == 2
    policies = laptop.scaling_policies("patient")
    assert {one["PolicyType"] for one in policies} == {"TargetTrackingScaling", "StepScaling"}
    [alarm] = laptop.client("cloudwatch").describe_alarms(AlarmNames=[f"{STACK}-patient-wake"])["MetricAlarms"]
    assert alarm["AlarmActions"] == [one["PolicyARN"] for one in policies if one["PolicyType"] == "StepScaling"]


def test_scale_to_zero(laptop: Laptop, tmp_path: Path) -> None:
    model = drop(laptop, "dozer", {"kind": "scale-to-zero", "max_instances": 2})
    said = laptop.function_entry("configure-autoscaling", f"{STACK}-dozer serves {model}", 60)
    assert "it scales from 0 to 2 copies" in json.dumps(said)
    assert len(predicted(laptop, "dozer", tmp_path)) == 2
    resource = f"inference-component/{STACK}-dozer"
    [target] = laptop.connection.autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[resource]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 2)
    [alarm] = laptop.client("cloudwatch").describe_alarms(AlarmNames=[f"{STACK}-dozer-wake"])["MetricAlarms"]
    assert alarm["MetricName"] == "NoCapacityInvocationFailures"
    assert "policyName/ml-platform-dozer-wake" in alarm["AlarmActions"][0]
