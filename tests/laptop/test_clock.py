"""The clock only moves forwards, and all that falls due on the way is done in order."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from laptop.account import Account
from laptop.clock import Clock, Fired, UnderWay
from laptop.server import running

NOON = datetime(2300, 1, 1, 12, tzinfo=UTC)


class Every:
    """An agenda with work at a fixed distance."""

    def __init__(self, clock: Clock, name: str, first: datetime, step: timedelta, log: list[Any]) -> None:
        self.clock, self.name, self.due, self.step, self.log = clock, name, first, step, log

    def next_due(self) -> datetime | None:
        return self.due

    def run(self, due: datetime) -> list[Fired]:
        assert self.clock.now() - due < timedelta(seconds=60), "the clock stands at the moment that is due"
        self.due += self.step
        self.log.append((self.name, due))
        return [{"name": self.name}]


def test_due_work_of_several_agendas_is_done_in_the_order_of_time() -> None:
    clock, log = Clock(), list[Any]()
    clock.advance_to(NOON)
    hour = timedelta(hours=1)
    clock.add_agenda(Every(clock, "hourly", NOON + hour, hour, log))
    clock.add_agenda(Every(clock, "half", NOON + hour / 2, hour, log))
    fired = clock.advance_to(NOON + 2 * hour)
    assert [(name, (due - NOON) / hour) for name, due in log] == [
        ("half", 0.5),
        ("hourly", 1.0),
        ("half", 1.5),
        ("hourly", 2.0),
    ]
    assert [one["name"] for one in fired] == ["half", "hourly", "half", "hourly"]


def test_a_clock_may_begin_later_but_never_in_the_past() -> None:
    assert timedelta() <= Clock(NOON).now() - NOON < timedelta(seconds=60)
    with pytest.raises(ValueError, match="is over"):
        Clock(datetime(2020, 1, 1, tzinfo=UTC))


def test_the_clock_never_moves_backwards() -> None:
    clock = Clock()
    clock.advance_to(NOON)
    with pytest.raises(ValueError, match="only moves forwards"):
        clock.advance_to(NOON - timedelta(seconds=1))
    with pytest.raises(ValueError, match="only moves forwards"):
        clock.advance(-1)
    assert clock.now() >= NOON


def test_listeners_hear_of_every_jump_without_gaps_in_jumped_time() -> None:
    clock, jumps, log = Clock(), list[tuple[datetime, datetime]](), list[Any]()
    clock.advance_to(NOON)
    clock.subscribe(lambda old, new: jumps.append((old, new)))
    clock.add_agenda(Every(clock, "hourly", NOON + timedelta(hours=1), timedelta(hours=1), log))
    clock.advance_to(NOON + timedelta(hours=2, minutes=30))
    assert [new - NOON for _, new in jumps] == [timedelta(hours=1), timedelta(hours=2), timedelta(hours=2.5)]
    assert all(old < new for old, new in jumps)


def test_a_listener_that_fails_does_not_stop_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    def fail(old: datetime, new: datetime) -> None:
        raise RuntimeError("deaf")

    clock.subscribe(fail)
    clock.advance_to(NOON)
    assert clock.now() >= NOON
    assert "deaf" in capsys.readouterr().err


def test_the_next_moment_waits_for_what_the_last_one_set_going() -> None:
    clock, log = Clock(), list[Any]()
    clock.advance_to(NOON)

    def end_slowly() -> None:
        time.sleep(0.05)
        log.append("ended")

    class Starts(Every):
        def run(self, due: datetime) -> list[Fired]:
            super().run(due)
            clock.under_way.start_thread("slow", end_slowly)
            return []

    clock.add_agenda(Starts(clock, "work", NOON + timedelta(minutes=1), timedelta(minutes=1), log))
    clock.advance_to(NOON + timedelta(minutes=2))
    assert [one if one == "ended" else one[0] for one in log] == ["work", "ended", "work", "ended"]


def test_work_that_fails_to_start_is_not_under_way() -> None:
    from concurrent.futures import ThreadPoolExecutor

    pool, under_way = ThreadPoolExecutor(1), UnderWay()
    pool.shutdown()
    with pytest.raises(RuntimeError):
        under_way.submit(pool, print)
    assert under_way.wait(0)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as account:
        yield account


def clock_call(account: Account, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{account.url}/_laptop/clock", data, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_route_moves_the_clock_by_seconds_and_to_a_moment(account: Account) -> None:
    before = datetime.fromisoformat(clock_call(account)[1]["now"])
    status, answer = clock_call(account, {"advance_seconds": 90})
    after = datetime.fromisoformat(answer["now"])
    assert status == 200
    assert timedelta(seconds=90) <= after - before < timedelta(seconds=150)
    target = (after + timedelta(days=1)).replace(microsecond=0)
    _, answer = clock_call(account, {"to": target.isoformat().replace("+00:00", "Z")})
    assert timedelta() <= datetime.fromisoformat(answer["now"]) - target < timedelta(seconds=60)
    assert answer["fired"] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"to": "2020-01-01T00:00:00Z"}, "only moves forwards"),
        ({"to": "2999-01-01T00:00:00"}, "no time zone"),
        ({"to": "tomorrow"}, "Invalid isoformat"),
        ({"advance_seconds": -5}, "only moves forwards"),
        ({"advance_seconds": "5"}, "must be a number"),
        ({"advance_seconds": True}, "must be a number"),
        ({"advance_seconds": 1e30}, ""),
        ({}, "Give either"),
        ({"advance_seconds": 1, "to": "2999-01-01T00:00:00Z"}, "Give either"),
    ],
)
def test_a_move_that_makes_no_sense_is_refused(account: Account, body: dict[str, Any], reason: str) -> None:
    before = account.clock.now()
    status, answer = clock_call(account, body)
    assert status == 400
    assert reason in json.dumps(answer)
    assert account.clock.now() - before < timedelta(seconds=60)


def test_every_answer_tells_the_accounts_time(account: Account) -> None:
    account.clock.advance(3600)
    told = account.client("sts").get_caller_identity()["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert abs(parsedate_to_datetime(told) - account.clock.now()) < timedelta(seconds=60)


def test_objects_messages_and_the_journal_carry_the_moved_time(account: Account) -> None:
    account.clock.advance(7 * 24 * 3600)
    now = account.clock.now()
    s3, sqs = account.client("s3"), account.client("sqs")
    s3.create_bucket(Bucket="timed")
    s3.put_object(Bucket="timed", Key="a", Body=b"1")
    modified = s3.head_object(Bucket="timed", Key="a")["LastModified"]
    assert abs(modified - now) < timedelta(seconds=60)
    queue = sqs.create_queue(QueueName="timed")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    (message,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"])["Messages"]
    sent = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
    assert abs(sent - now) < timedelta(seconds=60)
    account.journal.record("test")
    at = datetime.fromisoformat(account.journal.entries()[-1]["at"])
    assert abs(at - now) < timedelta(seconds=60)


def test_a_delayed_message_arrives_when_the_clock_passes_its_delay(account: Account) -> None:
    sqs = account.client("sqs")
    queue = sqs.create_queue(QueueName="delayed")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=600)
    assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    account.clock.advance(601)
    assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "later"
