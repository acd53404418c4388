"""CloudTrail's event history of what the laptop was really asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from laptop.server import Server

pytestmark = pytest.mark.xdist_group("trail")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    running.start()
    yield running
    running.stop()


@cache
def client(server: Server, service: str, key: str = "somebody", secret: str = "x", token: str | None = None) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=server.account.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 0}),
    )


def lookup(server: Server, **parameters: Any) -> dict[str, Any]:
    """Half a second after the last, as often as CloudTrail lets anybody ask."""
    time.sleep(0.51)
    answer: dict[str, Any] = client(server, "cloudtrail").lookup_events(**parameters)
    return answer


def named(server: Server, name: str) -> list[dict[str, Any]]:
    found = lookup(server, LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])["Events"]
    return [{**one, "record": json.loads(one["CloudTrailEvent"])} for one in found]


def test_a_user_is_known_by_its_key_and_anybody_else_is_the_administrator(server: Server) -> None:
    iam = client(server, "iam")
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    client(server, "s3", key["AccessKeyId"], key["SecretAccessKey"]).create_bucket(Bucket="of-alice")
    client(server, "s3").create_bucket(Bucket="of-anybody")
    newest, before = named(server, "CreateBucket")[:2]
    assert (newest["Username"], before["Username"]) == ("administrator", "alice")
    assert before["record"]["userIdentity"]["arn"] == "arn:aws:iam::123456789012:user/alice"
    assert before["record"]["requestParameters"]["bucketName"] == "of-alice"
    assert (before["EventSource"], before["ReadOnly"]) == ("s3.amazonaws.com", "false")
    assert before["record"]["eventID"] == before["EventId"]
    assert before["record"]["recipientAccountId"] == "123456789012"
    assert client(server, "sts").get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/administrator"


def test_a_roles_session_is_told_with_the_role_and_the_sessions_name(server: Server) -> None:
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*"}]}
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam = client(server, "iam")
    role = iam.create_role(RoleName="analyst", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName="analyst", PolicyName="all", PolicyDocument=json.dumps(everything))
    taken = client(server, "sts").assume_role(RoleArn=role, RoleSessionName="bob@example.com")["Credentials"]
    keys = taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"]
    with pytest.raises(ClientError):
        client(server, "sagemaker", *keys).create_endpoint(EndpointName="demo", EndpointConfigName="not-there")
    [event] = named(server, "CreateEndpoint")
    identity = event["record"]["userIdentity"]
    assert event["Username"] == "bob@example.com"
    assert identity["type"] == "AssumedRole"
    assert identity["principalId"].endswith(":bob@example.com")
    assert identity["sessionContext"]["sessionIssuer"]["userName"] == "analyst"
    assert event["record"]["requestParameters"] == {"endpointName": "demo", "endpointConfigName": "not-there"}
    assert event["record"]["errorCode"] == "ValidationException"  # a call that failed is in the history too


def test_secrets_are_hidden_and_calls_about_data_are_not_told(server: Server) -> None:
    client(server, "ssm").put_parameter(Name="/shop/hook", Value="https://secret", Type="SecureString")
    [event] = named(server, "PutParameter")
    assert "https://secret" not in event["CloudTrailEvent"]
    client(server, "s3").create_bucket(Bucket="of-data")
    client(server, "s3").put_object(Bucket="of-data", Key="a", Body=b"1")
    assert named(server, "PutObject") == []


def test_the_newest_come_first_in_pages_and_no_older_than_ninety_days(server: Server) -> None:
    sqs = client(server, "sqs")
    for number in range(5):
        sqs.create_queue(QueueName=f"queue-{number}")
    wanted = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "CreateQueue"}], "MaxResults": 3}
    first = lookup(server, **wanted)
    second = lookup(server, **wanted, NextToken=first["NextToken"])
    names = [
        json.loads(one["CloudTrailEvent"])["requestParameters"]["queueName"]
        for one in (*first["Events"], *second["Events"])
    ]
    assert names == [f"queue-{number}" for number in reversed(range(5))]
    assert "NextToken" not in second
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert lookup(server, EndTime=hour_ago)["Events"] == []
    server.account.clock.advance(91 * 86400)
    assert named(server, "CreateQueue") == []


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (
            {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": name} for name in ("A", "B")]},
            "InvalidLookupAttributesException",
        ),
        ({"StartTime": 2_000_000_000, "EndTime": 1_900_000_000}, "InvalidTimeRangeException"),
        ({"NextToken": "invented"}, "InvalidNextTokenException"),
    ],
)
def test_a_lookup_that_makes_no_sense_is_refused(server: Server, parameters: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        lookup(server, **parameters)


def test_more_than_two_lookups_a_second_are_refused(server: Server) -> None:
    asking = client(server, "cloudtrail")
    lookup(server)
    with pytest.raises(ClientError, match="ThrottlingException"):
        [asking.lookup_events() for _ in range(2)]
