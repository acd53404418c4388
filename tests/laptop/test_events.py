"""Patterns match as EventBridge's do; what matches reaches its targets, or the dead letters."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.events import matches, target_input
from laptop.server import running

EVENT: dict[str, Any] = {
    "id": "1",
    "source": "aws.s3",
    "detail-type": "Object Created",
    "time": "2026-11-23T06:30:00Z",
    "resources": ["arn:aws:s3:::data"],
    "detail": {
        "bucket": {"name": "data"},
        "object": {"key": "datasets/iris/train.csv", "size": 100, "version-id": None},
        "tags": ["a", "b"],
        "items": [{"x": 1}, {"x": 2}],
        "empty": "",
        "flag": True,
        "ip": "10.0.0.7",
    },
}


def detail(**pattern: Any) -> dict[str, Any]:
    return {"detail": pattern}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.s3"]}, True),
        ({"source": ["aws.sagemaker", "aws.s3"]}, True),
        ({"source": ["aws.sagemaker"]}, False),
        ({"source": ["aws.s3"], "detail-type": ["Object Deleted"]}, False),
        ({"missing": ["x"]}, False),
        ({"resources": ["arn:aws:s3:::data"]}, True),
        (detail(bucket={"name": ["data"]}), True),
        (detail(bucket={"nome": ["data"]}), False),
        (detail(tags=["b", "z"]), True),
        (detail(tags=["z"]), False),
        (detail(object={"key": [{"prefix": "datasets/"}]}), True),
        (detail(object={"key": [{"prefix": "dataset/"}]}), False),
        (detail(object={"key": [{"prefix": {"equals-ignore-case": "DATASETS/"}}]}), True),
        (detail(object={"key": [{"suffix": ".csv"}]}), True),
        (detail(object={"key": [{"suffix": ".CSV"}]}), False),
        (detail(object={"key": [{"suffix": {"equals-ignore-case": ".CSV"}}]}), True),
        (detail(object={"key": [{"wildcard": "datasets/*/*.csv"}]}), True),
        (detail(object={"key": [{"wildcard": "*/verdicts/*"}]}), False),
        (detail(object={"key": [{"equals-ignore-case": "DATASETS/iris/train.CSV"}]}), True),
        (detail(object={"key": [{"anything-but": ["datasets/iris/train.csv", "x"]}]}), False),
        (detail(object={"key": [{"anything-but": "x"}]}), True),
        (detail(object={"key": [{"anything-but": {"prefix": "datasets/"}}]}), False),
        (detail(object={"key": [{"anything-but": {"prefix": ["x", "y"]}}]}), True),
        (detail(object={"key": [{"anything-but": {"suffix": ".csv"}}]}), False),
        (detail(object={"key": [{"anything-but": {"wildcard": "*/iris/*"}}]}), False),
        (detail(object={"nokey": [{"anything-but": "x"}]}), False),
        (detail(object={"size": [{"numeric": [">", 0]}]}), True),
        (detail(object={"size": [{"numeric": [">=", 10, "<", 100]}]}), False),
        (detail(object={"size": [{"numeric": ["=", 100.0]}]}), True),
        (detail(object={"key": [{"numeric": [">", 0]}]}), False),
        (detail(object={"size": [100]}), True),
        (detail(object={"size": ["100"]}), False),
        (detail(object={"version-id": [None]}), True),
        (detail(object={"version-id": [{"exists": True}]}), True),
        (detail(object={"version": [{"exists": False}]}), True),
        (detail(object={"key": [{"exists": False}]}), False),
        (detail(object=[{"exists": True}]), False),  # only leaves exist
        (detail(nothing={"inside": [{"exists": False}]}), True),
        (detail(empty=[""]), True),
        (detail(flag=[True]), True),
        (detail(flag=[1]), False),
        (detail(items={"x": [2]}), True),
        (detail(items={"x": [3]}), False),
        (detail(ip=[{"cidr": "10.0.0.0/24"}]), True),
        (detail(ip=[{"cidr": "10.0.1.0/24"}]), False),
        ({"$or": [{"source": ["x"]}, {"detail-type": ["Object Created"]}]}, True),
        ({"$or": [{"source": ["x"]}, {"detail-type": ["x"]}]}, False),
        ({"source": ["aws.s3"], "detail": {"$or": [{"flag": [False]}, {"empty": [""]}]}}, True),
    ],
)
def test_a_pattern_matches_as_in_eventbridge(pattern: dict[str, Any], expected: bool) -> None:
    assert matches(pattern, EVENT) is expected


def test_an_unknown_operator_and_a_bare_value_are_errors() -> None:
    with pytest.raises(ServiceError, match="Unrecognized match type begins"):
        matches({"source": [{"begins": "aws"}]}, EVENT)
    with pytest.raises(ServiceError, match="must be an array"):
        matches({"source": "aws.s3"}, EVENT)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, json.dumps(EVENT)),
        ({"Input": '{"a": 1}'}, '{"a": 1}'),
        ({"InputPath": "$.detail.bucket"}, '{"name": "data"}'),
        ({"InputPath": "$.resources[0]"}, '"arn:aws:s3:::data"'),
        (
            {"InputTransformer": {"InputPathsMap": {"k": "$.detail.object.key"}, "InputTemplate": '"New: <k>"'}},
            '"New: datasets/iris/train.csv"',
        ),
        (
            {
                "InputTransformer": {
                    "InputPathsMap": {"n": "$.detail.object.size", "t": "$.detail.tags", "x": "$.nothing"},
                    "InputTemplate": '{"n": <n>, "t": <t>, "text": "<n>", "x": <x>, "by": <aws.events.rule-name>}',
                }
            },
            '{"n": 100, "t": ["a", "b"], "text": "100", "x": null, "by": "rule"}',
        ),
    ],
)
def test_a_target_gets_what_it_asked_for(target: dict[str, Any], expected: str) -> None:
    assert target_input(target, EVENT, "rule", "arn") == expected


# --- with a running laptop ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as running_account:
        yield running_account


def queue(account: Account, name: str, rule_arn: str = "*") -> tuple[str, str]:
    arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnLike": {"aws:SourceArn": rule_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    url = account.client("sqs").create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
    return url, arn


def rule(account: Account, name: str, pattern: dict[str, Any], *targets: dict[str, Any]) -> str:
    events = account.client("events")
    arn = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
    events.put_targets(Rule=name, Targets=[{"Id": str(n), **target} for n, target in enumerate(targets)])
    return str(arn)


def received(account: Account, url: str) -> list[dict[str, Any]]:
    answer = account.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2, MessageAttributeNames=["All"]
    )
    return list(answer.get("Messages", []))


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "It never happened."
        time.sleep(0.02)
    return result


def test_an_object_dropped_into_a_bucket_becomes_one_event_as_s3_writes_it(account: Account) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="watched")
    s3.create_bucket(Bucket="unwatched")
    s3.put_bucket_notification_configuration(
        Bucket="watched", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    url, arn = queue(account, "objects")
    rule(account, "objects", {"source": ["aws.s3"]}, {"Arn": arn})
    s3.put_object(Bucket="unwatched", Key="datasets/iris/a.csv", Body=b"x")
    s3.put_object(Bucket="watched", Key="datasets/iris/a b+50%25 ü.csv", Body=b"12345")
    (message,) = received(account, url)
    event = json.loads(message["Body"])
    assert (event["version"], event["account"], event["region"]) == ("0", "123456789012", "us-east-1")
    assert (event["source"], event["detail-type"]) == ("aws.s3", "Object Created")
    assert event["resources"] == ["arn:aws:s3:::watched"]
    stored = event["detail"]["object"]
    assert stored.pop("sequencer")
    assert stored == {
        "key": "datasets/iris/a b+50%25 ü.csv",
        "size": 5,
        "etag": "827ccb0eea8a706c4c34a16891f84e7b",
    }
    assert event["detail"]["bucket"] == {"name": "watched"}
    assert event["detail"]["reason"] == "PutObject"


def test_the_last_version_of_an_object_may_be_a_delete_marker_and_its_end_is_told(account: Account) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="emptied")
    s3.put_bucket_versioning(Bucket="emptied", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket="emptied", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    version = s3.put_object(Bucket="emptied", Key="a", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket="emptied", Key="a")["VersionId"]
    for one in (version, marker):  # as a teardown with the data does it
        s3.delete_object(Bucket="emptied", Key="a", VersionId=one)
    assert "Versions" not in s3.list_object_versions(Bucket="emptied")
    (gone,) = [
        entry["detail"]
        for entry in account.journal.entries()
        if entry["kind"] == "event" and entry["detail_type"] == "Object Deleted"
    ]
    assert (gone["object"]["key"], gone["deletion-type"]) == ("a", "Permanently Deleted")


def test_copies_and_multipart_uploads_say_how_they_came(account: Account, tmp_path: Any) -> None:
    s3 = account.client("s3")
    s3.create_bucket(Bucket="reasons")
    s3.put_bucket_versioning(Bucket="reasons", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket="reasons", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    large = tmp_path / "large"
    large.write_bytes(b"x" * 9_000_000)
    s3.upload_file(str(large), "reasons", "large")
    s3.copy_object(Bucket="reasons", Key="copy", CopySource={"Bucket": "reasons", "Key": "large"})

    def told() -> list[dict[str, Any]]:
        events = [entry for entry in account.journal.entries() if entry["kind"] == "event"]
        return [entry for entry in events if entry["detail"].get("bucket") == {"name": "reasons"}]

    eventually(lambda: len(told()) >= 2)
    assert [(entry["detail_type"], entry["detail"]["reason"]) for entry in told()] == [
        ("Object Created", "CompleteMultipartUpload"),
        ("Object Created", "CopyObject"),
    ]
    assert told()[0]["detail"]["object"]["version-id"]
    assert told()[0]["detail"]["object"]["size"] == 9_000_000


def test_only_enabled_rules_that_match_deliver(account: Account) -> None:
    url, arn = queue(account, "enabled")
    rule(account, "matching", {"source": ["shop"], "detail": {"total": [{"numeric": [">", 10]}]}}, {"Arn": arn})
    rule(account, "disabled", {"source": ["shop"]}, {"Arn": arn})
    account.client("events").disable_rule(Name="disabled")
    entries = [
        {"Source": "shop", "DetailType": "Sale", "Detail": json.dumps({"total": total})} for total in (5, 15, 10)
    ]
    assert account.client("events").put_events(Entries=entries)["FailedEntryCount"] == 0
    assert [json.loads(message["Body"])["detail"] for message in received(account, url)] == [{"total": 15}]


def test_put_events_refuses_what_eventbridge_refuses_entry_by_entry(account: Account) -> None:
    answer = account.client("events").put_events(
        Entries=[
            {"Source": "shop", "DetailType": "Sale", "Detail": "{"},
            {"Source": "aws.s3", "DetailType": "Object Created", "Detail": "{}"},
            {"Source": "shop", "DetailType": "Sale", "Detail": "{}"},
        ]
    )
    assert answer["FailedEntryCount"] == 2
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [
        "MalformedDetail",
        "NotAuthorizedForSourceException",
        None,
    ]


def test_a_queue_that_does_not_let_the_rule_gets_nothing_and_the_dead_letters_say_why(account: Account) -> None:
    closed_url, closed = queue(account, "closed", rule_arn="arn:aws:events:us-east-1:123456789012:rule/other")
    letters_url, letters = queue(account, "letters")
    arn = rule(account, "refused", {"source": ["closed"]}, {"Arn": closed, "DeadLetterConfig": {"Arn": letters}})
    account.events.put("closed", "Test", {"a": 1})
    (message,) = received(account, letters_url)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert json.loads(message["Body"])["detail"] == {"a": 1}
    assert (attributes["RULE_ARN"], attributes["TARGET_ARN"]) == (arn, closed)
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert account.client("sqs").receive_message(QueueUrl=closed_url).get("Messages") is None


def test_a_target_that_fails_for_a_moment_is_tried_again(account: Account) -> None:
    url, arn = queue(account, "flaky")
    rule(account, "flaky", {"source": ["flaky"]}, {"Arn": arn})
    # The client that delivers retries once itself: three failures outlast it.
    _order_fault(account, "sqs", "SendMessage", "InternalError", 3)
    account.events.put("flaky", "Test", {})
    assert len(received(account, url)) == 1


def _order_fault(account: Account, service: str, operation: str, code: str, times: int) -> None:
    import urllib.request

    order = {"service": service, "operation": operation, "error_code": code, "times": times}
    urllib.request.urlopen(
        urllib.request.Request(account.url + "/_laptop/fault", data=json.dumps(order).encode(), method="POST")
    ).close()


def test_a_topic_as_a_target_passes_the_event_on(account: Account) -> None:
    url, arn = queue(account, "behind-topic")
    sns = account.client("sns")
    topic = sns.create_topic(Name="from-events")["TopicArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    sns.set_topic_attributes(
        TopicArn=topic,
        AttributeName="Policy",
        AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    rule(account, "topic", {"source": ["topical"]}, {"Arn": topic, "InputPath": "$.detail"})
    account.events.put("topical", "Test", {"a": 1})
    assert [message["Body"] for message in received(account, url)] == ['{"a": 1}']


def test_events_and_deliveries_are_in_the_event_log(account: Account) -> None:
    url, arn = queue(account, "logged")
    rule(account, "logged", {"source": ["logged"]}, {"Arn": arn})
    account.events.put("logged", "Test", {"a": 1}, ("arn:thing",))
    assert json.loads(received(account, url)[0]["Body"])["resources"] == ["arn:thing"]
    entries = account.journal.entries()
    event = next(entry for entry in entries if entry["kind"] == "event" and entry["source"] == "logged")
    delivery = eventually(
        lambda: [
            entry
            for entry in account.journal.entries()
            if entry["kind"] == "delivery" and entry.get("event_id") == event["id"]
        ]
    )
    assert (delivery[0]["rule"], delivery[0]["target"], delivery[0].get("error")) == ("logged", arn, None)
