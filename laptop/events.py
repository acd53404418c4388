"""EventBridge's default bus: patterns matched as the service does, targets really called, failures retried.

Patterns: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
Rules and targets are read from moto's EventBridge at the moment an event comes; its own, partial, delivery is off.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.iam import allows_service
from laptop.moto_app import current_operation

# EventBridge goes on for 24 hours; a person at a laptop does not. The pauses before each further try, in seconds.
_RETRY_PAUSES_SECONDS = (0.2, 0.5, 1.0)
_ABSENT = object()


# --- patterns ----------------------------------------------------------------------------------------------------


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether an event has everything that a pattern asks for. Raises ServiceError for an operator unknown to AWS."""
    fields = event if isinstance(event, Mapping) else {}
    for name, wanted in pattern.items():
        if name == "$or" and isinstance(wanted, list) and all(isinstance(one, Mapping) for one in wanted):
            if not any(matches(one, event) for one in wanted):
                return False
        elif isinstance(wanted, Mapping):
            inner = fields.get(name)
            candidates = inner if isinstance(inner, list) else [inner]
            if not any(matches(wanted, candidate) for candidate in candidates or [None]):
                return False
        elif not _leaf_matches(wanted, fields.get(name, _ABSENT)):
            return False
    return True


def _leaf_matches(filters: Any, value: Any) -> bool:
    if not isinstance(filters, list):
        raise ServiceError("InvalidEventPatternException", f"A pattern's value must be an array, not {filters!r}.")
    # An object is not a leaf, and an empty array has no values: to a filter, both are absent.
    values = value if isinstance(value, list) else [value]
    values = [one for one in values if one is not _ABSENT and not isinstance(one, Mapping)]
    return any(_filter_matches(one, values) for one in filters)


def _filter_matches(wanted: Any, values: list[Any]) -> bool:
    if isinstance(wanted, Mapping):
        ((operator, argument),) = wanted.items()
        if operator == "exists":
            return bool(values) is bool(argument)
        return any(_operator_matches(operator, argument, value) for value in values)
    return any(_equal(wanted, value) for value in values)


def _equal(wanted: Any, value: Any) -> bool:
    return isinstance(wanted, bool) == isinstance(value, bool) and bool(wanted == value)


def _operator_matches(operator: str, argument: Any, value: Any) -> bool:
    if operator == "anything-but":
        if isinstance(argument, Mapping):
            ((inner, arguments),) = argument.items()
            options = arguments if isinstance(arguments, list) else [arguments]
            return isinstance(value, str) and not any(_operator_matches(inner, one, value) for one in options)
        options = argument if isinstance(argument, list) else [argument]
        return not any(_equal(one, value) for one in options)
    if operator == "numeric":
        return _numeric_matches(argument, value)
    if operator == "cidr":
        try:
            return ipaddress.ip_address(value) in ipaddress.ip_network(argument, strict=False)
        except ValueError:
            return False
    if operator not in {"prefix", "suffix", "equals-ignore-case", "wildcard"}:
        raise ServiceError("InvalidEventPatternException", f"Unrecognized match type {operator}")
    if not isinstance(value, str):
        return False
    if isinstance(argument, Mapping):  # {"prefix": {"equals-ignore-case": "..."}}
        argument, value = argument["equals-ignore-case"].lower(), value.lower()
    if operator == "prefix":
        return bool(value.startswith(argument))
    if operator == "suffix":
        return bool(value.endswith(argument))
    if operator == "equals-ignore-case":
        return bool(value.lower() == str(argument).lower())
    return _wildcard(argument).fullmatch(value) is not None


def _numeric_matches(argument: list[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    for comparison, bound in zip(argument[::2], argument[1::2], strict=True):
        holds = {
            "=": value == bound,
            "<": value < bound,
            "<=": value <= bound,
            ">": value > bound,
            ">=": value >= bound,
        }[comparison]
        if not holds:
            return False
    return True


def _wildcard(pattern: str) -> re.Pattern[str]:
    """Only * is special; a backslash takes that away from it."""
    pieces = re.findall(r"\\[*\\]|\*|[^*\\]+|\\", pattern)
    return re.compile(
        "".join(
            ".*" if piece == "*" else re.escape(piece[1:] if piece[:1] == "\\" and len(piece) > 1 else piece)
            for piece in pieces
        ),
        re.DOTALL,
    )


# --- what a target gets ------------------------------------------------------------------------------------------


def target_input(target: Mapping[str, Any], event: Mapping[str, Any], rule_name: str, rule_arn: str) -> str:
    """The text that a target gets for an event: all of it, a part, a constant, or a filled template."""
    if target.get("Input") is not None:
        return str(target["Input"])
    if target.get("InputPath"):
        return json.dumps(_path(target["InputPath"], event))
    transformer = target.get("InputTransformer")
    if not transformer:
        return json.dumps(event)
    values: dict[str, Any] = {
        name: _path(path, event) for name, path in (transformer.get("InputPathsMap") or {}).items()
    }
    values["aws.events.rule-name"] = rule_name
    values["aws.events.rule-arn"] = rule_arn
    values["aws.events.event"] = dict(event)
    values["aws.events.event.json"] = dict(event)
    values["aws.events.event.ingestion-time"] = event["time"]
    return _filled(transformer["InputTemplate"], values)


def _path(path: str, event: Any) -> Any:
    """A JSON path of the kind that EventBridge takes: $, names, and array positions. None if there is nothing."""
    found = event
    for name, position in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
        try:
            found = found[int(position)] if position else found[name]
        except (KeyError, IndexError, TypeError):
            return None
    return found


def _filled(template: str, values: Mapping[str, Any]) -> str:
    """Placeholders inside quotes become text, elsewhere JSON values."""
    filled: list[str] = []
    quoted = False
    position = 0
    while position < len(template):
        character = template[position]
        placeholder = re.compile(r"<([A-Za-z0-9_.-]+)>").match(template, position)
        if placeholder and placeholder[1] in values:
            value = values[placeholder[1]]
            if not quoted:
                filled.append(json.dumps(value))
            elif isinstance(value, str):
                filled.append(json.dumps(value)[1:-1])
            else:
                filled.append("" if value is None else json.dumps(json.dumps(value))[1:-1])
            position = placeholder.end()
            continue
        if character == "\\" and quoted:
            filled.append(template[position : position + 2])
            position += 2
            continue
        if character == '"':
            quoted = not quoted
        filled.append(character)
        position += 1
    return "".join(filled)


# --- the bus -----------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """A delivery that no retry can save."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Bus:
    """The account's event buses; deliveries run on threads of their own."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._pool = ThreadPoolExecutor(8, "events")
        self._closing = threading.Event()
        # Making a client takes longer than a delivery.
        self._client = functools.lru_cache(maxsize=None)(account.client)
        self._sequence = itertools.count(time.time_ns())

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        """As an AWS service puts an event on the default bus."""
        self._publish(
            source, detail_type, detail, resources=list(resources), at=self._account.clock.now(), bus="default"
        )

    def scheduled(self, rule_arn: str, due: datetime) -> None:
        """Sends a rule's targets what they get when its schedule comes due; nobody else sees that event.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
        """
        from moto.events.models import events_backends

        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": ACCOUNT_ID,
            "time": due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": [rule_arn],
            "detail": {},
        }
        for rule in list(events_backends[ACCOUNT_ID][REGION].event_buses["default"].rules.values()):
            if rule.arn == rule_arn:
                for target in list(rule.targets):
                    self._submit(rule.name, rule.arn, target, event)

    def _submit(self, rule_name: str, rule_arn: str, target: dict[str, Any], event: dict[str, Any]) -> None:
        if not self._closing.is_set():
            self._account.clock.under_way.submit(self._pool, self._deliver, rule_name, rule_arn, target, event)

    def close(self) -> None:
        """Gives up what is not delivered yet."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def put_events(self, params: dict[str, Any]) -> dict[str, Any]:
        """PutEvents, https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html"""
        results = [self._put_entry(entry) for entry in params["Entries"]]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def _put_entry(self, entry: dict[str, Any]) -> dict[str, str]:
        for member in ("Source", "DetailType", "Detail"):
            if not entry.get(member):
                message = f"Parameter {member} is not valid. Reason: {member} is a required argument."
                return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
        if entry["Source"].startswith("aws."):
            return {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "Not authorized for the source."}
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        at = entry.get("Time") or self._account.clock.now()
        bus = entry.get("EventBusName", "default").rsplit("/", 1)[-1]
        event_id = self._publish(
            entry["Source"], entry["DetailType"], detail, resources=entry.get("Resources", []), at=at, bus=bus
        )
        return {"EventId": event_id}

    def object_event(self, bucket: Any, event_name: str, key: Any, detail_type: str) -> None:
        """S3's events, https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html (raw key, bare ETag).

        Only objects that come and go are told: moto also reports tags and access lists that nobody has set.
        """
        if detail_type not in {"Object Created", "Object Deleted"}:
            return
        what = event_name.rsplit(":", 1)[-1]
        if what == "Put" and current_operation.get() in {"CompleteMultipartUpload", "CopyObject"}:
            return  # moto tells of its inner step, and then of the operation
        stored: dict[str, Any] = {"key": key.name}
        if detail_type == "Object Created":
            stored["size"] = key.size
        if hasattr(key, "etag"):  # a delete marker that is itself deleted has none
            stored["etag"] = key.etag.strip('"')
        if bucket.is_versioned:
            stored["version-id"] = key.version_id
        stored["sequencer"] = f"00{next(self._sequence):016X}"
        detail: dict[str, Any] = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": stored,
            "request-id": uuid.uuid4().hex[:16].upper(),
            "requester": ACCOUNT_ID,
            "source-ip-address": "127.0.0.1",
        }
        if detail_type == "Object Created":
            reasons = {"Put": "PutObject", "Post": "POST Object", "Copy": "CopyObject"}
            detail["reason"] = reasons.get(what, what)
        elif detail_type == "Object Deleted":
            detail["reason"] = "DeleteObject"
            marker = what == "DeleteMarkerCreated"
            detail["deletion-type"] = "Delete Marker Created" if marker else "Permanently Deleted"
        self.put("aws.s3", detail_type, detail, (f"arn:aws:s3:::{bucket.name}",))

    def _publish(
        self, source: str, detail_type: str, detail: dict[str, Any], *, resources: list[str], at: datetime, bus: str
    ) -> str:
        from moto.events.models import events_backends

        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": detail_type,
            "source": source,
            "account": ACCOUNT_ID,
            "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": REGION,
            "resources": resources,
            "detail": detail,
        }
        # What is delivered is the text of this moment, whatever the caller does to its dictionary later.
        event = json.loads(json.dumps(event, default=str))
        self._account.journal.record("event", id=event["id"], source=source, detail_type=detail_type, detail=detail)
        buses = events_backends[ACCOUNT_ID][REGION].event_buses
        for rule in list(buses[bus].rules.values()) if bus in buses else []:
            pattern = rule.event_pattern.get_pattern()
            if rule.state == "DISABLED" or not pattern or not matches(pattern, event):
                continue
            for target in list(rule.targets):
                self._submit(rule.name, rule.arn, target, event)
        return str(event["id"])

    def _deliver(self, rule_name: str, rule_arn: str, target: dict[str, Any], event: dict[str, Any]) -> None:
        tries = 1 + min((target.get("RetryPolicy") or {}).get("MaximumRetryAttempts", 185), len(_RETRY_PAUSES_SECONDS))
        arn = target["Arn"]
        code, message = "", ""
        for attempt in range(int(tries)):
            if attempt and self._closing.wait(_RETRY_PAUSES_SECONDS[attempt - 1]):
                return
            try:
                self._send(arn, target_input(target, event, rule_name, rule_arn), rule_arn, target)
            except _Refused as refusal:
                code, message = refusal.code, str(refusal)
                break
            except Exception as error:  # whatever a target does wrong is a failed delivery, and is told as one
                code, message = "TARGET_ERROR", str(error)
            else:
                self._account.journal.record(
                    "delivery", rule=rule_name, target=arn, event_id=event["id"], detail_type=event["detail-type"]
                )
                return
        if self._closing.is_set():
            return
        dead_letters = (target.get("DeadLetterConfig") or {}).get("Arn")
        self._account.journal.record(
            "delivery",
            rule=rule_name,
            target=arn,
            event_id=event["id"],
            detail_type=event["detail-type"],
            error=f"{code}: {message}",
            dead_letter=dead_letters,
        )
        if dead_letters:
            self._dead_letter(dead_letters, rule_arn, arn, event=event, code=code, message=message)

    def _dead_letter(
        self, queue: str, rule_arn: str, target: str, *, event: dict[str, Any], code: str, message: str
    ) -> None:
        attributes = {"RULE_ARN": rule_arn, "TARGET_ARN": target, "ERROR_CODE": code, "ERROR_MESSAGE": message[:1000]}
        try:
            self._check_queue_policy(queue, rule_arn)
            self._client("sqs").send_message(
                QueueUrl=self._queue_url(queue),
                MessageBody=json.dumps(event),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value
                },
            )
        except Exception as error:
            self._account.journal.record("delivery", target=queue, event_id=event["id"], error=str(error))

    def _send(self, arn: str, payload: str, rule_arn: str, target: dict[str, Any]) -> None:
        service = arn.split(":")[2]
        if service == "sqs":
            self._check_queue_policy(arn, rule_arn)
            group = (target.get("SqsParameters") or {}).get("MessageGroupId")
            extra = {"MessageGroupId": group} if group else {}
            self._client("sqs").send_message(QueueUrl=self._queue_url(arn), MessageBody=payload, **extra)
        elif service == "lambda":
            try:
                self._account.functions.invoke_async(arn, payload.encode(), "events.amazonaws.com", rule_arn)
            except ServiceError as error:
                raise _Refused("NO_PERMISSIONS" if error.status == 403 else "NO_RESOURCE", error.message) from error
        elif service == "sns":
            self._check_topic_policy(arn, rule_arn)
            self._client("sns").publish(TopicArn=arn, Message=payload)
        elif service == "logs":
            group = arn.split(":log-group:")[1].removesuffix(":*")
            logs = self._client("logs")
            stream = uuid.uuid4().hex
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
            entry = {"timestamp": self._account.clock.now_ms(), "message": payload}
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[entry])
        else:
            raise _Refused("UNSUPPORTED_TARGET", f"The laptop can't deliver events to {arn}.")

    def _queue_url(self, arn: str) -> str:
        return f"{self._account.url}/{ACCOUNT_ID}/{arn.rsplit(':', 1)[-1]}"

    def _check_queue_policy(self, arn: str, rule_arn: str) -> None:
        from moto.sqs.models import sqs_backends

        queue = sqs_backends[ACCOUNT_ID][REGION].queues.get(arn.rsplit(":", 1)[-1])
        if queue is None:
            raise _Refused("NO_RESOURCE", f"There is no queue {arn}.")
        self._check(queue.policy, "sqs:SendMessage", arn, rule_arn)

    def _check_topic_policy(self, arn: str, rule_arn: str) -> None:
        from moto.sns.models import sns_backends

        topic = sns_backends[ACCOUNT_ID][REGION].topics.get(arn)
        if topic is None:
            raise _Refused("NO_RESOURCE", f"There is no topic {arn}.")
        self._check(topic.policy, "sns:Publish", arn, rule_arn)

    def _check(self, policy: Any, action: str, resource: str, rule_arn: str) -> None:
        document = json.loads(policy) if isinstance(policy, str) and policy else policy
        context = {"aws:SourceArn": rule_arn, "aws:SourceAccount": ACCOUNT_ID}
        if not allows_service(document or {}, "events.amazonaws.com", action, resource, context):
            raise _Refused(
                "NO_PERMISSIONS",
                f"The resource policy of {resource} does not let events.amazonaws.com {action} for {rule_arn}.",
            )


def install(account: Account) -> None:
    """Puts the bus into the account, and moto's partial deliveries out of it."""
    bus = Bus(account)
    account.events = bus
    account.closers.append(bus.close)
    account.operations.setdefault("events", {})["PutEvents"] = bus.put_events

    from moto.events import models as events_models
    from moto.s3 import notifications

    def object_event(account_id: str, bucket: Any, event_name: Any, key: Any) -> None:
        bus.object_event(bucket, str(event_name.value), key, notifications._detail_type(event_name))

    def no_delivery(rule: Any, original_event: Any, transform_input: bool = True) -> None:
        """This bus delivers."""

    notifications._send_event_bridge_message = object_event
    setattr(events_models.Rule, "send_to_targets", no_delivery)  # noqa: B010
