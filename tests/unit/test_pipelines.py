"""What a drop's execution is asked for, what its end comes to, and that the SDK yields the committed definitions."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import builders
from laptop import service_model
from laptop.pipeline_definition import chosen_parameters, parse
from mlplatform import algorithms, pipelines
from mlplatform.decisions import (
    HoldDataset,
    Notify,
    RecordLineage,
    RejectDataset,
    Skip,
    StartPipeline,
    StartTraining,
)
from mlplatform.facts import Hold, PipelineAsked, PipelineRun, PipelineStep, Task, TrainingJob
from mlplatform.training import plan_training, refuse_launch

ROOT = Path(__file__).parents[2]
SDK = ROOT / ".venv/sagemaker/bin/python"
CODE = "s3://ml-platform-artifacts/code/" + builders.DIGEST
ARN = "arn:aws:sagemaker:us-east-1:123456789012"


def members(operation: str) -> frozenset[str]:
    return frozenset(service_model.model("sagemaker").operation_model(operation).input_shape.members)


def definition(name: str) -> dict[str, Any]:
    text = pipelines.published(pipelines.path(name).read_text(), builders.settings(stack_name="shop"), CODE)
    return json.loads(text)  # type: ignore[no-any-return]


# ---- the definitions ----


@pytest.mark.skipif(not SDK.exists(), reason="`make test` installs the SageMaker SDK into .venv/sagemaker")
def test_the_sdk_yields_the_committed_definitions() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/platform'}", "PYTHONWARNINGS": "ignore"}
    built = subprocess.run(
        [SDK, "-m", "pipeline", "--check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.mark.parametrize("name", pipelines.DEFINITIONS)
def test_a_definition_is_taken_by_the_executor_and_fits_into_a_pipeline(name: str) -> None:
    text = json.dumps(definition(name))
    read = parse(text, members)
    assert set(chosen_parameters(read, {})) == set(read.parameters)  # each has a default
    assert len(read.parameters) <= 200
    assert len(text) < 1_048_576
    assert [step.type for step in read.steps.values()][-3:] == ["Condition", "RegisterModel", "Fail"]


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("pytorch", {"TrainPytorch": {"Prepare"}, "Evaluate": {"Prepare", "TrainPytorch"}}),
        ("xgboost", {"TrainXgboost": {"Prepare"}, "Evaluate": {"Prepare", "TrainXgboost"}}),
        (
            "auto",
            {
                "TrainXgboost": {"Prepare"},
                "TrainPytorch": {"Prepare"},
                "Evaluate": {"Prepare", "TrainXgboost", "TrainPytorch"},
            },
        ),
    ],
)
def test_no_model_is_trained_before_the_data_was_found_good(name: str, waits: dict[str, set[str]]) -> None:
    steps = parse(json.dumps(definition(name)), members).steps
    assert {one: set(steps[one].needs) for one in waits} == waits


@pytest.mark.parametrize("name", pipelines.DEFINITIONS)
def test_every_job_is_named_and_tagged_as_the_stacks_and_trains_on_spot_with_checkpoints(name: str) -> None:
    for step in definition(name)["Steps"]:
        arguments = step["Arguments"]
        if step["Type"] not in {"Processing", "Training"}:
            continue
        assert {tag["Key"] for tag in arguments["Tags"]} == {
            "Project",
            "Environment",
            "CostCenter",
            "Owner",
            "ml-platform:stack",
            "ml-platform:dataset",
            "ml-platform:version",
            "ml-platform:hosting",
        }
        job = arguments["TrainingJobName" if step["Type"] == "Training" else "ProcessingJobName"]
        assert job.startswith("shop-")
        assert len(job) <= 38  # "Prefix length restrictions", SageMaker developer guide
        if step["Type"] == "Training":
            assert arguments["EnableManagedSpotTraining"] is True
            assert arguments["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
            assert {"MaxRuntimeInSeconds", "MaxWaitTimeInSeconds"} == arguments["StoppingCondition"].keys()


def test_only_more_than_two_classes_are_counted_for_xgboost() -> None:
    given = {
        name: step["Arguments"]["HyperParameters"].keys()
        for name in ("xgboost", "xgboost-multiclass", "auto-multiclass")
        for step in definition(name)["Steps"]
        if step["Name"] == "TrainXgboost"
    }
    plain = set(algorithms.xgboost_hyperparameters(Task.BINARY, {}))
    assert given == {
        "xgboost": plain,
        "xgboost-multiclass": plain | {"num_class"},
        "auto-multiclass": plain | {"num_class"},
    }


def test_a_published_definition_has_the_stacks_own_defaults() -> None:
    defaults = {one["Name"]: one["DefaultValue"] for one in definition("auto")["Parameters"]}
    assert defaults["Stack"] == "shop"
    assert defaults["CodeUri"] == CODE
    assert defaults["TrainingRoleArn"] == "arn:aws:iam::123456789012:role/ml-platform-training"
    assert defaults["ApprovalStatus"] == "PendingManualApproval"
    assert not [
        name for name, value in defaults.items() if value == pipelines.STACK_DEFAULTS.get(name) and "s3:" in str(value)
    ]


# ---- a drop ----


def planned(job_json: Any, asked: PipelineAsked | None = None, content: bytes | None = None) -> Any:
    return plan_training(builders.drop(content, job_json=job_json), None, builders.settings(), asked)


def given(decision: StartPipeline) -> dict[str, str]:
    return {one["Name"]: one["Value"] for one in decision.request["PipelineParameters"]}


@pytest.mark.parametrize(
    ("job_json", "pipeline"),
    [
        ({"algorithm": "xgboost"}, "ml-platform-xgboost"),
        ({"algorithm": "auto"}, "ml-platform-auto"),
        ({"pipeline": {}}, "ml-platform-pytorch"),
        ({"algorithm": "auto", "task": "multiclass"}, "ml-platform-auto-multiclass"),
        ({"pipeline": {}, "task": "multiclass"}, "ml-platform-pytorch"),
    ],
)
def test_what_job_json_asks_for_decides_which_pipeline_runs(job_json: Any, pipeline: str) -> None:
    decision = planned(job_json)
    assert isinstance(decision, StartPipeline)
    assert decision.request["PipelineName"] == pipeline
    assert decision.job_name == f"ml-platform-churn-{decision.version}-a1b2c"
    assert service_model.validate("sagemaker", "StartPipelineExecution", decision.request) == []
    assert service_model.validate("sagemaker", "CreateModelPackageGroup", decision.group) == []
    parameters = parse(json.dumps(definition(pipeline.removeprefix("ml-platform-"))), members)
    assert chosen_parameters(parameters, given(decision))["Dataset"] == "churn"  # nothing is given that is not there


def test_pytorch_without_a_wish_stays_a_single_job() -> None:
    assert isinstance(planned({"hyperparameters": {"epochs": 3}}), StartTraining)


def test_hyperparameters_reach_the_step_that_they_are_for() -> None:
    trees = given(planned({"algorithm": "xgboost", "hyperparameters": {"max_depth": 3}}))
    assert (trees["MaxDepth"], trees["Objective"], trees["EvalMetric"]) == ("3", "binary:logistic", "logloss")
    assert "Hyperparameters" not in trees
    network = given(planned({"pipeline": {}, "hyperparameters": {"epochs": 3}}))
    assert json.loads(json.loads(network["Hyperparameters"])) == {"epochs": "3"}
    assert "MaxDepth" not in network


def test_the_seed_of_the_split_is_the_same_for_every_step() -> None:
    assert given(planned({"algorithm": "xgboost"}))["Seed"] == "42"
    both = given(planned({"algorithm": "auto", "hyperparameters": {"seed": 7}}))
    assert both["Seed"] == "7"
    assert json.loads(json.loads(both["Hyperparameters"])) == {"seed": "7"}
    steps = {step["Name"]: step["Arguments"] for step in definition("auto")["Steps"] if "Arguments" in step}
    seed = {"Std:Join": {"On": "", "Values": [{"Get": "Parameters.Seed"}]}}
    arguments = steps["Prepare"]["AppSpecification"]["ContainerArguments"]
    assert arguments[arguments.index("--seed") + 1] == seed
    assert steps["TrainXgboost"]["HyperParameters"]["seed"] == seed


@pytest.mark.parametrize(
    ("size_mib", "file", "processing_type"),
    [
        (1, "a.csv", "ml.t3.medium"),
        (2 * 1024, "a.csv", "ml.m5.xlarge"),
        (300, "a.csv.gz", "ml.m5.xlarge"),
        (20 * 1024, "a.csv", "ml.m5.4xlarge"),
        (100 * 1024, "a.csv", "ml.m5.24xlarge"),
    ],
)
def test_the_data_decides_how_much_memory_prepares_it(size_mib: int, file: str, processing_type: str) -> None:
    drop = builders.drop(job_json={"algorithm": "xgboost"})
    objects = tuple(
        replace(one, key=f"datasets/churn/{file}", size_bytes=size_mib * 1024**2)
        if one.file_name.endswith(".csv")
        else one
        for one in drop.objects
    )
    packed = gzip.compress if file.endswith(".gz") else bytes
    samples = tuple(
        replace(one, key=f"datasets/churn/{file}", content=packed(one.content), complete=True) for one in drop.samples
    )
    decision = plan_training(replace(drop, objects=objects, samples=samples), None, builders.settings())
    assert isinstance(decision, StartPipeline), decision
    assert given(decision)["ProcessingInstanceType"] == processing_type


def test_the_same_drop_asks_with_the_same_token_and_another_one_with_another() -> None:
    first, again = planned({"algorithm": "auto"}), planned({"algorithm": "auto"})
    other = planned({"algorithm": "auto"}, content=builders.csv(seed=2))
    assert first.request["ClientRequestToken"] == again.request["ClientRequestToken"]
    assert first.request["ClientRequestToken"] != other.request["ClientRequestToken"]


def test_wishes_for_a_pipeline_are_its_parameters_and_hold_for_hosting_too() -> None:
    wishes = {"TrainingInstanceType": "ml.c5.xlarge", "InferenceInstanceType": "ml.m5.large", "LeastScore": 0.8}
    decision = planned({"algorithm": "xgboost", "pipeline": wishes})
    parameters = given(decision)
    assert {name: parameters[name] for name in wishes} == {**wishes, "LeastScore": "0.8"}
    assert parameters["Hosting"] == "instance_type=ml.m5.large"
    assert parameters["TrainingUsdPerHour"] == "0.204"
    assert parameters["ApprovalStatus"] == "Approved"
    assert given(planned({"algorithm": "xgboost", "approval": "manual"}))["ApprovalStatus"] == "PendingManualApproval"


@pytest.mark.parametrize(
    ("job_json", "said"),
    [
        (
            {"pipeline": {"TrainingInstance": "ml.m5.xlarge"}},
            "the pipeline parameter 'TrainingInstance', which does not",
        ),
        ({"pipeline": {"LeastScore": "high"}}, "'pipeline.LeastScore'; it must be a number"),
        ({"pipeline": {"ApprovalStatus": "Maybe"}}, "'pipeline.ApprovalStatus'; it must be one of"),
        (
            {"pipeline": {"TrainingMaxRuntimeSeconds": 3600, "TrainingMaxWaitSeconds": 600}},
            "'pipeline.TrainingMaxWaitSeconds' 600 below",
        ),
        ({"algorithm": "xgboost", "hyperparameters": {"epochs": 3}}, "the unknown key 'hyperparameters.epochs'"),
        ({"algorithm": "forest"}, "has \"forest\" as 'algorithm'; it must be one of pytorch, xgboost, auto"),
    ],
)
def test_a_wish_that_a_pipeline_can_not_meet_is_refused_by_name(job_json: Any, said: str) -> None:
    decision = planned(job_json)
    assert isinstance(decision, RejectDataset)
    assert said in decision.reason


def test_a_person_may_start_it_again_under_another_name_and_changes_no_verdict() -> None:
    drops = planned({"algorithm": "xgboost"})
    asked = PipelineAsked("churn", {"ApprovalStatus": "PendingManualApproval"}, "2026-11-28T12:00:00Z")
    again = planned({"algorithm": "xgboost"}, asked)
    assert again.job_name != drops.job_name
    assert len(again.job_name) == len(drops.job_name)
    assert given(again)["ApprovalStatus"] == "PendingManualApproval"
    assert given(again)["CheckpointName"] == given(drops)["CheckpointName"]  # the same rows, code and hyperparameters
    assert (drops.verdict, again.verdict) == (True, False)
    assert planned({"algorithm": "xgboost"}, asked).job_name == again.job_name


def test_a_hold_on_launches_holds_for_pipelines_too() -> None:
    hold = Hold("2026-11-28", "The day's ceiling is reached.", datetime(2026, 11, 28, tzinfo=UTC))
    assert isinstance(refuse_launch(planned({"algorithm": "auto"}), hold), HoldDataset)


# ---- an execution's end ----


def step(name: str, kind: str, status: str = "Succeeded", reason: str | None = None) -> PipelineStep:
    arn = f"{ARN}:model-package/ml-platform-churn/1" if kind == "RegisterModel" else f"{ARN}:a-job/{name.lower()}"
    return PipelineStep(name, kind, status, arn, reason, cached=False)


RUN = PipelineRun(
    arn=f"{ARN}:pipeline/ml-platform-xgboost/execution/p4jn9xou8a8s",
    pipeline="ml-platform-xgboost",
    name=builders.JOB,
    status="Failed",
    failure_reason="Step failure: One or multiple steps failed.",
    created=builders.NOON,
    steps=(step("Prepare", "ProcessingJob", "Failed", "AlgorithmError: See job logs, exit code: 1"),),
    parameters={"Dataset": "churn", "ModelName": builders.JOB},
)


def outcome(run: PipelineRun, said: str | None = None, *trained: TrainingJob) -> Skip | Notify | RecordLineage:
    return pipelines.plan_outcome(run, trained, said, builders.settings())


def test_a_failed_step_is_told_with_what_its_program_wrote_for_people() -> None:
    told = outcome(RUN, "data.csv, line 7: 'n/a' is no number.")
    assert isinstance(told, Notify)
    assert told.reason == (
        f"Pipeline execution {builders.JOB} of ml-platform-xgboost failed in its step Prepare: data.csv, line 7: "
        "'n/a' is no number. Nothing was deployed."
    )
    assert told.once == f"models/churn/{builders.JOB}/outcome.json"
    assert "step Prepare: AlgorithmError: See job logs, exit code: 1. Nothing" in outcome(RUN).reason


def test_the_reason_of_a_fail_step_is_told() -> None:
    condition = step("GoodEnough", "Condition")
    failed = step("NotGoodEnough", "Fail", "Failed", "it is no better than 0.5")
    assert "it is no better than 0.5. Nothing was deployed." in outcome(replace(RUN, steps=(condition, failed))).reason


def test_a_stopped_execution_is_told_and_a_registered_model_gets_its_lineage_and_is_left_to_its_own_event() -> None:
    stopped = outcome(replace(RUN, status="Stopped", steps=(step("Prepare", "ProcessingJob", "Stopped"),)))
    assert isinstance(stopped, Notify)
    assert "was stopped before there was a model" in stopped.reason
    registered = step("Register-RegisterModel", "RegisterModel")
    trees = builders.training_job(hyperparameters={"max_depth": "6"}, billable_seconds=360)
    network = builders.training_job(hyperparameters={"epochs": "9", "sagemaker_program": "x"}, billable_seconds=720)
    done = outcome(replace(RUN, status="Succeeded", steps=(registered,)), None, trees, network)
    assert isinstance(done, RecordLineage)
    assert "the event of that decides" in done.reason
    assert service_model.validate("sagemaker", "UpdateModelPackage", done.update) == []
    for given, removed in (
        ({}, ["compared_with", "hosting"]),
        ({"LiveModelUri": "s3://b/code/abc/source/requirements.txt", "Hosting": "none"}, ["compared_with", "hosting"]),
        ({"LiveModelUri": "s3://b/x/model.tar.gz", "Hosting": "kind=serverless"}, []),
    ):
        run = replace(RUN, status="Succeeded", steps=(registered,), parameters={**RUN.parameters, **given})
        lineage = outcome(run)
        assert isinstance(lineage, RecordLineage)
        assert lineage.update["CustomerMetadataPropertiesToRemove"] == removed
    assert done.update["CustomerMetadataProperties"] == {
        "instance": "1 x ml.m5.xlarge spot",
        "training_usd": "0.0690",  # 1,080 s of an hour at 0.23
        "hp_max_depth": "6",
        "hp_epochs": "9",
    }
    assert done.update["CustomerMetadataPropertiesToRemove"] == ["compared_with", "hosting"]  # there was none of both


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, pipeline="other-xgboost"),
        replace(RUN, parameters={}),
        replace(RUN, status="Executing"),
    ],
)
def test_others_executions_and_those_that_still_run_are_left_alone(run: PipelineRun) -> None:
    assert isinstance(outcome(run), Skip)
