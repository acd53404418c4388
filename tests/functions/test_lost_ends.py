"""What ended and whose event was lost is dealt with by the clock, as its event would have been. On moto."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from trained_account import ARTIFACTS, end, train

import builders
from builders import JOB, NOON, Account
from deploy_model import find_lost_ends
from mlplatform.decisions import Decision, DeployModel, Notify, RecordLineage, Skip
from mlplatform.errors import AwsError, TryAgain

ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012"
EXECUTION = f"{ARN}:pipeline/ml-platform-xgboost/execution/abcdefghij12"
PACKAGE = f"{ARN}:model-package/ml-platform-churn/1"


def nothing_ended(account: Account) -> None:
    account.answers |= {"search": {"Results": []}, "list_pipeline_executions": {"PipelineExecutionSummaries": []}}


def search_finds(account: Account, ended: datetime, *names: str, status: str = "Completed", **tags: str) -> None:
    """Training jobs of the stack, last changed at a moment, as Search filters them."""
    all_tags = {"ml-platform:stack": "ml-platform", "ml-platform:dataset": "churn", **tags}

    def search(parameters: Mapping[str, Any]) -> dict[str, Any]:
        bounds = {one["Operator"]: one["Value"] for one in parameters["SearchExpression"]["Filters"]}
        since, until = (datetime.fromisoformat(bounds[f"{one}ThanOrEqualTo"] + "Z") for one in ("Greater", "Less"))
        if parameters["Resource"] != "TrainingJob" or not since <= ended <= until:
            return {"Results": []}
        written = [{"Key": key, "Value": value} for key, value in all_tags.items()]
        return {
            "Results": [
                {"TrainingJob": {"TrainingJobName": name, "TrainingJobStatus": status, "Tags": written}}
                for name in names
            ]
        }

    nothing_ended(account)
    account.answers["search"] = search


def swept(account: Account, now: datetime = NOON) -> list[Decision]:
    return find_lost_ends(account.app(), now)


@pytest.mark.parametrize(
    ("ago", "found"),
    [
        (timedelta(minutes=5), False),  # its event may be on its way
        (timedelta(minutes=30), True),
        (timedelta(hours=23), True),
        (timedelta(hours=25), False),
    ],
)
def test_a_training_whose_event_was_lost_is_deployed_once(account: Account, ago: timedelta, found: bool) -> None:
    train(account)
    search_finds(account, NOON - ago, JOB, **{"ml-platform:version": builders.VERSION})
    assert [type(one) for one in swept(account)] == [DeployModel if found else Skip]
    account.calls.clear()
    assert swept(account) == [Skip("Every job that ended was dealt with.")]
    assert account.called("describe_training_job") == []  # asked for no more than its outcome


def test_a_training_whose_event_came_needs_nothing(account: Account) -> None:
    train(account)
    end(account)
    search_finds(account, NOON - timedelta(hours=1), JOB, **{"ml-platform:version": builders.VERSION})
    assert swept(account) == [Skip("Every job that ended was dealt with.")]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (f"{JOB}", {"status": "InProgress"}),
        ("ml-platform-churn-t0123456789a-001-abcdef12", {}),  # a trial
        ("ml-platform-xgboost-abcdefghij12-TrainXgboost", {}),  # a step of a pipeline
        (JOB, {"ml-platform:stack": "other"}),
    ],
)
def test_what_runs_or_is_a_part_of_something_else_is_left_alone(
    account: Account, name: str, changed: dict[str, str]
) -> None:
    search_finds(account, NOON - timedelta(hours=1), name, **{"ml-platform:version": builders.VERSION, **changed})
    assert swept(account) == [Skip("Every job that ended was dealt with.")]


def test_an_execution_is_dealt_with_once(account: Account) -> None:
    nothing_ended(account)
    summary = {
        "PipelineExecutionArn": EXECUTION,
        "PipelineExecutionStatus": "Succeeded",
        "PipelineExecutionDisplayName": JOB,
    }

    def listed(parameters: Mapping[str, Any]) -> dict[str, Any]:
        if parameters["PipelineName"] == "ml-platform-auto":
            raise AwsError("sagemaker", "ListPipelineExecutions", "ResourceNotFound", "Pipeline does not exist.")
        ours = parameters["PipelineName"] == "ml-platform-xgboost"
        return {"PipelineExecutionSummaries": [summary] if ours else []}

    account.answers |= {
        "list_pipeline_executions": listed,
        "describe_pipeline_execution": {
            "PipelineArn": f"{ARN}:pipeline/ml-platform-xgboost",
            "PipelineExecutionDisplayName": JOB,
            "PipelineExecutionStatus": "Succeeded",
            "CreationTime": NOON,
        },
        "list_pipeline_execution_steps": {
            "PipelineExecutionSteps": [
                {"StepName": "Register", "StepStatus": "Succeeded", "Metadata": {"RegisterModel": {"Arn": PACKAGE}}}
            ]
        },
        "list_pipeline_parameters_for_execution": {
            "PipelineParameters": [{"Name": "Dataset", "Value": "churn"}, {"Name": "ModelName", "Value": JOB}]
        },
        "update_model_package": {},
    }
    assert [type(one) for one in swept(account)] == [RecordLineage]
    assert account.document(f"models/churn/{JOB}/lineage.json", ARTIFACTS) is not None
    assert [type(one) for one in swept(account)] == [Skip]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(TryAgain("The endpoint is being deleted."), Skip), (AwsError("sagemaker", "X", "Throttling", "slower"), Notify)],
)
def test_what_fails_is_told_once_and_keeps_nothing_else_waiting(
    account: Account, error: Exception, kind: type[Decision]
) -> None:
    train(account)
    described = account.answers["describe_training_job"]
    other = JOB.replace(builders.VERSION, "abcdefabcdef")

    def describe(parameters: Mapping[str, Any]) -> Any:
        if parameters["TrainingJobName"] == other:
            raise error
        return described(parameters)

    search_finds(account, NOON - timedelta(hours=1), other, JOB, **{"ml-platform:version": "abcdefabcdef"})
    account.answers["describe_training_job"] = describe
    [first] = swept(account)
    assert isinstance(first, kind)
    assert str(error) in first.reason
    [again] = swept(account)
    assert isinstance(again, Skip)
