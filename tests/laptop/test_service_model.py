"""What the service model refuses, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from laptop.service_model import summary, validate

JOB: dict[str, Any] = {
    "TrainingJobName": "ml-platform-iris-0123456789ab",
    "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
    "RoleArn": "arn:aws:iam::123456789012:role/training",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/output/"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    "HyperParameters": {"epochs": "20"},
}


def problems(**changes: Any) -> list[str]:
    return validate("sagemaker", "CreateTrainingJob", {**JOB, **changes})


def test_a_request_as_the_model_wants_it_has_no_errors() -> None:
    assert problems() == []


def test_a_missing_required_member_is_named() -> None:
    request = {name: value for name, value in JOB.items() if name != "RoleArn"}
    assert validate("sagemaker", "CreateTrainingJob", request) == [
        "Value null at 'roleArn' failed to satisfy constraint: Member must not be null"
    ]


def test_a_pattern_must_match_the_whole_value() -> None:
    assert problems(TrainingJobName="ends-in-dash-") == [
        "Value 'ends-in-dash-' at 'trainingJobName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    ]


def test_a_line_break_at_the_end_does_not_slip_through_a_pattern() -> None:
    assert len(problems(TrainingJobName="job\n")) == 1


def test_an_instance_type_that_cannot_train_is_refused_with_those_that_can() -> None:
    (problem,) = problems(ResourceConfig={**JOB["ResourceConfig"], "InstanceType": "ml.t2.medium"})
    assert problem.startswith(
        "Value 'ml.t2.medium' at 'resourceConfig.instanceType' failed to satisfy constraint: "
        "Member must satisfy enum value set: [ml.m4.xlarge, "
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 0}},
            "Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            {"RoleArn": "arn"},
            "Value 'arn' at 'roleArn' failed to satisfy constraint: "
            "Member must have length greater than or equal to 20",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": "60"}},
            "Value '60' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: "
            "Member must be a whole number",
        ),
        (
            {"EnableManagedSpotTraining": "yes"},
            "Value 'yes' at 'enableManagedSpotTraining' failed to satisfy constraint: Member must be true or false",
        ),
        ({"Spot": True}, "Unknown parameter 'spot'"),
    ],
)
def test_ranges_types_and_unknown_members_are_checked(changes: dict[str, Any], message: str) -> None:
    assert message in problems(**changes)


def test_list_members_are_counted_from_one_in_the_path() -> None:
    (problem,) = problems(Tags=[{"Key": "owner", "Value": "a"}, {"Key": "b" * 129, "Value": "x"}])
    assert "at 'tags.2.member.key'" in problem
    assert problem.endswith("Member must have length less than or equal to 128")


def test_patterns_in_java_syntax_are_understood() -> None:
    # \p{L} is unknown to Python's own regular expressions.
    tag = {"Key": "Eigentümer", "Value": "Zoë <b>"}
    (problem,) = problems(Tags=[tag])
    assert "at 'tags.1.member.value'" in problem


def test_ranges_beyond_the_basic_plane_are_understood_as_java_means_them() -> None:
    request = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/\U0001f600/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    assert validate("application-autoscaling", "RegisterScalableTarget", request) == []


def test_the_summary_counts_the_errors_as_aws_does() -> None:
    assert summary(["a"]) == "1 validation error detected: a"
    assert summary(["a", "b"]) == "2 validation errors detected: a; b"
