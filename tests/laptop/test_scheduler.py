"""Schedules run when AWS would run them, in every time zone, and reach their target with the schedule's role."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from botocore.exceptions import ClientError

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.schedule_expressions import BadExpression, parse
from laptop.server import running

BEGIN = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)  # a Monday


def times(expression: str, count: int, zone: str = "UTC", after: datetime = BEGIN) -> list[str]:
    """The next runs, as the clocks of the place show them."""
    parsed, found, moment = parse(expression, ZoneInfo(zone), BEGIN), list[str](), after
    for _ in range(count):
        following = parsed.next_after(moment)
        if following is None:
            break
        assert following > moment
        moment = following
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%a %d.%m.%y %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0/15 * * * ? *)", ["Mon 23.11.26 07:15", "Mon 23.11.26 07:30"]),
        ("cron(*/20 7 * * ? *)", ["Mon 23.11.26 07:20", "Mon 23.11.26 07:40", "Tue 24.11.26 07:00"]),
        ("cron(30 7 * * ? *)", ["Mon 23.11.26 07:30", "Tue 24.11.26 07:30"]),
        ("cron(0 7 * * ? *)", ["Tue 24.11.26 07:00"]),
        ("cron(0 18 ? * MON-FRI *)", ["Mon 23.11.26 18:00", "Tue 24.11.26 18:00"]),
        ("cron(0 18 ? * 7,1 *)", ["Sat 28.11.26 18:00", "Sun 29.11.26 18:00", "Sat 05.12.26 18:00"]),
        ("cron(0 8-10/2 ? * TUE *)", ["Tue 24.11.26 08:00", "Tue 24.11.26 10:00", "Tue 01.12.26 08:00"]),
        ("cron(0 9 L * ? *)", ["Mon 30.11.26 09:00", "Thu 31.12.26 09:00", "Sun 31.01.27 09:00", "Sun 28.02.27 09:00"]),
        ("cron(0 9 29 2 ? *)", ["Tue 29.02.28 09:00", "Sun 29.02.32 09:00"]),
        ("cron(0 9 28W * ? *)", ["Fri 27.11.26 09:00", "Mon 28.12.26 09:00"]),
        ("cron(0 9 1W * ? *)", ["Tue 01.12.26 09:00", "Fri 01.01.27 09:00", "Mon 01.02.27 09:00"]),
        ("cron(0 9 1W 5 ? 2027)", ["Mon 03.05.27 09:00"]),  # the 1st is a Saturday, and April is another month
        ("cron(0 9 31W * ? *)", ["Thu 31.12.26 09:00", "Fri 29.01.27 09:00", "Wed 31.03.27 09:00"]),
        ("cron(0 9 LW * ? *)", ["Mon 30.11.26 09:00", "Thu 31.12.26 09:00", "Fri 29.01.27 09:00"]),
        ("cron(0 9 ? * 6L *)", ["Fri 27.11.26 09:00", "Fri 25.12.26 09:00"]),
        ("cron(0 9 ? * L *)", ["Sat 28.11.26 09:00", "Sat 05.12.26 09:00"]),
        ("cron(0 9 ? * TUE#2 *)", ["Tue 08.12.26 09:00", "Tue 12.01.27 09:00"]),
        ("cron(0 9 ? * 2#5 *)", ["Mon 30.11.26 09:00", "Mon 29.03.27 09:00"]),
        ("cron(0 9 1 JAN,jul ? 2027-2028)", ["Fri 01.01.27 09:00", "Thu 01.07.27 09:00", "Sat 01.01.28 09:00"]),
        ("cron(0 0 1 1 ? 2027)", ["Fri 01.01.27 00:00"]),
        ("cron(0 0 1 1 ? 2020)", []),
        ("cron(0 0 31 2 ? *)", []),
        ("at(2026-11-23T18:05:00)", ["Mon 23.11.26 18:05"]),
        ("at(2026-11-23T07:00:00)", []),
        ("rate(1 hour)", ["Mon 23.11.26 08:00", "Mon 23.11.26 09:00"]),
        ("rate(2 days)", ["Wed 25.11.26 07:00", "Fri 27.11.26 07:00"]),
    ],
)
def test_an_expression_names_the_times_that_aws_documents(expression: str, expected: list[str]) -> None:
    assert times(expression, max(len(expected), 2))[: len(expected) or None] == expected


@pytest.mark.parametrize(
    "expression",
    [
        "cron(* * * * * *)",  # one of the days must be ?
        "cron(0 9 ? * ? *)",
        "cron(0 9 1 * MON *)",
        "cron(0 9 * * ?)",
        "cron(60 * * * ? *)",
        "cron(0 24 * * ? *)",
        "cron(0 9 0 * ? *)",
        "cron(0 9 32W * ? *)",
        "cron(0 9 ? * 8 *)",
        "cron(0 9 ? * MON#6 *)",
        "cron(0 9 ? FOO MON *)",
        "cron(5-1 * * * ? *)",
        "cron(0/0 * * * ? *)",
        "cron(0/x * * * ? *)",
        "cron(0 9 * * ? 1969)",
        "cron()",
        "rate(0 minutes)",
        "rate(1 minutes)",
        "rate(5 minute)",
        "rate(1 week)",
        "rate(1.5 hours)",
        "at(2026-11-23 18:05:00)",
        "at(2026-02-30T18:05:00)",
        "every day",
        "",
    ],
)
def test_an_expression_that_aws_does_not_take_is_refused(expression: str) -> None:
    with pytest.raises(BadExpression):
        parse(expression, ZoneInfo("UTC"), BEGIN)


def test_a_time_that_the_clocks_jump_over_in_spring_is_skipped() -> None:
    night = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times("cron(30 2 * * ? *)", 2, "Europe/Berlin", night) == ["Mon 30.03.26 02:30", "Tue 31.03.26 02:30"]
    assert times("cron(0 * * * ? *)", 3, "Europe/Berlin", datetime(2026, 3, 28, 23, 30, tzinfo=UTC)) == [
        "Sun 29.03.26 01:00",
        "Sun 29.03.26 03:00",
        "Sun 29.03.26 04:00",
    ]
    assert times("at(2026-03-29T02:30:00)", 1, "Europe/Berlin", night) == []


def test_the_hour_that_comes_twice_in_autumn_counts_once() -> None:
    before = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # 00:30 in Berlin
    parsed = parse("cron(0 * * * ? *)", ZoneInfo("Europe/Berlin"), BEGIN)
    runs = [before]
    for _ in range(5):
        following = parsed.next_after(runs[-1])
        assert following is not None
        runs.append(following)
    assert [run.hour for run in runs[1:]] == [23, 0, 2, 3, 4]  # 01, 02 (summer time), 03 ... in winter time
    between = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 for the second time
    assert parsed.next_after(between) == datetime(2026, 10, 25, 2, tzinfo=UTC)


def test_a_daily_time_keeps_its_place_on_the_clock_while_a_rate_keeps_its_distance() -> None:
    zone, before = "America/New_York", datetime(2026, 10, 31, 12, 0, tzinfo=UTC)
    assert times("cron(5 18 * * ? *)", 3, zone, before) == [
        "Sat 31.10.26 18:05",
        "Sun 01.11.26 18:05",
        "Mon 02.11.26 18:05",
    ]
    rate = parse("rate(1 day)", ZoneInfo(zone), before)
    runs = [before]
    for _ in range(3):
        following = rate.next_after(runs[-1])
        assert following is not None
        runs.append(following)
    assert all(later - earlier == timedelta(hours=24) for earlier, later in pairwise(runs))


# --- on the laptop -------------------------------------------------------------------------------------------------

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:"
CODE = """
import json, os, urllib.request
def handler(event, context):
    if event.get("fail"):
        raise RuntimeError("no")
    return {"decision": "Seen", "reason": json.dumps(event)}
"""


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as account:
        yield account


@pytest.fixture(scope="module")
def function(account: Account) -> str:
    iam = account.client("iam")
    trust = json.dumps(TRUST).replace("scheduler.amazonaws.com", "lambda.amazonaws.com")
    role = iam.create_role(RoleName="function", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("seen.py", CODE)
    answer = account.client("lambda").create_function(
        FunctionName="seen",
        Runtime="python3.13",
        Role=role,
        Handler="seen.handler",
        Code={"ZipFile": buffer.getvalue()},
        Timeout=10,
    )
    arn: str = answer["FunctionArn"]
    return arn


def role(account: Account, name: str, *statements: tuple[str, str], trust: Any = TRUST) -> str:
    iam = account.client("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    if statements:
        document = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in statements],
        }
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    return arn


def schedule(account: Account, name: str, expression: str, target: dict[str, Any], **more: Any) -> None:
    account.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
        **more,
    )


@pytest.fixture(autouse=True)
def _only_own_schedules(account: Account) -> Iterator[None]:
    yield
    client = account.client("scheduler")
    for one in client.list_schedules()["Schedules"]:
        client.delete_schedule(Name=one["Name"], GroupName=one["GroupName"])


def seen(account: Account, after: int) -> list[Any]:
    """The events that the function was called with, by the journal."""
    entries = [entry for entry in account.journal.entries(after) if entry["kind"] == "function"]
    return [json.loads(entry["reason"]) if entry["reason"] else entry["error"] for entry in entries]


def mark(account: Account) -> int:
    entries = account.journal.entries()
    return int(entries[-1]["n"]) if entries else 0


def until(check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def test_a_moved_clock_runs_every_schedule_in_order_with_its_own_time(account: Account, function: str) -> None:
    permitted = role(account, "permitted", ("lambda:InvokeFunction", function))
    evening = (account.clock.now() + timedelta(days=1)).replace(hour=17, minute=50, second=0, microsecond=0)
    account.clock.advance_to(evening)
    text = '{"time": "<aws.scheduler.scheduled-time>", "by": "<aws.scheduler.schedule-arn>"}'
    target = {"Arn": function, "RoleArn": permitted, "Input": text}
    schedule(account, "quarters", "cron(0/15 * * * ? *)", target)
    schedule(account, "at-six", "cron(0 18 * * ? *)", target)
    before = mark(account)
    fired = account.clock.advance_to(evening + timedelta(minutes=30))
    day = evening.strftime("%Y-%m-%d")
    expected = [
        ("at-six", f"{day}T18:00:00Z"),
        ("quarters", f"{day}T18:00:00Z"),
        ("quarters", f"{day}T18:15:00Z"),
    ]
    assert [(event["by"].rsplit("/", 1)[-1], event["time"]) for event in seen(account, before)] == expected
    assert [one["schedule"] for one in fired] == [name for name, _ in expected]
    assert all(one["error"] is None for one in fired)


def test_a_moved_clock_crosses_both_changes_of_the_clocks_as_scheduler_does(account: Account, function: str) -> None:
    permitted = role(account, "nights", ("lambda:InvokeFunction", function))
    target = {"Arn": function, "RoleArn": permitted}
    runs = []
    for night in ("2027-03-28", "2027-10-31"):
        midnight = datetime.fromisoformat(f"{night}T00:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
        account.clock.advance_to(midnight - timedelta(minutes=1))
        schedule(account, "hourly", "cron(0 * * * ? *)", target, ScheduleExpressionTimezone="Europe/Berlin")
        fired = account.clock.advance_to(midnight + timedelta(hours=5, minutes=30))
        runs.append([datetime.fromisoformat(one["at"]).astimezone(ZoneInfo("Europe/Berlin")).hour for one in fired])
        account.client("scheduler").delete_schedule(Name="hourly")
    assert runs == [[0, 1, 3, 4, 5], [0, 1, 2, 3, 4, 5]]


def test_a_schedule_runs_by_itself_while_the_time_passes(account: Account, function: str) -> None:
    permitted = role(account, "by-itself", ("lambda:InvokeFunction", function))
    before = mark(account)
    soon = account.clock.now() + timedelta(seconds=2)
    schedule(account, "soon", soon.strftime("at(%Y-%m-%dT%H:%M:%S)"), {"Arn": function, "RoleArn": permitted})
    (event,) = until(lambda: seen(account, before))
    assert (event["source"], event["detail"]) == ("aws.scheduler", "{}")
    assert event["time"] == soon.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_role_that_may_not_invoke_sends_the_event_to_the_dead_letters(account: Account, function: str) -> None:
    sqs = account.client("sqs")
    queue = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    powerless = role(account, "powerless", ("sqs:SendMessage", f"{QUEUE_ARN}dead-letters"))
    target = {
        "Arn": function,
        "RoleArn": powerless,
        "Input": '{"n": 1}',
        "RetryPolicy": {"MaximumRetryAttempts": 0},
        "DeadLetterConfig": {"Arn": f"{QUEUE_ARN}dead-letters"},
    }
    schedule(account, "powerless", "rate(1 hour)", target, StartDate=account.clock.now() + timedelta(hours=1))
    before = mark(account)
    (fired,) = account.clock.advance(3700)
    assert "lambda:InvokeFunction" in fired["error"]
    assert seen(account, before) == []
    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert message["Body"] == '{"n": 1}'
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "AccessDeniedException"
    assert attributes["RETRY_ATTEMPTS"] == "0"
    assert attributes["TARGET_ARN"] == function


def test_a_function_that_fails_is_retried_by_lambda_and_told(account: Account, function: str) -> None:
    permitted = role(account, "failing", ("lambda:InvokeFunction", function))
    account.client("lambda").put_function_event_invoke_config(FunctionName="seen", MaximumRetryAttempts=1)
    target = {"Arn": function, "RoleArn": permitted, "Input": '{"fail": true}'}
    schedule(account, "failing", "rate(1 hour)", target, StartDate=account.clock.now() + timedelta(hours=1))
    before = mark(account)
    (fired,) = account.clock.advance(3700)
    assert fired["error"] == "RuntimeError: no"
    assert seen(account, before) == ["RuntimeError: no"] * 2


def test_a_queue_is_a_target_too(account: Account) -> None:
    sqs = account.client("sqs")
    queue = sqs.create_queue(QueueName="ticks")["QueueUrl"]
    sender = role(account, "sender", ("sqs:SendMessage", f"{QUEUE_ARN}ticks"))
    target = {"Arn": f"{QUEUE_ARN}ticks", "RoleArn": sender, "Input": "attempt <aws.scheduler.attempt-number>"}
    schedule(account, "ticks", "rate(1 minute)", target, StartDate=account.clock.now() + timedelta(minutes=1))
    account.clock.advance(61)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "attempt 1"


def test_a_disabled_schedule_an_ended_one_and_a_deleted_one_do_not_run(account: Account, function: str) -> None:
    permitted = role(account, "silent", ("lambda:InvokeFunction", function))
    target, now = {"Arn": function, "RoleArn": permitted}, account.clock.now()
    hourly = {"StartDate": now + timedelta(hours=1)}
    schedule(account, "disabled", "rate(1 hour)", target, State="DISABLED", **hourly)
    schedule(account, "ended", "rate(1 hour)", target, EndDate=now + timedelta(minutes=90), **hourly)
    schedule(account, "deleted", "rate(1 hour)", target, **hourly)
    account.client("scheduler").delete_schedule(Name="deleted")
    fired = account.clock.advance(4 * 3600)
    assert [one["schedule"] for one in fired] == ["ended"]


def test_an_update_replaces_all_settings_and_plans_anew(account: Account, function: str) -> None:
    permitted = role(account, "updated", ("lambda:InvokeFunction", function))
    target, client = {"Arn": function, "RoleArn": permitted}, account.client("scheduler")
    schedule(account, "updated", "cron(0 3 * * ? *)", target, Description="d", State="DISABLED")
    client.update_schedule(
        Name="updated",
        ScheduleExpression="cron(0 4 * * ? *)",
        ScheduleExpressionTimezone="Asia/Tokyo",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    found = client.get_schedule(Name="updated")
    assert (found["State"], found["ScheduleExpressionTimezone"]) == ("ENABLED", "Asia/Tokyo")
    assert "Description" not in found
    (fired,) = account.clock.advance(24 * 3600)
    assert fired["at"].endswith("T19:00:00+00:00")


def test_a_one_time_schedule_may_go_when_it_is_done(account: Account, function: str) -> None:
    permitted = role(account, "once", ("lambda:InvokeFunction", function))
    at = (account.clock.now() + timedelta(hours=1)).strftime("at(%Y-%m-%dT%H:%M:%S)")
    schedule(account, "once", at, {"Arn": function, "RoleArn": permitted}, ActionAfterCompletion="DELETE")
    account.clock.advance(3700)
    with pytest.raises(ClientError) as error:
        account.client("scheduler").get_schedule(Name="once")
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ScheduleExpression": "cron(0 9 * * * *)"}, "must be"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "Timezone"),
        ({"GroupName": "nowhere"}, "does not exist"),
        ({"FlexibleTimeWindow": {"Mode": "SOMETIMES"}}, "enum"),
    ],
)
def test_a_schedule_that_aws_refuses_is_refused(
    account: Account, function: str, changes: dict[str, Any], reason: str
) -> None:
    try:
        permitted = role(account, "refused", ("lambda:InvokeFunction", function))
    except ClientError:
        permitted = f"arn:aws:iam::{ACCOUNT_ID}:role/refused"
    request: dict[str, Any] = {
        "Name": "refused",
        "ScheduleExpression": "rate(1 hour)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": function, "RoleArn": permitted},
    }
    with pytest.raises(ClientError, match=reason):
        account.client("scheduler").create_schedule(**{**request, **changes})


def test_a_role_that_does_not_trust_the_scheduler_is_refused(account: Account, function: str) -> None:
    trust = json.loads(json.dumps(TRUST).replace("scheduler.amazonaws.com", "lambda.amazonaws.com"))
    stranger = role(account, "stranger", ("lambda:InvokeFunction", function), trust=trust)
    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler to assume the role"):
        schedule(account, "stranger", "rate(1 hour)", {"Arn": function, "RoleArn": stranger})


def test_groups_hold_schedules_and_take_them_along_when_they_go(account: Account, function: str) -> None:
    permitted, client = role(account, "grouped", ("lambda:InvokeFunction", function)), account.client("scheduler")
    client.create_schedule_group(Name="reports")
    schedule(account, "one", "cron(0 3 * * ? *)", {"Arn": function, "RoleArn": permitted}, GroupName="reports")
    schedule(account, "one", "cron(0 3 * * ? *)", {"Arn": function, "RoleArn": permitted})
    assert len(client.list_schedules(NamePrefix="one")["Schedules"]) == 2
    pages = client.get_paginator("list_schedules").paginate(PaginationConfig={"PageSize": 1})
    assert [one["GroupName"] for page in pages for one in page["Schedules"]] == ["default", "reports"]
    client.delete_schedule_group(Name="reports")
    assert [one["GroupName"] for one in client.list_schedules(NamePrefix="one")["Schedules"]] == ["default"]


def test_a_rule_with_a_schedule_sends_its_targets_the_scheduled_event(account: Account) -> None:
    events, sqs = account.client("events"), account.client("sqs")
    queue = sqs.create_queue(QueueName="ruled")["QueueUrl"]
    rule = events.put_rule(Name="daily", ScheduleExpression="cron(0 6 * * ? *)")["RuleArn"]
    policy = {
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": f"{QUEUE_ARN}ruled",
            }
        ]
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    events.put_targets(Rule="daily", Targets=[{"Id": "q", "Arn": f"{QUEUE_ARN}ruled"}])
    (fired,) = account.clock.advance(24 * 3600)
    assert fired["schedule"] == "daily"
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    event = json.loads(message["Body"])
    assert (event["detail-type"], event["source"], event["resources"]) == ("Scheduled Event", "aws.events", [rule])
    assert event["time"].endswith("T06:00:00Z")
    events.remove_targets(Rule="daily", Ids=["q"])
    events.delete_rule(Name="daily")
