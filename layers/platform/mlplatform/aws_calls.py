"""The calls themselves: what aws.py and the parts of it in aws_*.py are made of.

botocore without boto3's layer on top: it makes the same calls and is imported in half the time. Clients are made on
first use. Every refusal becomes an AwsError with the operation and the code.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from mlplatform.decisions import ChangeInPlace, Decision, Notify, RetireStandIn, Skip, StartMove
from mlplatform.errors import AwsError
from mlplatform.settings import Settings

Call = Callable[..., dict[str, Any]]  # (service, operation, **parameters); raises AwsError

# What an older SDK of Lambda's runtime may not know yet, in the form by which botocore adds to its service models
# (botocore/loaders.py, "sdk-extras"). An unknown member is an error in a request, and left out of an answer.
SDK_EXTRAS = Path(__file__).with_name("sdk_extras")


class Calls:
    """One account and region, as one function's role sees them: calls, and what people are told."""

    def __init__(self, settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._date: str | None = None

    def now(self) -> datetime:
        """The time by AWS's clock, as its last answer told it: where the account's time was moved, so was that.

        For after a call. Functions that a schedule starts take the time from their event (events.scheduled_time).
        """
        return parsedate_to_datetime(self._date) if self._date else datetime.now(UTC)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            if self._session is None:
                self._session = botocore.session.get_session()
                self._session.get_component("data_loader").search_paths.append(str(SDK_EXTRAS))
            config = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=65)
            self._clients[service] = self._session.create_client(
                service, region_name=self._settings.aws_region, config=config
            )
        return self._clients[service]

    def _call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One API call, the operation spelled as in Python. Raises AwsError."""
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**parameters)
            self._date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return answer
        except (ClientError, BotoCoreError) as error:
            raise as_aws_error(service, operation, error) from error

    def _unless(self, expected: Callable[[AwsError], bool], service: str, operation: str, **parameters: Any) -> bool:
        """Makes the call; False if AWS refused it for the expected reason, which is then no error."""
        try:
            self._call(service, operation, **parameters)
        except AwsError as error:
            if expected(error):
                return False
            raise
        return True

    def _found(self, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """A description, or None where there is no such thing."""
        try:
            return self._call(service, operation, **parameters)
        except AwsError as error:
            if is_missing(error):
                return None
            raise

    def _pages(self, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The answers of a list operation that goes on with NextToken. Raises AwsError."""
        token: dict[str, str] = {}
        while True:
            page = self._call(service, operation, **parameters, **token)
            yield page
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def _tags(self, arn: str) -> dict[str, str]:
        pages = self._pages("sagemaker", "list_tags", ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page.get("Tags", [])}

    def _object_exists(self, bucket: str, key: str) -> bool:
        """Asks for a listing: an absent object is a 403 to HeadObject without the right to list the bucket (S3 API
        reference), and a right that is limited to a prefix does not count there: that request has no prefix.
        """
        page = self._call("s3", "list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in page.get("Contents", []))

    def _put(self, bucket: str, key: str, content: bytes, content_type: str = "application/json") -> None:
        self._call("s3", "put_object", Bucket=bucket, Key=key, Body=content, ContentType=content_type)

    def _put_once(self, bucket: str, key: str, document: Mapping[str, Any]) -> bool:
        """Writes the object unless there is one; says whether it did (PutObject, S3 API reference: If-None-Match)."""
        return self._unless(
            lambda error: error.code in {"PreconditionFailed", "ConditionalRequestConflict"},
            "s3",
            "put_object",
            Bucket=bucket,
            Key=key,
            Body=json.dumps(document, indent=2, ensure_ascii=False).encode(),
            ContentType="application/json",
            IfNoneMatch="*",
        )

    def _announce(self, decision: Decision) -> None:
        from mlplatform import notices  # a function that tells nobody anything need not know how it is put

        notice = notices.for_decision(decision, stack=self._settings.stack_name, environment=self._settings.environment)
        if notice is not None:
            self._call("sns", "publish", **notices.publish_request(notice, self._settings.alerts_topic_arn))

    def _notify(self, decision: Notify) -> Decision:
        told = self._tell_once(decision)
        return decision if told else Skip(f"People were told already: {decision.reason}")

    def _tell_once(self, decision: Notify | ChangeInPlace | StartMove | RetireStandIn) -> bool:
        """Tells people, unless what the decision remembers that by is there; whether it did.

        What changes something is told before its first change: after the last, no event would bring it here again.
        """
        bucket = self._settings.artifact_bucket
        if decision.once and self._object_exists(bucket, decision.once):
            return False
        self._announce(decision)
        if decision.once:
            document = {"decision": type(decision).__name__, "reason": decision.reason}
            self._put_once(bucket, decision.once, document)
        return True


def as_aws_error(service: str, operation: str, error: ClientError | BotoCoreError) -> AwsError:
    """What botocore raised, with the code that AWS refused the call with, or why there was no answer."""
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        return AwsError(
            service, error.operation_name, str(details.get("Code", "Unknown")), str(details.get("Message", ""))
        )
    return AwsError(service, operation, type(error).__name__, str(error))


def tagged_resources(
    call: Call, kinds: Iterable[str], tagged: Mapping[str, str | None] | None = None
) -> dict[str, dict[str, str]]:
    """ARN -> tags of the resources of these types, or of all, that have, or had, any tag; or all that are in `tagged`,
    with its value or, where that is None, with any.

    A hundred a call (GetResources, Resource Groups Tagging API reference). The list may lag behind what there is.
    """
    filters: dict[str, Any] = {"ResourceTypeFilters": list(kinds)} if kinds else {}
    if tagged:
        filters["TagFilters"] = [
            {"Key": key} if value is None else {"Key": key, "Values": [value]} for key, value in tagged.items()
        ]
    found: dict[str, dict[str, str]] = {}
    token: dict[str, str] = {}
    while True:
        page = call(
            "resourcegroupstaggingapi",
            "get_resources",
            **filters,
            ResourcesPerPage=100,
            **token,
        )
        for one in page.get("ResourceTagMappingList", []):
            found[one["ResourceARN"]] = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        if not page.get("PaginationToken"):
            return found
        token = {"PaginationToken": page["PaginationToken"]}


def pages(call: Call, member: str, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """What all the answers of an operation that answers by pages have under `member`. Raises AwsError."""
    token: dict[str, str] = {}
    while True:
        page = call(service, operation, **parameters, **token)
        yield from page.get(member, [])
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def is_invalid(error: AwsError) -> bool:
    return error.code in {"ValidationException", "ValidationError"}


def is_missing(error: AwsError) -> bool:
    """SageMaker has no code of its own for this: ValidationException, "Could not find ..."; S3 and scaling have."""
    if error.code in {
        "404",
        "NoSuchKey",
        "NotFound",
        "ObjectNotFoundException",
        "ResourceNotFound",
        "ParameterNotFound",
    }:
        return True
    text = error.aws_message.lower()
    return is_invalid(error) and ("could not find" in text or "not found" in text or "does not exist" in text)


def is_there(error: AwsError) -> bool:
    """ResourceInUse for jobs; ValidationException, "Cannot create already existing ...", for the rest."""
    return error.code == "ResourceInUse" or "already exist" in error.aws_message.lower()


def is_in_progress(error: AwsError) -> bool:
    """ "Cannot update in-progress endpoint ..." """
    return is_invalid(error) and "in-progress" in error.aws_message.lower()


def is_under_way(error: AwsError) -> bool:
    """ "Cannot delete inference component ... while it is in state CREATE_IN_PROGRESS", or UPDATE_RC_IN_PROGRESS while
    the number of its copies changes, as it was seen on AWS in July 2026."""
    text = error.aws_message.lower()
    return is_invalid(error) and "while it is in state" in text and "in_progress" in text
