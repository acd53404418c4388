"""AWS's events become facts. The only module that knows how events spell things; samples lie in events/.

Sources: "EventBridge event message structure" (Amazon S3 user guide), "Events that Amazon SageMaker AI sends to
Amazon EventBridge" (SageMaker developer guide), "Using Lambda with Amazon SQS" (Lambda developer guide).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mlplatform.errors import BadEvent
from mlplatform.facts import (
    AbTestAsked,
    Approval,
    DatasetArrived,
    EndpointChanged,
    JobStatus,
    PackageChanged,
    PipelineAsked,
    PipelineEnded,
    TrainingEnded,
    TuningEnded,
)

Event = Mapping[str, Any]

ON_ITS_WAY = timedelta(minutes=10)  # up to so late, what an event should have brought about may still come of it
_PACKAGE_CHANGE = "SageMaker Model Package State Change"
PIPELINE_EXECUTION_CHANGE = "SageMaker Model Building Pipeline Execution Status Change"
_DEPLOYMENT_CHANGE = "SageMaker Endpoint Deployment State Change"
_TUNING_CHANGE = "SageMaker HyperParameter Tuning Job State Change"
# Events shout (IN_SERVICE) where the API has InService; some sources already write the API's form.
_ENDPOINT_STATUSES = {
    status.lower(): status
    for status in [
        "InService",
        "Creating",
        "Updating",
        "SystemUpdating",
        "RollingBack",
        "Deleting",
        "Failed",
        "OutOfService",
        "UpdateRollbackFailed",
    ]
}


def sqs_messages(event: Event) -> Iterator[tuple[str, str]]:
    """The (message id, body) pairs of an SQS batch. Raises BadEvent if there are no records."""
    records = event.get("Records")
    if not isinstance(records, list):
        raise BadEvent(f"Expected an SQS batch with Records; got the keys {sorted(event)}.")
    for record in records:
        yield str(record["messageId"]), str(record["body"])


def dataset_arrived(event: Event) -> DatasetArrived:
    """From S3's "Object Created" as EventBridge delivers it: the key is not URL-encoded there, so `a+b` is `a+b`."""
    detail = _detail(event, "aws.s3", "Object Created")
    stored = _member(detail, "object", dict)
    return DatasetArrived(
        bucket=_member(_member(detail, "bucket", dict), "name", str),
        key=_member(stored, "key", str),
        etag=str(stored.get("etag", "")).strip('"'),
        size_bytes=int(stored.get("size", 0)),
    )


def dataset_arrived_message(body: str) -> DatasetArrived:
    """The same event as the body of an SQS message. Raises BadEvent."""
    try:
        event = json.loads(body)
    except ValueError as error:
        raise BadEvent(f"The message is not JSON: {error}. It starts with {body[:60]!r}.") from error
    if not isinstance(event, dict):
        raise BadEvent(f"The message is not an event: {body[:60]!r}.")
    return dataset_arrived(event)


def training_ended(event: Event) -> TrainingEnded:
    """The status is only what the event says; the job has to be described. Raises BadEvent."""
    detail = _detail(event, "aws.sagemaker", "SageMaker Training Job State Change")
    status = _member(detail, "TrainingJobStatus", str)
    if status not in set(JobStatus):
        raise BadEvent(f"Unknown TrainingJobStatus {status!r}; expected one of {', '.join(JobStatus)}.")
    return TrainingEnded(job_name=_member(detail, "TrainingJobName", str), status=JobStatus(status))


def pipeline_asked(event: Event) -> PipelineAsked | None:
    """From `mlp pipeline start`: `{"start_pipeline": {"dataset": ..., "parameters": {...}, "stamp": ...}}`.

    None for any other event. Raises BadEvent.
    """
    asked = event.get("start_pipeline")
    if asked is None:
        return None
    if not isinstance(asked, dict):
        raise BadEvent(f"The event's 'start_pipeline' is {asked!r}; expected an object.")
    return PipelineAsked(
        dataset=_member(asked, "dataset", str),
        parameters=_member(asked, "parameters", dict),
        stamp=_member(asked, "stamp", str),
    )


def is_pipeline_end(event: Event) -> bool:
    return event.get("detail-type") == PIPELINE_EXECUTION_CHANGE


def pipeline_ended(event: Event) -> PipelineEnded:
    """In lower camel case, unlike the events of jobs. The status is only what the event says. Raises BadEvent."""
    detail = _detail(event, "aws.sagemaker", PIPELINE_EXECUTION_CHANGE)
    return PipelineEnded(
        execution_arn=_member(detail, "pipelineExecutionArn", str),
        status=_member(detail, "currentPipelineExecutionStatus", str),
    )


def tuning_ended(event: Event) -> TuningEnded:
    """The status is only what the event says; the tuning job has to be described. Raises BadEvent."""
    detail = _detail(event, "aws.sagemaker", _TUNING_CHANGE)
    return TuningEnded(
        tuning_name=_member(detail, "HyperParameterTuningJobName", str),
        status=_member(detail, "HyperParameterTuningJobStatus", str),
    )


def is_tuning(event: Event) -> bool:
    """Whether the event is a tuning job's, for a function that hears of both kinds of jobs."""
    return event.get("detail-type") == _TUNING_CHANGE


def endpoint_changed(event: Event) -> EndpointChanged:
    """The status is only what the event says; the endpoint has to be described. Raises BadEvent."""
    kind = _DEPLOYMENT_CHANGE if is_deployment_change(event) else "SageMaker Endpoint State Change"
    detail = _detail(event, "aws.sagemaker", kind)
    spelled = _member(detail, "EndpointStatus", str)
    status = _ENDPOINT_STATUSES.get(spelled.replace("_", "").lower())
    if status is None:
        raise BadEvent(f"Unknown EndpointStatus {spelled!r}.")
    return EndpointChanged(endpoint_name=_member(detail, "EndpointName", str), status=status)


def is_deployment_change(event: Event) -> bool:
    """Whether the event tells of a step of an endpoint's update."""
    return event.get("detail-type") == _DEPLOYMENT_CHANGE


def ab_test_asked(event: Event) -> AbTestAsked:
    """What `mlp ab` asks compare-models for. Raises BadEvent."""
    action, weight = event.get("action"), event.get("weight", 0)
    if action not in ("start", "weigh", "drop"):
        raise BadEvent(f"Unknown action {action!r}; expected start, weigh or drop.")
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise BadEvent(f"The event's 'weight' is {weight!r}; expected a number.")
    package = _member(event, "package", str) if action == "start" else ""
    return AbTestAsked(_member(event, "dataset", str), action, package, float(weight))


def is_package_change(event: Event) -> bool:
    return event.get("detail-type") == _PACKAGE_CHANGE


def package_changed(event: Event) -> PackageChanged:
    """From the event of a numbered package. The approval is only what the event says; the package has to be described.

    AWS's sample of an update has a LastModifiedTime and does not say what was changed; events of
    today name it in UpdatedModelPackageFields, also where a package that is Approved gets other metadata. Raises
    BadEvent.
    """
    detail = _detail(event, "aws.sagemaker", _PACKAGE_CHANGE)
    status = _member(detail, "ModelApprovalStatus", str)
    if status not in set(Approval):
        raise BadEvent(f"Unknown ModelApprovalStatus {status!r}; expected one of {', '.join(Approval)}.")
    fields, modified = detail.get("UpdatedModelPackageFields"), detail.get("LastModifiedTime")
    new = fields is None and modified in (None, detail.get("CreationTime"))
    return PackageChanged(
        arn=_member(detail, "ModelPackageArn", str),
        group=_member(detail, "ModelPackageGroupName", str),
        version=_member(detail, "ModelPackageVersion", int),
        approval=Approval(status),
        new=new,
        fields=tuple(map(str, fields)) if isinstance(fields, list) else None,
        stamp=f"new-{_digits(detail.get('CreationTime'))}" if new else _digits(modified),
    )


def _digits(moment: Any) -> str:
    """Of a time however it is spelled: it only has to be the same in every copy of an event."""
    return re.sub(r"\D", "", str(moment))


def _detail(event: Event, source: str, detail_type: str) -> dict[str, Any]:
    found = (event.get("source"), event.get("detail-type"))
    if found != (source, detail_type):
        raise BadEvent(f"Expected the event {detail_type!r} of {source!r}; got {found[1]!r} of {found[0]!r}.")
    return _member(event, "detail", dict)  # type: ignore[no-any-return]


def _member(holder: Mapping[str, Any], name: str, kind: type) -> Any:
    value = holder.get(name)
    if not isinstance(value, kind):
        raise BadEvent(f"The event's {name!r} is {value!r}; expected {kind.__name__}.")
    return value


def scheduled_time(event: Event) -> datetime:
    """The moment for which EventBridge Scheduler fired: the template makes it the input, `{"scheduled_time": ...}`.

    Whoever invokes the function by hand gives it too. Raises BadEvent for what is no moment with a zone.
    "Adding context attributes" (EventBridge Scheduler user guide): `<aws.scheduler.scheduled-time>` is ISO 8601, UTC.
    """
    text = event.get("scheduled_time")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise BadEvent(f"Expected scheduled_time such as 2026-11-24T07:30:00Z; got {text!r}.") from error
    if moment.tzinfo is None:
        raise BadEvent(f"Expected scheduled_time with a zone, such as 2026-11-24T07:30:00Z; got {text!r}.")
    return moment.astimezone(UTC)
