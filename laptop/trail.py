"""CloudTrail's event history: LookupEvents over the API calls that the laptop really got.

API reference, "LookupEvents"; user guide, "CloudTrail record contents" and "CloudTrail userIdentity element". As in AWS
there are management events only: no calls about objects, messages, metrics' and logs' data, nor invocations ("Logging
data events", same guide). A write is kept for 90 days of the account's clock, and so are the newest reads.

Who called: a role's session, an IAM user by its access key, and for any other key the administrator. What the laptop's
services call of each other is told as AWS's own, also where a service such as CloudFormation acts in its caller's name.
**Not here:** Insights events, trails, the delay of some minutes, and Resources, which AWS fills in for some services.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from laptop import service_model
from laptop.account import ACCOUNT_ID, REGION, SERVICE_KEY, Account
from laptop.aws_request import Call
from laptop.errors import ServiceError

KEPT = timedelta(days=90)
KEPT_WRITES, KEPT_READS = 50_000, 2_000
PAGE = 50
LOOKUPS_A_SECOND = 2
ADMINISTRATOR = "administrator"  # the user behind every key that is nobody else's
_READS = ("Get", "List", "Describe", "Lookup", "Search", "Head", "BatchGet", "Filter")
_OF_DATA = frozenset({"sagemaker-runtime", "sagemaker-metrics", "xray"})
_DATA_OPERATIONS = {
    # Of S3, what is about objects; the rest is about buckets.
    "s3": ("Object", "MultipartUpload", "UploadPart", "ListParts"),
    "lambda": ("Invoke",),
    "sqs": ("Message",),
    "sns": ("Publish",),
    "logs": ("PutLogEvents", "GetLogEvents", "FilterLogEvents", "GetQueryResults", "StartQuery"),
    "cloudwatch": ("PutMetricData", "GetMetricData", "GetMetricStatistics"),
}
_SOURCES = {
    "cloudwatch": "monitoring",
    "application-autoscaling": "autoscaling",
    "resourcegroupstaggingapi": "tagging",
    "service-quotas": "servicequotas",
}


@dataclass(frozen=True)
class Event:
    """One call, as LookupEvents tells it."""

    at: datetime
    record: Mapping[str, Any]  # CloudTrailEvent, before it becomes a text
    username: str

    @property
    def attributes(self) -> dict[str, str]:
        """By the names of LookupAttributes."""
        return {
            "EventId": self.record["eventID"],
            "EventName": self.record["eventName"],
            "EventSource": self.record["eventSource"],
            "ReadOnly": str(self.record["readOnly"]).lower(),
            "Username": self.username,
            "AccessKeyId": self.record["userIdentity"].get("accessKeyId", ""),
        }

    def told(self) -> dict[str, Any]:
        found = {key: value for key, value in self.attributes.items() if value}
        return {**found, "EventTime": self.at, "Resources": [], "CloudTrailEvent": json.dumps(self.record)}


class Trail:
    """Remembers calls as the server gets them; safe to use from any thread."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._writes: deque[Event] = deque(maxlen=KEPT_WRITES)
        self._reads: deque[Event] = deque(maxlen=KEPT_READS)
        self._lookups: deque[float] = deque(maxlen=LOOKUPS_A_SECOND)

    def saw(self, call: Call, answer: Mapping[str, Any] | None, error: ServiceError | None) -> None:
        """One call; `answer` is its result where the laptop itself made it."""
        if call.service in _OF_DATA or any(part in call.operation for part in _DATA_OPERATIONS.get(call.service, ())):
            return
        now = self._account.clock.now()
        read_only = call.operation.startswith(_READS)
        identity, username = self._identity(call.access_key)
        record: dict[str, Any] = {
            "eventVersion": "1.11",
            "userIdentity": identity,
            "eventTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": f"{_SOURCES.get(call.service, call.service)}.amazonaws.com",
            "eventName": call.operation,
            "awsRegion": REGION,
            "sourceIPAddress": "AWS Internal" if call.access_key == SERVICE_KEY else "127.0.0.1",
            "userAgent": "laptop",
            "requestParameters": _request_parameters(call),
            "responseElements": None if read_only or answer is None else _response_elements(call, answer),
            "requestID": str(uuid.uuid4()),
            "eventID": str(uuid.uuid4()),
            "readOnly": read_only,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": ACCOUNT_ID,
            "eventCategory": "Management",
        }
        if error is not None:
            record |= {"errorCode": error.code, "errorMessage": error.message}
        with self._lock:
            (self._reads if read_only else self._writes).append(Event(now, record, username))

    def lookup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html"""
        attributes = request.get("LookupAttributes", [])
        if len(attributes) > 1:
            raise ServiceError("InvalidLookupAttributesException", "One lookup attribute at most.")
        now = self._account.clock.now()
        start, end = request.get("StartTime", now - KEPT), request.get("EndTime", now)
        if start > end:
            raise ServiceError("InvalidTimeRangeException", "The start time is after the end time.")
        self._hold_back()
        wanted = [(one["AttributeKey"], one["AttributeValue"]) for one in attributes]
        with self._lock:
            events = [*self._reads, *self._writes]
        found = sorted(
            (
                one
                for one in events
                if max(start, now - KEPT) <= one.at <= end
                and all(one.attributes.get(key) == value for key, value in wanted)
            ),
            key=lambda one: one.at,
            reverse=True,
        )
        begin = 0
        if token := request.get("NextToken"):
            places = [place for place, one in enumerate(found) if one.record["eventID"] == token]
            if not places:
                raise ServiceError("InvalidNextTokenException", "The token is not of this lookup.")
            begin = places[0]
        size = int(request.get("MaxResults", PAGE))
        page = found[begin : begin + size]
        more = {"NextToken": found[begin + size].record["eventID"]} if len(found) > begin + size else {}
        return {"Events": [one.told() for one in page], **more}

    def _hold_back(self) -> None:
        with self._lock:
            if len(self._lookups) == LOOKUPS_A_SECOND and time.monotonic() - self._lookups[0] < 1:
                raise ServiceError("ThrottlingException", "Rate exceeded")
            self._lookups.append(time.monotonic())

    def _identity(self, access_key: str) -> tuple[dict[str, Any], str]:
        """userIdentity, and what LookupEvents calls the user: of a role's session, the session's name."""
        if access_key == SERVICE_KEY:
            return {"type": "AWSService", "invokedBy": "AWS Internal"}, ""
        session = self._account.identities.session(access_key)
        if session is None:
            user = _user(access_key) or ADMINISTRATOR
            return {
                "type": "IAMUser",
                "principalId": f"AIDA{user.upper()}",
                "arn": f"arn:aws:iam::{ACCOUNT_ID}:user/{user}",
                "accountId": ACCOUNT_ID,
                "accessKeyId": access_key,
                "userName": user,
            }, user
        role, _, name = session.arn.partition(":assumed-role/")[2].partition("/")
        return {
            "type": "AssumedRole",
            "principalId": f"AROA{role.upper()}:{name}",
            "arn": session.arn,
            "accountId": ACCOUNT_ID,
            "accessKeyId": access_key,
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": f"AROA{role.upper()}",
                    "arn": session.role_arn,
                    "accountId": ACCOUNT_ID,
                    "userName": role,
                },
                "attributes": {"mfaAuthenticated": "false"},
            },
        }, name


def _user(access_key: str) -> str | None:
    """The IAM user that has the access key."""
    from moto.iam.models import iam_backends

    for user in iam_backends[ACCOUNT_ID]["aws"].users.values():
        if any(key.access_key_id == access_key for key in user.access_keys):
            return str(user.name)
    return None


def _spelled(shape: Any, value: Any) -> Any:
    """As CloudTrail spells a value of the API: members with a small letter first. Content is left out, and what the
    service model calls sensitive is hidden."""
    if shape is not None and shape.metadata.get("sensitive"):
        return "HIDDEN_DUE_TO_SECURITY_REASONS"
    if isinstance(value, Mapping):
        members = getattr(shape, "members", None)
        found = {
            _small(name) if members else name: _spelled(members.get(name) if members else None, member)
            for name, member in value.items()
        }
        return {name: member for name, member in found.items() if member is not None}
    if isinstance(value, list | tuple):
        return [_spelled(getattr(shape, "member", None), member) for member in value]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return value if isinstance(value, str | int | float | bool) else None


def _request_parameters(call: Call) -> dict[str, Any] | None:
    shape = service_model.model(call.service).operation_model(call.operation).input_shape
    found: dict[str, Any] = _spelled(shape, call.params)
    if call.service == "s3" and "bucket" in found:
        found["bucketName"] = found.pop("bucket")
    return found or None


def _response_elements(call: Call, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    shape = service_model.model(call.service).operation_model(call.operation).output_shape
    return _spelled(shape, answer) or None


def _small(name: str) -> str:
    return name[:1].lower() + name[1:]


def install(account: Account) -> None:
    """Listens to all calls, and answers LookupEvents."""
    trail = Trail(account)
    account.listeners.append(trail.saw)
    account.operations["cloudtrail"] = {"LookupEvents": trail.lookup}
