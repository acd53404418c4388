"""Which events reach which function: the samples of events/, with this stack's names put in, against the rules."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from template.template import ROOT, resources

from laptop.events import matches

# Read wherever people send them, but no rule of the stack's: its anomalies and alarms come by the topic already.
READ_ONLY = {"cost_anomaly_event", "alarm_event"}
RULES = {name: rule["EventPattern"] for name, rule in resources("AWS::Events::Rule").items()}
SAMPLES = {
    path.stem: sample
    for path in sorted((ROOT / "events").glob("*.json"))
    if "detail-type" in (sample := json.loads(path.read_text()))
}


def taken(event: dict[str, Any]) -> list[str]:
    return [name for name, pattern in RULES.items() if matches(pattern, event)]


def ours(sample: dict[str, Any], **detail: Any) -> dict[str, Any]:
    """The sample, about this stack's bucket, job or endpoint instead of the documentation's."""
    event = copy.deepcopy(sample)
    if event["source"] == "aws.health":
        event["detail"]["service"] = "SAGEMAKER"
    if "bucket" in event["detail"]:
        event["detail"]["bucket"]["name"] = "databucket-name"
        event["detail"]["object"]["key"] = "datasets/flowers/iris.csv"
    for name in ("TrainingJobName", "EndpointName", "HyperParameterTuningJobName", "ModelPackageGroupName"):
        if name in event["detail"]:
            event["detail"][name] = "shop-flowers"
    if "pipelineArn" in event["detail"]:
        event["detail"]["pipelineArn"] = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/shop-xgboost"
    if "HyperParameterTuningJobStatus" in event["detail"]:  # the documentation's sample has "status" there
        event["detail"]["HyperParameterTuningJobStatus"] = "Completed"
    event["detail"] |= detail
    return event


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - READ_ONLY))
def test_each_sample_event_matches_exactly_one_rule(name: str) -> None:
    assert len(taken(ours(SAMPLES[name]))) == 1


@pytest.mark.parametrize("name", sorted(READ_ONLY))
def test_what_the_topic_tells_already_is_not_told_twice(name: str) -> None:
    assert taken(SAMPLES[name]) == []


@pytest.mark.parametrize(
    ("service", "rules"),
    [("SAGEMAKER", ["HealthRule"]), ("S3", ["HealthRule"]), ("LAMBDA", ["HealthRule"]), ("EC2", [])],
)
def test_aws_health_is_heard_about_the_services_that_the_stack_stands_on(service: str, rules: list[str]) -> None:
    assert taken(ours(SAMPLES["health_event"], service=service)) == rules


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_what_happens_to_others_in_the_account_matches_no_rule(name: str) -> None:
    assert taken(SAMPLES[name]) == []


def drop(key: str, bucket: str = "databucket-name") -> dict[str, Any]:
    event = ours(SAMPLES["s3_object_created"])
    event["detail"]["object"]["key"] = key
    event["detail"]["bucket"]["name"] = bucket
    return event


@pytest.mark.parametrize(
    ("key", "rules"),
    [
        ("datasets/flowers/iris.csv", ["DatasetDroppedRule"]),
        ("datasets/flowers/job.json", ["DatasetDroppedRule"]),
        ("datasets/flowers/50%25 off + tax.csv", ["DatasetDroppedRule"]),
        ("verdicts/flowers/0123456789ab.json", []),  # the platform's own writing: it would answer itself
        ("other/flowers/iris.csv", []),
        ("datasets-old/iris.csv", []),
    ],
)
def test_only_what_lies_under_datasets_is_a_drop(key: str, rules: list[str]) -> None:
    assert taken(drop(key)) == rules


def test_the_artifact_bucket_starts_nothing() -> None:
    assert taken(drop("datasets/flowers/iris.csv", bucket="artifactbucket-name")) == []


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        ("Completed", ["TrainingEndedRule"]),
        ("Failed", ["TrainingEndedRule"]),
        ("Stopped", ["TrainingEndedRule"]),
        ("InProgress", []),
        ("Stopping", []),
    ],
)
def test_a_job_is_judged_when_it_has_ended_however_it_did(status: str, rules: list[str]) -> None:
    sample = SAMPLES["sagemaker_training_job_state_change"]
    assert taken(ours(sample, TrainingJobStatus=status)) == rules


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        ("Completed", ["TuningEndedRule"]),
        ("Failed", ["TuningEndedRule"]),
        ("Stopped", ["TuningEndedRule"]),
        ("InProgress", []),
        ("Stopping", []),
    ],
)
def test_a_tuning_is_judged_when_it_has_ended_however_it_did(status: str, rules: list[str]) -> None:
    sample = SAMPLES["sagemaker_tuning_job_state_change"]
    assert taken(ours(sample, HyperParameterTuningJobStatus=status)) == rules


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        ("IN_SERVICE", ["EndpointChangedRule"]),
        ("FAILED", ["EndpointChangedRule"]),
        ("OUT_OF_SERVICE", ["EndpointChangedRule"]),
        ("UPDATE_ROLLBACK_FAILED", ["EndpointChangedRule"]),
        ("CREATING", []),
        ("UPDATING", []),
        ("DELETING", []),
    ],
)
def test_an_endpoint_is_looked_at_when_it_has_settled(status: str, rules: list[str]) -> None:
    assert taken(ours(SAMPLES["sagemaker_endpoint_state_change"], EndpointStatus=status)) == rules


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        ("Succeeded", ["PipelineEndedRule"]),
        ("Failed", ["PipelineEndedRule"]),
        ("Stopped", ["PipelineEndedRule"]),
        ("Executing", []),
        ("Stopping", []),
    ],
)
def test_an_execution_of_a_pipeline_is_judged_when_it_has_ended(status: str, rules: list[str]) -> None:
    sample = SAMPLES["sagemaker_pipeline_execution_status_change"]
    assert taken(ours(sample, currentPipelineExecutionStatus=status)) == rules


def test_a_stack_whose_name_only_begins_alike_is_another_stack() -> None:
    job = SAMPLES["sagemaker_training_job_state_change"]
    assert taken(ours(job, TrainingJobName="shopping-flowers")) == []
