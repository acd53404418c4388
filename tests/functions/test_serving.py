"""What the command line says that an endpoint serves. On moto."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from deployed_endpoint import ENDPOINT, AccountsConnection, deploy

import builders
from builders import JOB, LIVE_JOB, Account
from cli import hosting, hours, logs, pipeline, status
from cli.connection import CommandError, Connection
from mlplatform import names
from mlplatform.facts import CHALLENGER, HostingKind
from mlplatform.kinds import kind_tag


@pytest.fixture
def connection(account: Account) -> Connection:
    return AccountsConnection(account)


def trained(account: Account) -> None:
    """The job that the model came of."""
    account.client("sagemaker").create_training_job(
        TrainingJobName=JOB,
        AlgorithmSpecification={"TrainingImage": builders.IMAGE, "TrainingInputMode": "File"},
        RoleArn=account.settings.training_role_arn,
        OutputDataConfig={"S3OutputPath": "s3://ml-platform-artifacts/training-output"},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 3600},
    )


def serve(account: Account, config: str, *variants: dict[str, Any]) -> None:
    """The endpoint with another config."""
    trained(account)
    sagemaker = account.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=ENDPOINT)
    sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=list(variants))
    tags = names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn")
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=config, Tags=names.tag_list(tags))


def variant(name: str, model: str, count: int) -> dict[str, Any]:
    return {"VariantName": name, "ModelName": model, "InstanceType": "ml.c5.large", "InitialInstanceCount": count}


def test_during_an_ab_test_the_live_model_is_shown_and_not_the_name_of_the_config(
    account: Account, connection: Connection
) -> None:
    deploy(account)
    config = names.ab_config(ENDPOINT, JOB, LIVE_JOB)
    serve(account, config, variant(names.VARIANT, JOB, 2), variant(CHALLENGER, LIVE_JOB, 1))
    account.client("application-autoscaling").register_scalable_target(
        **names.scalable_target(ENDPOINT), MinCapacity=1, MaxCapacity=4
    )
    [row] = status.rows(connection, "churn")
    assert (row.model, row.endpoint, row.instances) == (JOB, "InService", "2+1 of 1..4")
    assert hosting.find(connection, "churn").model == JOB
    assert [one["DesiredInstanceCount"] for one in hours.find(connection, "churn").variants] == [2, 1]


@pytest.mark.parametrize("begun", [True, False])
def test_a_move_to_another_kind_does_not_end_an_ab_test_without_a_word(
    account: Account, connection: Connection, *, begun: bool
) -> None:
    deploy(account, tags=names.challenger_tag(LIVE_JOB, 2, 0.1, "2026-11-27T12:00:00+00:00"))
    if begun:
        config = names.ab_config(ENDPOINT, JOB, LIVE_JOB)
        serve(account, config, variant(names.VARIANT, JOB, 1), variant(CHALLENGER, LIVE_JOB, 1))
    serving = hosting.find(connection, "churn")
    with pytest.raises(CommandError, match="mlp ab churn --drop, or mlp ab churn --promote"):
        hosting.move(connection, serving, HostingKind.ASYNCHRONOUS, {}, connection.settings)
    assert names.LOOK_TAG not in hosting.find(connection, "churn").tags


def test_a_serverless_endpoint_is_shown_with_its_model_and_its_size(account: Account, connection: Connection) -> None:
    deploy(account)
    size = {"MemorySizeInMB": 4096, "MaxConcurrency": 7}
    serve(account, f"{JOB}--s123", {"VariantName": names.VARIANT, "ModelName": JOB, "ServerlessConfig": size})
    [row] = status.rows(connection, "churn")
    assert (row.model, row.instances) == (JOB, "serverless, 4 GB x 7")
    found = hosting.find(connection, "churn")
    assert (found.model, found.kind) == (JOB, HostingKind.SERVERLESS)


def test_what_has_no_hours_is_shown_none_and_is_not_kept_on(
    account: Account, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(account, tags=kind_tag(HostingKind.SERVERLESS))
    context: Any = SimpleNamespace(obj=connection)
    hours.hours(context, "churn")
    hours.snooze(context, "churn", hours=2)
    said = f"{ENDPOINT} is serverless and costs nothing while nobody asks, so that it has no hours"
    assert capsys.readouterr().out == f"{said}\n{said}; nothing was changed\n"
    assert names.KEEP_ON_TAG not in hours.find(connection, "churn").hosted.tags


def test_the_overview_says_why_a_drop_that_was_accepted_has_no_endpoint(
    account: Account, connection: Connection
) -> None:
    trained(account)
    s3, verdict = account.client("s3"), {"verdict": "accepted", "reason": "Good to train on.", "job_name": JOB}
    outcome = {"decision": "Notify", "reason": f"{JOB} failed: line 52 has text in the numeric column a."}
    artifacts = connection.outputs["ArtifactBucketName"]
    s3.put_object(Bucket=connection.data_bucket, Key="datasets/churn/a.csv", Body=b"1")
    s3.put_object(
        Bucket=connection.data_bucket, Key=names.verdict_key("churn", "0123456789ab"), Body=json.dumps(verdict)
    )
    s3.put_object(Bucket=artifacts, Key=names.outcome_key("churn", JOB), Body=json.dumps(outcome))
    [row] = status.rows(connection)
    assert (row.verdict, row.endpoint, row.outcome) == ("accepted", "none", outcome["reason"])


def test_a_name_that_nobody_knows_is_an_error(
    connection: Connection, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "executions", lambda _connection: [])  # moto has none of the stack's pipelines
    context: Any = SimpleNamespace(obj=connection)
    with pytest.raises(CommandError, match="Nothing is known of nosuch; mlp status lists"):
        status.status(context, "nosuch")


def test_a_kind_of_hosting_that_there_is_not_is_refused_by_name() -> None:
    assert hosting.kind_called("Serverless") is HostingKind.SERVERLESS
    with pytest.raises(
        CommandError,
        match="bogus is no kind of hosting; there are real-time, serverless, scale-to-zero, asynchronous",
    ):
        hosting.kind_called("bogus")


def test_logs_of_a_dataset_that_logged_nothing_are_told_from_those_of_a_name_that_nobody_knows(
    account: Account, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    account.client("s3").put_object(Bucket=connection.data_bucket, Key="datasets/churn/a.csv", Body=b"1")
    context: Any = SimpleNamespace(obj=connection)
    logs.logs(context, "churn", minutes=5)
    assert "No log lines in the last 5 minutes" in capsys.readouterr().out
    with pytest.raises(CommandError, match="Nothing is known of nosuch"):
        logs.logs(context, "nosuch", minutes=5)
