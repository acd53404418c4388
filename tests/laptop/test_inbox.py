"""What leaves the platform for people can be read in the inbox."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from laptop.account import Account
from laptop.server import running

Inbox = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as running_account:
        yield running_account


@pytest.fixture
def inbox(account: Account) -> Inbox:
    """Reads what has come in since the test began."""

    def all_messages() -> list[dict[str, Any]]:
        with urllib.request.urlopen(account.url + "/_laptop/inbox") as answer:
            return list(json.loads(answer.read()))

    before = len(all_messages())
    return lambda: all_messages()[before:]


@pytest.fixture
def topic(account: Account) -> Iterator[str]:
    sns = account.client("sns")
    arn = sns.create_topic(Name="alerts")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


def slack(account: Account, payload: dict[str, Any]) -> int:
    request = urllib.request.Request(account.url + "/_laptop/slack", data=json.dumps(payload).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        return int(answer.status)


def test_a_slack_message_is_kept_with_its_blocks_newest_last(account: Account, inbox: Inbox) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*done*"}}]
    assert slack(account, {"text": "first"}) == 200
    assert slack(account, {"text": "second", "blocks": blocks}) == 200
    first, second = inbox()
    assert set(first) == {"channel", "subject", "text", "blocks", "at"}
    assert (first["channel"], first["text"], first["blocks"]) == ("slack", "first", None)
    assert (second["text"], second["blocks"]) == ("second", blocks)


def test_an_empty_slack_message_is_refused_as_slack_does(account: Account, inbox: Inbox) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        slack(account, {})
    assert caught.value.code == 400
    assert inbox() == []


def test_a_topics_message_reaches_its_e_mail_subscribers_once_each(account: Account, inbox: Inbox, topic: str) -> None:
    sns = account.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="b@example.com")
    sns.publish(TopicArn=topic, Subject="Rejected", Message="The file is empty.")
    messages = inbox()
    assert [message["to"] for message in messages] == ["a@example.com", "b@example.com"]
    assert {(message["channel"], message["subject"], message["text"]) for message in messages} == {
        ("email", "Rejected", "The file is empty.")
    }


def test_of_a_message_by_protocol_e_mail_gets_its_own_part(account: Account, inbox: Inbox, topic: str) -> None:
    sns = account.client("sns")
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")
    parts = {"default": "for all", "email": "for people", "lambda": "for code"}
    sns.publish(TopicArn=topic, Message=json.dumps(parts), MessageStructure="json")
    assert [message["text"] for message in inbox()] == ["for people"]


def test_a_filter_policy_keeps_messages_from_an_e_mail_subscriber(account: Account, inbox: Inbox, topic: str) -> None:
    sns = account.client("sns")
    sns.subscribe(
        TopicArn=topic,
        Protocol="email",
        Endpoint="a@example.com",
        Attributes={"FilterPolicy": json.dumps({"severity": ["high"]})},
    )
    for severity in ("low", "high"):
        attribute = {"DataType": "String", "StringValue": severity}
        sns.publish(TopicArn=topic, Message=severity, MessageAttributes={"severity": attribute})
    assert [message["text"] for message in inbox()] == ["high"]


def test_the_next_account_in_a_process_begins_empty(topic: str) -> None:
    with running() as next_account:
        with urllib.request.urlopen(next_account.url + "/_laptop/inbox") as answer:
            assert json.loads(answer.read()) == []
        assert next_account.client("sns").list_topics()["Topics"] == []
