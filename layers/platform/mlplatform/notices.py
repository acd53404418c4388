"""What people are told: one Notice, from a decision or from whatever reaches the alerts topic, in e-mail and in Slack.

Messages come to the topic from this platform, from CloudWatch alarms and from Lambda's failure destinations. Each is
turned into the same short form; what is not recognised is passed on whole, because an alert that is dropped is worse
than one that is ugly.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlplatform.decisions import (
    ConfigureAutoscaling,
    Decision,
    DeployModel,
    KeepLiveModel,
    Notify,
    RejectDataset,
    Request,
)
from mlplatform.errors import BadEvent

# "Subject: must be ASCII text ... less than 100 characters long", Publish, Amazon SNS API reference.
SUBJECT_LIMIT = 99
# A message and its attributes may have 256 KiB in all (same page); it carries the text twice, in JSON's escapes.
TEXT_LIMIT = 15_000
# Slack's reference for blocks: 50 blocks, 150 characters in a header, 3,000 in a section.
_BLOCK_LIMIT = 50
_HEADER_LIMIT = 150
_SECTION_LIMIT = 3_000

_SECRETS = (
    (re.compile(r"(https?://[^\s/]*/(?:services|workflows|triggers))/[^\s\"'<>]+"), r"\1/(hidden)"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "(hidden access key)"),
    (re.compile(r"(?i)\b(X-Amz-(?:Signature|Credential|Security-Token))=[^\s&\"']+"), r"\1=(hidden)"),
    (
        re.compile(r"(?i)\b(aws_secret_access_key|aws_session_token|secretaccesskey|password)(\W{1,4})[^\s\"',}]+"),
        r"\1\2(hidden)",
    ),
)


class Severity(StrEnum):
    """How much a notice wants to be read."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True)
class Notice:
    """One message to people. Whatever it is made of, its subject fits SNS and it holds no known form of secret."""

    subject: str
    text: str
    severity: Severity

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", _subject(_without_secrets(self.subject)))
        object.__setattr__(self, "text", _shortened(_without_secrets(_encodable(self.text)), TEXT_LIMIT))


def for_decision(decision: Decision, *, stack: str, environment: str) -> Notice | None:
    """What people are told about a decision; None where it is nobody's business but the log's."""
    where = f"{stack} ({environment})"
    match decision:
        case RejectDataset():
            text = f"{decision.reason}\n\nDataset {decision.dataset}, version {decision.version}, in {where}."
            return Notice(f"{stack}: dataset {decision.dataset} was rejected", text, Severity.WARNING)
        case DeployModel():
            text = f"{decision.reason}\n\nTraining job {decision.job_name}, in {where}."
            return Notice(f"{stack}: new model for {decision.dataset}", text, Severity.INFO)
        case KeepLiveModel():
            text = f"{decision.reason}\n\nTraining job {decision.job_name}, in {where}."
            return Notice(f"{stack}: {decision.dataset} keeps its model", text, Severity.INFO)
        case Notify():
            return Notice(decision.subject, f"{decision.reason}\n\nIn {where}.", Severity.WARNING)
        case ConfigureAutoscaling():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {decision.endpoint_name} is in service", text, Severity.INFO)
        case _:
            return None


def publish_request(notice: Notice, topic_arn: str) -> Request:
    """Parameters of SNS Publish: plain text for e-mail, and the notice itself for the function that posts to Slack."""
    itself = {"notice": 1, "subject": notice.subject, "text": notice.text, "severity": notice.severity.value}
    return {
        "TopicArn": topic_arn,
        "Subject": notice.subject,
        "MessageStructure": "json",
        "Message": json.dumps(
            {"default": notice.text, "lambda": json.dumps(itself, ensure_ascii=False)}, ensure_ascii=False
        ),
        "MessageAttributes": {"severity": {"DataType": "String", "StringValue": notice.severity.value}},
    }


def from_sns(record: Mapping[str, Any]) -> Notice:
    """The notice in one record of an event that SNS sent to Lambda. Raises BadEvent if it is no such record.

    Shapes: "Process event notifications from Lambda with Amazon SNS" and "Capturing records of Lambda asynchronous
    invocations" (Lambda developer guide), "Notifying users on alarm changes" (CloudWatch user guide).
    """
    sns = record.get("Sns")
    if not isinstance(sns, Mapping) or not isinstance(sns.get("Message"), str):
        raise BadEvent(f"Expected a record of SNS with Sns.Message; got the keys {sorted(record)}.")
    message = sns["Message"]
    content = _json_object(message)
    subject = str(sns.get("Subject") or "")  # Subject is null or absent where the publisher gave none
    if content.get("notice") == 1:
        return _own(content)
    if "AlarmName" in content and "NewStateValue" in content:
        return _alarm(content)
    context = content.get("requestContext")
    if isinstance(context, Mapping) and "functionArn" in context:
        return _function_outcome(content, context)
    topic = str(sns.get("TopicArn", "")).rsplit(":", 1)[-1]
    text = json.dumps(content, indent=2, ensure_ascii=False) if content else message
    return Notice(subject or f"Message on {topic or 'the alerts topic'}", text, Severity.WARNING)


def slack_blocks(notice: Notice) -> list[dict[str, Any]]:
    """The notice as Slack blocks. Plain text throughout: names with underscores stay as they are, nobody is @-ed."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(_shortened(notice.subject, _HEADER_LIMIT))}]
    for start in range(0, len(notice.text), _SECTION_LIMIT):
        part = notice.text[start : start + _SECTION_LIMIT]
        if part.strip():  # Slack refuses a section without text
            blocks.append({"type": "section", "text": _plain(part)})
    return [*blocks[: _BLOCK_LIMIT - 1], {"type": "context", "elements": [_plain(notice.severity.value)]}]


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _own(content: Mapping[str, Any]) -> Notice:
    try:
        return Notice(str(content["subject"]), str(content["text"]), Severity(content["severity"]))
    except (KeyError, ValueError) as error:
        raise BadEvent(f"A notice of this platform needs subject, text and a known severity: {error}.") from error


def _alarm(content: Mapping[str, Any]) -> Notice:
    state = str(content["NewStateValue"])
    severity = {"ALARM": Severity.CRITICAL, "OK": Severity.INFO}.get(state, Severity.WARNING)
    said = [
        str(content.get("AlarmDescription") or ""),  # null where the alarm has none
        str(content.get("NewStateReason") or ""),
        f"Was {content.get('OldStateValue', 'unknown')}, in {content.get('Region', 'an unnamed region')}.",
    ]
    return Notice(f"{state}: {content['AlarmName']}", "\n\n".join(filter(None, said)), severity)


def _function_outcome(content: Mapping[str, Any], context: Mapping[str, Any]) -> Notice:
    """A record of a failure destination. The event that failed is left out: it may be long, and its log has it."""
    function = str(context["functionArn"]).split(":function:")[-1].split(":")[0]
    condition = str(context.get("condition", "unknown"))
    if condition == "Success":
        return Notice(f"{function} succeeded", f"Request {context.get('requestId')} succeeded.", Severity.INFO)
    answer = content.get("responsePayload")
    failed = answer if isinstance(answer, Mapping) else {}  # null when the event expired before it was tried
    kind, message = failed.get("errorType"), failed.get("errorMessage")
    what = ": ".join(str(part) for part in (kind, message) if part) or "No error was recorded."
    times = context.get("approximateInvokeCount", "an unknown number of")
    text = (
        f"{what}\n\n{condition} after {times} attempts. Request {context.get('requestId', 'unknown')}; its log is in "
        f"/aws/lambda/{function}."
    )
    return Notice(f"{function} failed", text, Severity.CRITICAL)


def _json_object(message: str) -> Mapping[str, Any]:
    try:
        content = json.loads(message)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _subject(text: str) -> str:
    """As SNS wants it: ASCII on one line, letters without their accents."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
    return _shortened(line, SUBJECT_LIMIT) or "Notice"


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which JSON may hold and no request can."""
    return text.encode("utf-8", "replace").decode()


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
