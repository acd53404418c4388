"""AWS's own samples become facts, and what is not understood says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import builders
from builders import sample_event
from mlplatform import events
from mlplatform.errors import BadEvent
from mlplatform.facts import Approval, DatasetArrived, EndpointChanged, JobStatus, TrainingEnded, TuningEnded


def test_the_samples_of_the_documentation_are_understood() -> None:
    assert events.dataset_arrived(sample_event("s3_object_created")) == DatasetArrived(
        "amzn-s3-demo-bucket1", "example-key", "b1946ac92492d2347c6235b4d2611184", 5
    )
    assert events.training_ended(sample_event("sagemaker_training_job_state_change")) == TrainingEnded(
        "89c96cc8-dded-4739-afcc-6f1dc936701d", JobStatus.COMPLETED
    )
    assert events.endpoint_changed(sample_event("sagemaker_endpoint_state_change")) == EndpointChanged(
        "MyEndpoint", "InService"
    )
    [(message_id, body)] = events.sqs_messages(sample_event("sqs_message"))
    assert message_id == "059f36b4-87a3-44ab-83d2-661975830a7d"
    assert events.dataset_arrived_message(body).key == "example-key"


@pytest.mark.parametrize("key", ["datasets/a/a+b.csv", "datasets/a/50%25off.csv", "datasets/a/my data.csv"])
def test_a_key_is_taken_as_it_is(key: str) -> None:
    event = sample_event("s3_object_created")
    event["detail"]["object"]["key"] = key
    assert events.dataset_arrived(event).key == key


@pytest.mark.parametrize(
    ("spelled", "status"),
    [
        ("IN_SERVICE", "InService"),
        ("InService", "InService"),
        ("UPDATING", "Updating"),
        ("ROLLING_BACK", "RollingBack"),
        ("UPDATE_ROLLBACK_FAILED", "UpdateRollbackFailed"),
        ("OUT_OF_SERVICE", "OutOfService"),
        ("FAILED", "Failed"),
    ],
)
def test_an_endpoints_status_is_spelled_as_in_the_api_afterwards(spelled: str, status: str) -> None:
    event = sample_event("sagemaker_endpoint_state_change")
    event["detail"]["EndpointStatus"] = spelled
    assert events.endpoint_changed(event).status == status


@pytest.mark.parametrize("time", [1592411994287, 1592411994287.0, "1592411994287", "2018-10-06T12:26:13Z", None])
def test_a_time_in_any_of_its_spellings_does_no_harm(time: Any) -> None:
    for name in ("sagemaker_training_job_state_change", "sagemaker_endpoint_state_change"):
        event = sample_event(name)
        event["time"] = event["detail"]["CreationTime"] = event["detail"]["LastModifiedTime"] = time
        read = events.training_ended if "training" in name else events.endpoint_changed
        assert read(event)


@pytest.mark.parametrize(
    ("key", "size", "dataset", "prefix", "marker"),
    [
        ("datasets/churn/data.csv", 5, "churn", "datasets/churn/", False),
        ("datasets/churn/", 0, "churn", "datasets/churn/", True),
        ("datasets/", 0, "", "datasets/", True),
        ("datasets/data.csv", 5, "data.csv", "datasets/data.csv", False),
        ("datasets/a/b/c.csv", 5, "a", "datasets/a/", False),
        ("datasets/a//c.csv", 5, "a", "datasets/a/", False),
        ("datasets/empty.csv/", 5, "empty.csv", "datasets/empty.csv/", False),
    ],
)
def test_a_key_says_which_dataset_it_belongs_to(key: str, size: int, dataset: str, prefix: str, marker: bool) -> None:
    one = builders.arrived(key, size=size)
    assert (one.dataset, one.prefix, one.marker) == (dataset, prefix, marker)


@pytest.mark.parametrize("changed", [{"source": "aws.ec2"}, {"detail-type": "Object Deleted"}, {"detail": "{}"}])
def test_an_event_of_another_kind_is_a_bad_event(changed: dict[str, Any]) -> None:
    with pytest.raises(BadEvent):
        events.dataset_arrived(sample_event("s3_object_created") | changed)


@pytest.mark.parametrize("body", ["", "not json", "[]", '"text"', json.dumps({"Event": "s3:TestEvent"})])
def test_a_message_that_is_no_event_is_a_bad_event(body: str) -> None:
    with pytest.raises(BadEvent):
        events.dataset_arrived_message(body)


def test_an_unknown_status_is_a_bad_event() -> None:
    event = sample_event("sagemaker_training_job_state_change")
    event["detail"]["TrainingJobStatus"] = "Sleeping"
    with pytest.raises(BadEvent, match="Sleeping"):
        events.training_ended(event)


def test_a_tuning_job_is_told_apart_from_its_trials_and_named() -> None:
    event = builders.sample_event("sagemaker_tuning_job_state_change")
    assert events.is_tuning(event)
    assert events.tuning_ended(event) == TuningEnded("016bffd3-6d71-4d3a-9710-0a332b2759fc", "status")
    trial = builders.sample_event("sagemaker_training_job_state_change")
    assert not events.is_tuning(trial)
    with pytest.raises(BadEvent, match="Tuning Job State Change"):
        events.tuning_ended(trial)


@pytest.mark.parametrize(
    ("detail", "new", "fields", "stamp"),
    [
        ({}, False, None, "20210224170014"),
        ({"LastModifiedTime": None}, True, None, "new-20210220090000"),
        ({"LastModifiedTime": "1764339000123", "CreationTime": "1764339000123"}, True, None, "new-1764339000123"),
        ({"LastModifiedTime": "1764339000123", "UpdatedModelPackageFields": ["ApprovalDescription"]}, False,
         ("ApprovalDescription",), "1764339000123"),
    ],
)  # fmt: skip
def test_a_package_event_says_which_change_of_the_package_it_is_about(
    detail: dict[str, Any], new: bool, fields: tuple[str, ...] | None, stamp: str
) -> None:
    event = sample_event("sagemaker_model_package_state_change")
    event["detail"] |= {"CreationTime": "2021-02-20T09:00:00Z", **detail}
    changed = events.package_changed(event)
    assert (changed.version, changed.approval) == (2, Approval.REJECTED)
    assert (changed.new, changed.fields, changed.stamp) == (new, fields, stamp)


def test_a_package_status_that_nobody_knows_is_a_bad_event() -> None:
    event = sample_event("sagemaker_model_package_state_change")
    event["detail"]["ModelApprovalStatus"] = "Maybe"
    with pytest.raises(BadEvent, match="Maybe"):
        events.package_changed(event)


def test_a_schedules_moment_is_in_utc() -> None:
    assert events.scheduled_time({"scheduled_time": "2026-11-24T08:30:00+01:00"}) == datetime(
        2026, 11, 24, 7, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("event", [{}, {"scheduled_time": "soon"}, {"scheduled_time": "2026-11-24T07:30:00"}])
def test_a_scheduled_function_without_its_moment_is_told_what_to_give(event: dict[str, str]) -> None:
    """Not the machine's time in its place: on a laptop the account's may be another."""
    with pytest.raises(BadEvent, match="such as 2026-11-24T07:30:00Z"):
        events.scheduled_time(event)
