"""What is in the account and region beside the platform's own, and who made it: a part of Aws (aws.py).

Pages of what exists and one list of tags, never a call for each thing; of CloudTrail, one for each time at which
something without tags was made, and one for all buckets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mlplatform.aws_calls import Calls, pages, tagged_resources
from mlplatform.errors import AwsError
from mlplatform.facts import Maker, Makers, Other, OtherKind
from mlplatform.untagged import maker

# "The rate of lookup requests is limited to two per second, per account, per Region", and to the last 90 days
# (LookupEvents, CloudTrail API reference). Others in the account ask as well.
_LOOKUP_PAUSE_SECONDS = 0.6
_MOST_LOOKUPS = 20
_MOST_PAGES = 4  # of one lookup, 50 events each
_REMEMBERED = timedelta(days=90)
_AROUND = timedelta(minutes=5)  # when an event is dated and when its resource says that it was made are not the same
# The call that makes each kind, and the member of its request that names it, as CloudTrail spells it ("Log Amazon
# SageMaker AI API calls with CloudTrail", SageMaker developer guide; "CloudTrail events", S3 user guide). Looked up by
# the call's name: nothing says that resources of SageMaker are found by theirs.
_MADE_BY: dict[OtherKind, tuple[str, str]] = {
    "endpoint": ("CreateEndpoint", "endpointName"),
    "notebook-instance": ("CreateNotebookInstance", "notebookInstanceName"),
    "training-job": ("CreateTrainingJob", "trainingJobName"),
    "processing-job": ("CreateProcessingJob", "processingJobName"),
    "transform-job": ("CreateTransformJob", "transformJobName"),
    "bucket": ("CreateBucket", "bucketName"),
}
_Lookup = tuple[str, datetime, datetime]  # operation, from, to
# What is no fault of ours: a policy above the role, or others who ask CloudTrail as often as it answers.
_REFUSED = (
    "AccessDeniedException",
    "OperationNotPermittedException",
    "UnsupportedOperationException",
    "ThrottlingException",
)


def _lookup(one: Other, now: datetime) -> _Lookup:
    """When a thing may have been made. A bucket's CreationDate "can change when making changes to your bucket" (Bucket,
    S3 API reference), so that its creation is looked for as far back as CloudTrail goes. By the operation all the same:
    of a bucket's name there are events without number, and few buckets are made.
    """
    operation, _ = _MADE_BY[one.kind]
    if one.kind == "bucket":
        return operation, now - _REMEMBERED, now
    return operation, one.created - _AROUND, one.created + _AROUND


class OtherCalls(Calls):
    """Mixed into Aws."""

    def others(self) -> tuple[Other, ...]:
        """Endpoints, buckets, and notebooks and jobs that run, with their tags. Raises AwsError."""
        tags = tagged_resources(self._call, ["sagemaker", "s3"])
        return tuple(
            Other(kind, name, arn, created.astimezone(UTC), tags.get(arn, {}))
            for kind, name, arn, created in (*self._running(), *self._buckets())
        )

    def makers(self, others: Iterable[Other], now: datetime) -> Makers:
        """Who made each of the first of them, as far as CloudTrail tells. Raises AwsError but for a refusal."""
        found: dict[str, Maker] = {}
        told: dict[_Lookup, Mapping[str, Maker]] = {}  # by the name of what was made
        asked = 0
        for one in others:
            if now - one.created > _REMEMBERED:
                continue  # nothing is remembered of it any more
            wanted = _lookup(one, now)
            if wanted not in told:
                if asked == _MOST_LOOKUPS:
                    return Makers(found, f"CloudTrail is asked {_MOST_LOOKUPS} times a day.")
                try:
                    told[wanted], pages_read = self._made(wanted, asked, one)
                except AwsError as error:
                    if error.code not in _REFUSED:
                        raise
                    return Makers(found, f"Who made it can't be told: CloudTrail refuses to say ({error.code}).")
                asked += pages_read
            if one.name in told[wanted]:
                found[one.arn] = told[wanted][one.name]
        return Makers(found)

    def _made(self, wanted: _Lookup, asked: int, one: Other) -> tuple[Mapping[str, Maker], int]:
        """Who made what in that time, and how many pages were read, which are events of 50 at most, newest first."""
        (operation, start, end), member = wanted, _MADE_BY[one.kind][1]
        found: dict[str, Maker] = {}
        token: dict[str, str] = {}
        pages_read = 0
        while pages_read < min(_MOST_PAGES, _MOST_LOOKUPS - asked):
            if asked or pages_read:
                self._sleep(_LOOKUP_PAUSE_SECONDS)
            page = self._call(
                "cloudtrail",
                "lookup_events",
                LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": operation}],
                StartTime=start,
                EndTime=end,
                **token,
            )
            pages_read += 1
            for event in page.get("Events", []):
                record: dict[str, Any] = json.loads(event["CloudTrailEvent"])
                name = (record.get("requestParameters") or {}).get(member)
                if "errorCode" not in record and name is not None:
                    found.setdefault(name, maker(record))
            if one.name in found or not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        return found, pages_read

    def _running(self) -> Iterator[tuple[OtherKind, str, str, datetime]]:
        """Kind, name, ARN and time of creation. An endpoint costs money in nearly every state."""
        for one in pages(self._call, "Endpoints", "sagemaker", "list_endpoints"):
            yield "endpoint", one["EndpointName"], one["EndpointArn"], one["CreationTime"]
        notebooks = pages(
            self._call, "NotebookInstances", "sagemaker", "list_notebook_instances", StatusEquals="InService"
        )
        for one in notebooks:
            yield "notebook-instance", one["NotebookInstanceName"], one["NotebookInstanceArn"], one["CreationTime"]
        status = {"StatusEquals": "InProgress"}
        for one in pages(self._call, "TrainingJobSummaries", "sagemaker", "list_training_jobs", **status):
            yield "training-job", one["TrainingJobName"], one["TrainingJobArn"], one["CreationTime"]
        for one in pages(self._call, "ProcessingJobSummaries", "sagemaker", "list_processing_jobs", **status):
            yield "processing-job", one["ProcessingJobName"], one["ProcessingJobArn"], one["CreationTime"]
        for one in pages(self._call, "TransformJobSummaries", "sagemaker", "list_transform_jobs", **status):
            yield "transform-job", one["TransformJobName"], one["TransformJobArn"], one["CreationTime"]

    def _buckets(self) -> Iterator[tuple[OtherKind, str, str, datetime]]:
        """Those of the region, whose tags and events are here too (ListBuckets, S3 API reference)."""
        region = self._settings.aws_region
        partition = self._settings.alerts_topic_arn.split(":")[1]
        token: dict[str, str] = {}
        while True:
            page = self._call("s3", "list_buckets", BucketRegion=region, **token)
            for one in page.get("Buckets", []):
                yield "bucket", one["Name"], f"arn:{partition}:s3:::{one['Name']}", one["CreationDate"]
            if not page.get("ContinuationToken"):
                return
            token = {"ContinuationToken": page["ContinuationToken"]}
