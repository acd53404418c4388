"""A dataset that asks for trees is trained by a pipeline: every step can be seen, and the endpoint answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlplatform import names

from .conftest import STACK, Laptop, Mlp, eventually
from .customers import customers
from .test_loop import invoke

pytestmark = pytest.mark.xdist_group("laptop")
STEPS = ["Prepare", "TrainXgboost", "Evaluate", "GoodEnough", "Register-RegisterModel"]


def steps(laptop: Laptop, pipeline: str, name: str, seconds: float = 60) -> dict[str, dict[str, Any]]:
    """Of an execution that has ended, in the order of their starts."""

    def ended() -> str | None:
        for one in laptop.sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]:
            if one["PipelineExecutionDisplayName"] == name and one["PipelineExecutionStatus"] != "Executing":
                return str(one["PipelineExecutionArn"])
        return None

    arn = eventually(ended, seconds, f"{name} did not end")
    listed = laptop.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, SortOrder="Ascending")
    return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}


@pytest.fixture(scope="module")
def trees(laptop: Laptop) -> str:
    """The dataset `trees`, dropped; the name of its execution and of its model."""
    wish = {"algorithm": "xgboost", "label": "stays", "hyperparameters": {"num_round": 30}}
    laptop.put("trees", names.JOB_SPEC_FILE, json.dumps(wish))
    laptop.put("trees", "customers.csv", customers(300))
    verdict = laptop.verdict("trees")
    assert (verdict["verdict"], verdict["pipeline"]) == ("accepted", f"{STACK}-xgboost")
    return str(verdict["job_name"])


def test_every_step_of_a_drops_execution_succeeds_and_its_model_answers(laptop: Laptop, trees: str, mlp: Mlp) -> None:
    done = steps(laptop, f"{STACK}-xgboost", trees)
    assert {name: step["StepStatus"] for name, step in done.items()} == dict.fromkeys(STEPS, "Succeeded")
    laptop.endpoint_serving("trees", trees)
    answer = invoke(laptop, "trees", {"records": [{"age": 30, "income": 3500, "plan": "pro"}]})
    assert answer["predictions"] == ["yes"]
    assert answer["model_version"] == trees
    registered = done["Register-RegisterModel"]["Metadata"]["RegisterModel"]["Arn"]

    def complete() -> dict[str, Any] | None:
        """Once the gate and the execution's end have both written on it."""
        found: dict[str, Any] = laptop.sagemaker.describe_model_package(ModelPackageName=registered)
        return found if {"gate", "training_usd"} <= found["CustomerMetadataProperties"].keys() else None

    package = eventually(complete, 60, f"{registered} does not say where it comes from")
    assert package["ModelApprovalStatus"] == "Approved"
    said = package["CustomerMetadataProperties"]
    assert (said["gate"], said["dataset_version"], said["hp_num_round"]) == ("passed", trees.split("-")[-2], "30")
    shown = mlp("pipeline", "status", "trees")
    assert all(name in shown for name in (trees, *STEPS))


def test_a_person_starts_it_again_and_what_did_not_change_comes_from_the_cache(
    laptop: Laptop, trees: str, mlp: Mlp
) -> None:
    steps(laptop, f"{STACK}-xgboost", trees)
    said = mlp("pipeline", "start", "trees", "--parameter", "LeastScore=1")
    name = next(word.strip(",") for word in said.split() if word.startswith(f"{STACK}-trees-"))
    assert name != trees
    again = steps(laptop, f"{STACK}-xgboost", name)
    assert [one for one, step in again.items() if "CacheHitResult" in step] == ["Prepare", "TrainXgboost"]
    assert again["NotGoodEnough"]["StepStatus"] == "Failed"
    told = laptop.function_entry("deploy-model", name)
    assert told["decision"] == "Notify"
    assert "on its test rows it is no better than 1" in told["reason"]


def test_a_parameter_that_does_not_exist_is_refused_by_name(trees: str, mlp: Mlp) -> None:
    said = mlp("pipeline", "start", "trees", "--parameter", "LeastScor=1", fails=True)
    assert "the pipeline parameter 'LeastScor', which does not exist" in said
    assert 'did you mean "LeastScore"?' in said
