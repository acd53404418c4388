"""With Network private, every job and every model of the stack is in the stack's own network."""

from __future__ import annotations

import json
from typing import Any

import builders
from builders import drop
from laptop.service_model import validate
from mlplatform.decisions import StartTraining, StartTuning
from mlplatform.pipelines import published_definitions
from mlplatform.training import plan_training

NETWORK = {"subnet_ids": "subnet-0a,subnet-0b", "security_group_id": "sg-0c"}
VPC = {"Subnets": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0c"]}


def started(job_json: Any = None) -> Any:
    return plan_training(drop(job_json=job_json), None, builders.settings(**NETWORK))


def test_a_training_job() -> None:
    decision = started()
    assert isinstance(decision, StartTraining)
    assert decision.request["VpcConfig"] == VPC
    assert validate("sagemaker", "CreateTrainingJob", decision.request) == []


def test_every_trial_of_a_tuning_job() -> None:
    decision = started({"tuning": {}})
    assert isinstance(decision, StartTuning)
    assert decision.request["TrainingJobDefinition"]["VpcConfig"] == VPC
    assert validate("sagemaker", "CreateHyperParameterTuningJob", decision.request) == []


def test_every_step_of_every_pipeline_that_is_a_job() -> None:
    jobs = 0
    for text in published_definitions(builders.settings(**NETWORK), "s3://artifacts/code/digest").values():
        for step in json.loads(text)["Steps"]:
            if step["Type"] == "Training":
                assert step["Arguments"]["VpcConfig"] == VPC
            elif step["Type"] == "Processing":
                assert step["Arguments"]["NetworkConfig"]["VpcConfig"] == VPC
            jobs += step["Type"] in ("Training", "Processing")
    assert jobs >= 3


def test_without_it_nothing_is() -> None:
    shared = builders.settings()
    decision = plan_training(drop(), None, shared)
    assert isinstance(decision, StartTraining)
    assert "VpcConfig" not in decision.request
    assert all("VpcConfig" not in text for text in published_definitions(shared, "s3://artifacts/code").values())
