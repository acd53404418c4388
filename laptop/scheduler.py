"""EventBridge Scheduler, the schedules of EventBridge's rules, and the routes that move the clock.

User guide: https://docs.aws.amazon.com/scheduler/latest/UserGuide/. A thread does what falls due while time passes;
when the clock is moved, what falls due on the way is done in order, and the next moment comes when all that it set
going has ended. A flexible time window is used at its beginning, which AWS may do too.
"""

from __future__ import annotations

import functools
import json
import threading
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.clock import Fired
from laptop.errors import ServiceError
from laptop.events import Bus
from laptop.sagemaker_common import page
from laptop.schedule_expressions import At, BadExpression, Expression, Rate, parse

PRINCIPAL = "scheduler.amazonaws.com"
# AWS goes on for a day, at growing pauses. The machine's seconds before each further try.
RETRY_PAUSES_SECONDS = (0.2, 0.5, 1.0)
LOOK_SECONDS = 0.5
_DEFAULT_GROUP = "default"
_UTC = ZoneInfo("UTC")
_TICK = timedelta(microseconds=1)
_KEPT = (
    "ActionAfterCompletion",
    "Description",
    "EndDate",
    "FlexibleTimeWindow",
    "KmsKeyArn",
    "ScheduleExpression",
    "StartDate",
    "Target",
)


@dataclass
class Schedule:
    """A schedule of Scheduler."""

    group: str
    name: str
    settings: dict[str, Any]
    expression: Expression
    created: datetime
    modified: datetime
    due: datetime | None = None  # the next run; None if there is none, or the schedule is disabled

    @property
    def arn(self) -> str:
        return f"arn:aws:scheduler:{REGION}:{ACCOUNT_ID}:schedule/{self.group}/{self.name}"

    def plan(self, after: datetime) -> None:
        """Finds the next run after a moment."""
        self.due = None
        if self.settings["State"] == "ENABLED":
            begin, end = self.settings.get("StartDate"), self.settings.get("EndDate")
            due = self.expression.next_after(max(after, begin - _TICK) if begin else after)
            self.due = due if due is None or end is None or due <= end else None


@dataclass
class _RuleSchedule:
    text: str
    expression: Expression | None
    due: datetime | None


@dataclass
class _Group:
    name: str
    created: datetime
    modified: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.modified = self.created

    @property
    def arn(self) -> str:
        return f"arn:aws:scheduler:{REGION}:{ACCOUNT_ID}:schedule-group/{self.name}"

    def described(self) -> dict[str, Any]:
        return {
            "Arn": self.arn,
            "Name": self.name,
            "State": "ACTIVE",
            "CreationDate": self.created,
            "LastModificationDate": self.modified,
        }


class Scheduler:
    """Keeps the schedules and runs them: an agenda of the clock."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.RLock()
        self._schedules: dict[tuple[str, str], Schedule] = {}
        self._groups = {_DEFAULT_GROUP: _Group(_DEFAULT_GROUP, account.clock.now())}
        self._closed = threading.Event()
        self._client = functools.lru_cache(maxsize=None)(account.client)

    def start(self) -> None:
        """From now on schedules run while the time passes."""
        threading.Thread(target=self._watch, name="scheduler", daemon=True).start()

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self._account.clock.run_due()
            except Exception:  # one bad run must not stop the time
                traceback.print_exc()

    # --- the agenda ------------------------------------------------------------------------------------------------

    def next_due(self) -> datetime | None:
        with self._lock:
            return min((one.due for one in self._schedules.values() if one.due is not None), default=None)

    def run(self, due: datetime) -> list[Fired]:
        """Runs the schedules of a moment one after the other, by name."""
        with self._lock:
            chosen = sorted(
                (one for one in self._schedules.values() if one.due is not None and one.due <= due),
                key=lambda one: (one.group, one.name),
            )
            for schedule in chosen:
                schedule.plan(due)
        return [self._run(schedule, due) for schedule in chosen]

    def _run(self, schedule: Schedule, due: datetime) -> Fired:
        target = schedule.settings["Target"]
        error = self._deliver(schedule, target, due)
        if schedule.settings.get("ActionAfterCompletion") == "DELETE" and schedule.due is None:
            with self._lock:
                self._schedules.pop((schedule.group, schedule.name), None)
        self._account.journal.record("schedule", schedule=schedule.name, due=due, target=target["Arn"], error=error)
        return {"schedule": schedule.name, "at": due.isoformat(), "target": target["Arn"], "error": error}

    def _deliver(self, schedule: Schedule, target: Mapping[str, Any], due: datetime) -> str | None:
        """Tries, retries, gives up to the dead letters. What went wrong, if the last try failed."""
        wanted = int((target.get("RetryPolicy") or {}).get("MaximumRetryAttempts", 185))
        execution, attempt = uuid.uuid4().hex[:16], 0
        while True:
            attempt += 1
            text = target_input(schedule, target, due, execution, attempt)
            try:
                return self._send(target, text)
            except ServiceError as error:
                code, message = error.code, error.message
            except Exception as error:  # whatever a target's own API says is a failed delivery
                code, message = type(error).__name__, str(error)
            if attempt > min(wanted, len(RETRY_PAUSES_SECONDS)):
                break
            if self._closed.wait(RETRY_PAUSES_SECONDS[attempt - 1]):
                return "The laptop is shutting down."
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if queue:
            attributes = {
                "ERROR_CODE": code,
                "ERROR_MESSAGE": message[:1000],
                "EXECUTION_ID": execution,
                "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts",
                "IS_PAYLOAD_TRUNCATED": "false",
                "RETRY_ATTEMPTS": str(attempt - 1),
                "SCHEDULED_TIME": _stamp(due),
                "SCHEDULE_ARN": schedule.arn,
                "TARGET_ARN": target["Arn"],
            }
            self._dead_letter(queue, target["RoleArn"], text, attributes)
        return f"{code}: {message}"

    def _send(self, target: Mapping[str, Any], text: str) -> str | None:
        """One try with the schedule's role. A function's own error is no failed delivery, and is only told."""
        arn, role = target["Arn"], target["RoleArn"]
        service = arn.split(":")[2]
        if service == "lambda":
            self._account.identities.credentials(role, principal=PRINCIPAL)
            self._account.identities.assert_allowed(role, "lambda:InvokeFunction", arn)
            return self._account.functions.invoke_event(arn, text.encode())
        client = self._role_client(service, role)
        if service == "sqs":
            client.send_message(QueueUrl=self._queue_url(arn), MessageBody=text, **target.get("SqsParameters", {}))
        else:
            client.publish(TopicArn=arn, Message=text)
        return None

    def _dead_letter(self, queue: str, role: str, text: str, attributes: Mapping[str, str]) -> None:
        try:
            self._role_client("sqs", role).send_message(
                QueueUrl=self._queue_url(queue),
                MessageBody=text,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
            )
        except Exception as error:
            self._account.journal.record("delivery", target=queue, error=str(error))

    def _role_client(self, service: str, role: str) -> Any:
        self._account.identities.credentials(role, principal=PRINCIPAL)
        return self._client(service, role)

    def _queue_url(self, arn: str) -> str:
        return f"{self._account.url}/{ACCOUNT_ID}/{arn.rsplit(':', 1)[-1]}"

    # --- the API ---------------------------------------------------------------------------------------------------

    def create_schedule(self, params: dict[str, Any]) -> dict[str, Any]:
        """https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html"""
        group, name = params.get("GroupName") or _DEFAULT_GROUP, params["Name"]
        with self._lock:
            if group not in self._groups:
                raise ServiceError("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404)
            if (group, name) in self._schedules:
                raise ServiceError("ConflictException", f"Schedule {name} already exists.", 409)
            made = self._made(params, group, self._account.clock.now())
            self._schedules[group, name] = made
            return {"ScheduleArn": made.arn}

    def update_schedule(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replaces every setting: what is left out gets its default."""
        with self._lock:
            before = self._found(params)
            made = self._made(params, before.group, before.created)
            self._schedules[before.group, before.name] = made
            return {"ScheduleArn": made.arn}

    def delete_schedule(self, params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = self._found(params)
            del self._schedules[found.group, found.name]
            return {}

    def get_schedule(self, params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = self._found(params)
            return {
                "Arn": found.arn,
                "GroupName": found.group,
                "Name": found.name,
                "CreationDate": found.created,
                "LastModificationDate": found.modified,
                **found.settings,
            }

    def list_schedules(self, params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            chosen = [
                one
                for key, one in sorted(self._schedules.items())
                if params.get("GroupName") in (None, one.group)
                and one.name.startswith(params.get("NamePrefix") or "")
                and params.get("State") in (None, one.settings["State"])
            ]
            shown, more = page(chosen, params, lambda one: one.arn, 100)
            summaries = [
                {
                    "Arn": one.arn,
                    "Name": one.name,
                    "GroupName": one.group,
                    "State": one.settings["State"],
                    "CreationDate": one.created,
                    "LastModificationDate": one.modified,
                    "Target": {"Arn": one.settings["Target"]["Arn"]},
                }
                for one in shown
            ]
            return {"Schedules": summaries, **more}

    def create_group(self, params: dict[str, Any]) -> dict[str, Any]:
        name = params["Name"]
        with self._lock:
            if name in self._groups:
                raise ServiceError("ConflictException", f"Schedule group {name} already exists.", 409)
            self._groups[name] = _Group(name, self._account.clock.now())
            arn = self._groups[name].arn
            self._account.tags[arn] = {tag["Key"]: tag["Value"] for tag in params.get("Tags") or ()}
            return {"ScheduleGroupArn": arn}

    def get_group(self, params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return self._group(params["Name"]).described()

    def list_groups(self, params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            prefix = params.get("NamePrefix") or ""
            chosen = [one for name, one in sorted(self._groups.items()) if name.startswith(prefix)]
            shown, more = page(chosen, params, lambda one: one.name, 100)
            return {"ScheduleGroups": [one.described() for one in shown], **more}

    def delete_group(self, params: dict[str, Any]) -> dict[str, Any]:
        """Its schedules go with it."""
        with self._lock:
            group = self._group(params["Name"])
            if group.name == _DEFAULT_GROUP:
                raise ServiceError("ValidationException", "Cannot delete the default schedule group.")
            del self._groups[group.name]
            self._account.tags.pop(group.arn, None)
            self._schedules = {key: one for key, one in self._schedules.items() if one.group != group.name}
            return {}

    def _group(self, name: str) -> _Group:
        if name not in self._groups:
            raise ServiceError("ResourceNotFoundException", f"Schedule group {name} does not exist.", 404)
        return self._groups[name]

    def _found(self, params: Mapping[str, Any]) -> Schedule:
        group, name = params.get("GroupName") or _DEFAULT_GROUP, params["Name"]
        found = self._schedules.get((group, name))
        if found is None:
            raise ServiceError("ResourceNotFoundException", f"Schedule {name} does not exist.", 404)
        return found

    def _made(self, params: dict[str, Any], group: str, created: datetime) -> Schedule:
        now = self._account.clock.now()
        zone = params.get("ScheduleExpressionTimezone") or "UTC"
        if zone not in _zones():
            raise ServiceError("ValidationException", f"Invalid Schedule Expression Timezone {zone}.")
        settings = {name: params[name] for name in _KEPT if params.get(name) is not None}
        settings["ScheduleExpressionTimezone"] = zone
        settings["State"] = params.get("State") or "ENABLED"
        settings.setdefault("ActionAfterCompletion", "NONE")
        begin, end = settings.get("StartDate"), settings.get("EndDate")
        if begin and end and begin >= end:
            raise ServiceError("ValidationException", "The StartDate you specify must come before the EndDate.")
        self._check_target(settings["Target"])
        try:
            expression = parse(params["ScheduleExpression"], ZoneInfo(zone), begin or now)
        except BadExpression as error:
            raise ServiceError("ValidationException", str(error)) from error
        made = Schedule(group, params["Name"], settings, expression, created, now)
        # A rate without a StartDate begins at once.
        made.plan(now - _TICK if isinstance(expression, Rate) else now)
        if isinstance(expression, At) and made.due is None and made.settings["State"] == "ENABLED":
            raise ServiceError("ValidationException", f"{params['ScheduleExpression']} never comes.")
        return made

    def _check_target(self, target: Mapping[str, Any]) -> None:
        arn = target["Arn"]
        service = arn.split(":")[2] if arn.count(":") >= 5 else ""
        if service not in {"lambda", "sqs", "sns"}:
            raise ServiceError("ValidationException", f"The laptop can't schedule {arn}: it has Lambda, SQS and SNS.")
        try:
            self._account.identities.credentials(target["RoleArn"], principal=PRINCIPAL)
        except ServiceError:
            message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
            raise ServiceError("ValidationException", message) from None


def target_input(schedule: Schedule, target: Mapping[str, Any], due: datetime, execution: str, attempt: int) -> str:
    """What the target gets: its Input with the context attributes filled in, or Scheduler's own event.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    if target.get("Input") is None:
        return json.dumps(
            {
                "version": "0",
                "id": str(uuid.uuid4()),
                "detail-type": "Scheduled Event",
                "source": "aws.scheduler",
                "account": ACCOUNT_ID,
                "time": _stamp(due),
                "region": REGION,
                "resources": [schedule.arn],
                "detail": "{}",
            }
        )
    text = str(target["Input"])
    for attribute, value in (
        ("schedule-arn", schedule.arn),
        ("scheduled-time", _stamp(due)),
        ("execution-id", execution),
        ("attempt-number", str(attempt)),
    ):
        text = text.replace(f"<aws.scheduler.{attribute}>", value)
    return text


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.cache
def _zones() -> set[str]:
    return available_timezones()


class RuleSchedules:
    """The ScheduleExpression of EventBridge's rules: cron and rate in UTC. An agenda of the clock.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
    """

    def __init__(self, account: Account, bus: Bus) -> None:
        self._account = account
        self._bus = bus
        self._known: dict[str, _RuleSchedule] = {}

    def next_due(self) -> datetime | None:
        return min((one.due for one in self._rules().values() if one.due is not None), default=None)

    def run(self, due: datetime) -> list[Fired]:
        fired = []
        for arn, one in self._rules().items():
            if one.expression is not None and one.due is not None and one.due <= due:
                one.due = one.expression.next_after(due)
                self._bus.scheduled(arn, due)
                fired.append({"schedule": arn.rsplit("/", 1)[-1], "at": due.isoformat(), "target": arn, "error": None})
        return fired

    def _rules(self) -> dict[str, _RuleSchedule]:
        """The enabled rules with a schedule by ARN; a rate counts from the moment its rule is first seen."""
        from moto.events.models import events_backends

        now = self._account.clock.now()
        found: dict[str, _RuleSchedule] = {}
        for rule in list(events_backends[ACCOUNT_ID][REGION].event_buses["default"].rules.values()):
            text = rule.scheduled_expression
            if not text or rule.state == "DISABLED":
                continue
            one = self._known.get(rule.arn)
            if one is None or one.text != text:
                try:
                    one = _RuleSchedule(text, expression := parse(text, _UTC, now), expression.next_after(now))
                except BadExpression as error:  # moto's PutRule looks less closely than AWS's
                    self._account.journal.record("failure", call=f"schedule of {rule.arn}", error=str(error))
                    one = _RuleSchedule(text, None, None)
            found[rule.arn] = one
        self._known = found
        return found


def _clock_routes(account: Account) -> None:
    def told(fired: list[Fired] | None = None) -> dict[str, Any]:
        due = account.clock.next_due()
        answer: dict[str, Any] = {
            "now": account.clock.now().isoformat(),
            "next_due": due.isoformat() if due else None,
        }
        return answer if fired is None else {**answer, "fired": fired}

    def move(request: dict[str, Any]) -> dict[str, Any]:
        if len(request.keys() & {"advance_seconds", "to"}) != 1 or len(request) != 1:
            raise ServiceError("ValidationException", 'Give either {"advance_seconds": n} or {"to": "ISO 8601"}.')
        try:
            if "to" in request:
                return told(account.clock.advance_to(_aware(request["to"])))
            seconds = request["advance_seconds"]
            if isinstance(seconds, bool) or not isinstance(seconds, int | float):
                raise ValueError(f"advance_seconds must be a number, not {seconds!r}.")
            return told(account.clock.advance(seconds))
        except (ValueError, OverflowError) as error:
            raise ServiceError("ValidationException", str(error)) from error

    account.routes["GET /_laptop/clock"] = lambda _: told()
    account.routes["POST /_laptop/clock"] = move


def _aware(text: Any) -> datetime:
    moment = datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone; add Z or an offset such as +01:00.")
    return moment.astimezone(UTC)


def install(account: Account) -> None:
    """Takes the schedules from moto, which never runs them."""
    scheduler = Scheduler(account)
    assert isinstance(account.events, Bus)
    rules = RuleSchedules(account, account.events)
    account.operations["scheduler"] = {
        "CreateSchedule": scheduler.create_schedule,
        "UpdateSchedule": scheduler.update_schedule,
        "DeleteSchedule": scheduler.delete_schedule,
        "GetSchedule": scheduler.get_schedule,
        "ListSchedules": scheduler.list_schedules,
        "CreateScheduleGroup": scheduler.create_group,
        "GetScheduleGroup": scheduler.get_group,
        "ListScheduleGroups": scheduler.list_groups,
        "DeleteScheduleGroup": scheduler.delete_group,
    }
    account.clock.add_agenda(scheduler)
    account.clock.add_agenda(rules)
    account.closers.append(scheduler.close)
    _clock_routes(account)
    scheduler.start()
