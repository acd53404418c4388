"""What people are told: one Notice, from a decision or from whatever reaches the alerts topic, in e-mail and in Slack.

Messages come to the topic from this platform and from AWS: budgets, cost anomalies, alarms, AWS Health, functions that
failed (topic_messages.py). Each is turned into the same short form; what is not recognised is passed on whole and
marked, because an alert that is dropped is worse than one that is ugly.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from mlplatform import names, registry, topic_messages
from mlplatform.decisions import (
    AskApproval,
    CardPage,
    ChangeInPlace,
    ConfigureAutoscaling,
    Decision,
    DeployModel,
    EndAbTest,
    EndEndpoint,
    HoldDataset,
    HoldLaunches,
    KeepLiveModel,
    LiftHold,
    Notify,
    RejectDataset,
    ReportCosts,
    Request,
    RestoreEndpoint,
    RetireStandIn,
    ShareTraffic,
    StartAbTest,
    StartMove,
    StopTuning,
    WarnOfEnd,
)
from mlplatform.errors import BadEvent
from mlplatform.records import dataclass

# "Subject: must be ASCII text ... less than 100 characters long", Publish, Amazon SNS API reference.
SUBJECT_LIMIT = 99
# A message and its attributes may have 256 KiB in all (same page); it carries the text twice, in JSON's escapes.
TEXT_LIMIT = 15_000
NOT_UNDERSTOOD = "Nobody taught the platform this kind of message; here it is whole."
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
    blocks: tuple[Mapping[str, Any], ...] = ()  # for Slack, where the text alone would say it less well
    failed_function: str = ""  # that it tells of; empty where it tells of something else

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(_blocks_without_secrets(block) for block in self.blocks))
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
            parts = [decision.reason, "\n".join(decision.difference), f"Model {decision.job_name}, in {where}."]
            if decision.exists or decision.parked:
                parts.append(f"To go back to the model before it: mlp rollback {decision.dataset}")
            text = "\n\n".join(filter(None, parts)) + _card(decision.page)
            return Notice(f"{stack}: new model for {decision.dataset}", text, Severity.INFO)
        case AskApproval():
            return _ask(decision, stack, where)
        case KeepLiveModel():
            text = f"{decision.reason}\n\nTraining job {decision.job_name}, in {where}.{_card(decision.page)}"
            return Notice(f"{stack}: {decision.dataset} keeps its model", text, Severity.INFO)
        case Notify():
            severity = Severity.INFO if decision.routine else Severity.WARNING
            return Notice(decision.subject, f"{decision.reason}\n\nIn {where}.", severity)
        case ConfigureAutoscaling():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {decision.endpoint_name} is in service", text, Severity.INFO)
        case StartMove():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {decision.endpoint_name} moves", text, Severity.INFO)
        case ChangeInPlace() | RetireStandIn():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {names.bare(decision.endpoint_name)} has moved", text, Severity.INFO)
        case StartAbTest():
            text = f"{decision.reason}\n\nModel {decision.job_name}, in {where}."
            return Notice(f"{stack}: an A/B test of {decision.dataset} begins", text, Severity.INFO)
        case ShareTraffic():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: the A/B test of {decision.endpoint_name}", text, Severity.INFO)
        case EndAbTest():
            severity = Severity.INFO if decision.good else Severity.WARNING
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: the A/B test of {decision.endpoint_name} ends", text, severity)
        case ReportCosts():
            return Notice(decision.subject, decision.text, Severity.INFO, decision.blocks)
        case RestoreEndpoint():
            severity = Severity.INFO if decision.good else Severity.WARNING
            return Notice(f"{stack}: {decision.endpoint_name} is back", f"{decision.reason}\n\nIn {where}.", severity)
        case StopTuning():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: a tuning is stopped at its ceiling", text, Severity.WARNING)
        case HoldLaunches():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: a spending ceiling is reached", text, Severity.CRITICAL)
        case LiftHold():
            return Notice(f"{stack}: launches are allowed again", f"{decision.reason}\n\nIn {where}.", Severity.INFO)
        case WarnOfEnd():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {decision.endpoint_name} will end", text, Severity.WARNING)
        case EndEndpoint():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: {decision.endpoint_name} is ended", text, Severity.WARNING)
        case HoldDataset():
            text = f"{decision.reason}\n\nIn {where}."
            return Notice(f"{stack}: dataset {decision.dataset} has to wait", text, Severity.WARNING)
        case _:
            return None


def _ask(decision: AskApproval, stack: str, where: str) -> Notice:
    """What is decided, what it changes, and the commands: a section each, so that the commands can be copied."""
    name = registry.spoken(decision.package, stack) if decision.package else decision.dataset
    update = f"aws sagemaker update-model-package --model-package-arn {decision.package} --model-approval-status"
    commands = [
        ("Approve, and it goes live", f"mlp approve {name} --reason TEXT"),
        ("Reject", f"mlp reject {name} --reason TEXT"),
        ("Go back, once it is live", f"mlp rollback {decision.dataset}"),
        ("Without mlp", f"{update} Approved, or {update} Rejected"),
    ]
    parts = [
        decision.reason,
        "\n".join(decision.difference),
        "\n".join(f"{what}: {command}" for what, command in commands),
        f"Model {decision.job_name}, in {where}.{_card(decision.page)}",
    ]
    subject = f"{stack}: a model for {decision.dataset} waits for approval"
    sections = [{"type": "section", "text": _plain(_shortened(part, _SECTION_LIMIT))} for part in parts if part]
    header = {"type": "header", "text": _plain(_shortened(subject, _HEADER_LIMIT))}
    return Notice(subject, "\n\n".join(filter(None, parts)), Severity.WARNING, (header, *sections))


def _card(page: CardPage | None) -> str:
    return f"\n\nIts card: {page.link}" if page else ""


def publish_request(notice: Notice, topic_arn: str) -> Request:
    """Parameters of SNS Publish: plain text for e-mail, and the notice itself for the function that posts to Slack."""
    itself: dict[str, Any] = {
        "notice": 1,
        "subject": notice.subject,
        "text": notice.text,
        "severity": notice.severity.value,
    }
    if notice.blocks:
        itself["blocks"] = notice.blocks
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

    The record's shape: "Process event notifications from Lambda with Amazon SNS" (Lambda developer guide).
    """
    sns = record.get("Sns")
    if not isinstance(sns, Mapping) or not isinstance(sns.get("Message"), str):
        raise BadEvent(f"Expected a record of SNS with Sns.Message; got the keys {sorted(record)}.")
    message = sns["Message"]
    content = _json_object(message)
    subject = str(sns.get("Subject") or "")  # Subject is null or absent where the publisher gave none
    own = _own(content) if content.get("notice") == 1 else None
    if own is not None:
        return own
    reading = topic_messages.read(subject, message, content)
    if reading is not None:
        return _of(reading)
    topic = str(sns.get("TopicArn", "")).rsplit(":", 1)[-1]
    text = json.dumps(content, indent=2, ensure_ascii=False) if content else message
    return Notice(
        subject or f"Message on {topic or 'the alerts topic'}", f"{NOT_UNDERSTOOD}\n\n{text}", Severity.WARNING
    )


def from_event(event: Mapping[str, Any]) -> Notice | None:
    """What an alarm or a rule sends to a function directly, without the topic; None for anything else."""
    reading = topic_messages.read("", "", event) if event else None
    return _of(reading) if reading else None


def _of(reading: topic_messages.Reading) -> Notice:
    return Notice(reading.subject, reading.text, Severity(reading.severity), failed_function=reading.failed_function)


def slack_blocks(notice: Notice) -> list[dict[str, Any]]:
    """The notice as Slack blocks. Plain text throughout: names with underscores stay as they are, nobody is @-ed."""
    if notice.blocks:
        return [dict(block) for block in notice.blocks[:_BLOCK_LIMIT]]
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(_shortened(notice.subject, _HEADER_LIMIT))}]
    for start in range(0, len(notice.text), _SECTION_LIMIT):
        part = notice.text[start : start + _SECTION_LIMIT]
        if part.strip():  # Slack refuses a section without text
            blocks.append({"type": "section", "text": _plain(part)})
    return [
        *blocks[: _BLOCK_LIMIT - 1],
        {"type": "context", "elements": [_plain(f"severity: {notice.severity.value}")]},
    ]


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _own(content: Mapping[str, Any]) -> Notice | None:
    """None for what only looks like a notice of this platform: it is passed on whole then, like anything unknown."""
    blocks = content.get("blocks")
    try:
        return Notice(
            str(content["subject"]),
            str(content["text"]),
            Severity(content["severity"]),
            tuple(block for block in blocks if isinstance(block, Mapping)) if isinstance(blocks, list) else (),
        )
    except (KeyError, ValueError):
        return None


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


def _blocks_without_secrets(part: Any) -> Any:
    if isinstance(part, str):
        return _without_secrets(_encodable(part))
    if isinstance(part, Mapping):
        return {key: _blocks_without_secrets(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_blocks_without_secrets(value) for value in part]
    return part


def _without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
