"""CloudFormation's custom resource protocol: a request comes as an event, the answer goes to a presigned address.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlplatform.errors import BadEvent, PlatformError
from mlplatform.records import dataclass

_REASON_LIMIT = 1000  # characters; the whole answer may have 4096 bytes
_ATTEMPTS = 4


@dataclass(frozen=True)
class Request:
    """What CloudFormation asks for, and what the answer has to repeat."""

    kind: str  # "Create", "Update" or "Delete"
    answer_url: str
    stack_id: str
    request_id: str
    logical_id: str


@dataclass(frozen=True)
class Answer:
    """What CloudFormation is told. The physical id must stay the same, or CloudFormation deletes the old one."""

    physical_id: str
    succeeded: bool
    reason: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def request(event: Mapping[str, Any]) -> Request:
    """Raises BadEvent when a documented part is missing."""
    try:
        return Request(
            kind=event["RequestType"],
            answer_url=event["ResponseURL"],
            stack_id=event["StackId"],
            request_id=event["RequestId"],
            logical_id=event["LogicalResourceId"],
        )
    except KeyError as missing:
        raise BadEvent(f"A custom resource request without {missing}: nobody can be answered.") from missing


def physical_id(request: Request) -> str:
    """One per resource for good: a changed one would make CloudFormation delete the old one after an update."""
    return f"{request.stack_id.split('/')[1]}-{request.logical_id}"


def send(request: Request, answer: Answer, *, pause_seconds: float = 1.0) -> None:
    """Puts the answer where CloudFormation waits for it, with a few attempts.

    Raises PlatformError when none gets through; Lambda then delivers the request again.
    """
    body = json.dumps(
        {
            "Status": "SUCCESS" if answer.succeeded else "FAILED",
            "Reason": answer.reason[:_REASON_LIMIT],
            "PhysicalResourceId": answer.physical_id,
            "StackId": request.stack_id,
            "RequestId": request.request_id,
            "LogicalResourceId": request.logical_id,
            "Data": dict(answer.attributes),
        }
    ).encode()
    for attempt in range(1, _ATTEMPTS + 1):
        # The address is signed for an empty content type; urllib would send a form's otherwise.
        put = urllib.request.Request(  # noqa: S310 - the address comes from CloudFormation
            request.answer_url, data=body, method="PUT", headers={"Content-Type": ""}
        )
        try:
            with urllib.request.urlopen(put, timeout=5):  # noqa: S310
                return
        except OSError as failure:  # URLError and HTTPError among them
            if attempt == _ATTEMPTS:
                raise PlatformError(f"CloudFormation could not be answered: {failure}") from failure
            time.sleep(pause_seconds * attempt)
