"""Alerts from AWS's own words to the inbox, and what becomes of them while Slack is down."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))
from slack_server import Slack, running_slack

pytestmark = pytest.mark.xdist_group("second-laptop")
WEBHOOK = "/ml-platform/slack-webhook"


@pytest.fixture
def slack(laptop: Any) -> Iterator[Slack]:
    """Another Slack than the laptop's inbox, for as long as a test takes."""
    ssm = laptop.client("ssm")
    before = ssm.get_parameter(Name=WEBHOOK, WithDecryption=True)["Parameter"]["Value"]
    with running_slack() as running:
        ssm.put_parameter(Name=WEBHOOK, Value=running.webhook, Type="SecureString", Overwrite=True)
        try:
            yield running
        finally:
            ssm.put_parameter(Name=WEBHOOK, Value=before, Type="SecureString", Overwrite=True)


def letters(laptop: Any) -> list[dict[str, Any]]:
    """Takes what is in the dead-letter queue."""
    sqs, found = laptop.client("sqs"), []
    url = sqs.get_queue_url(QueueName="ml-platform-dead-letters")["QueueUrl"]
    for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        found.append(json.loads(message["Body"]))
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def quiet(laptop: Any) -> None:
    """Waits until the dead letters' alarm is over: it rings where a letter lay there when a minute ended."""
    deadline = time.monotonic() + 60
    alarm = {"AlarmNames": ["ml-platform-dead-letters"]}
    while laptop.client("cloudwatch").describe_alarms(**alarm)["MetricAlarms"][0]["StateValue"] == "ALARM":
        assert time.monotonic() < deadline, "the alarm did not end"
        letters(laptop)
        time.sleep(0.5)
    letters(laptop)


def test_an_alert_that_slack_does_not_take_is_kept_with_its_error_and_goes_round_in_no_circle(
    laptop: Any, slack: Slack
) -> None:
    slack.answers = [(404, {}, "no_service")] * 50
    subject = "Slack does not know us any more"
    laptop.client("sns").publish(
        TopicArn=laptop.connection.outputs["AlertsTopicArn"], Subject=subject, Message="Something happened."
    )
    kept: list[dict[str, Any]] = []
    deadline = time.monotonic() + 60
    while not any(subject in json.dumps(letter) for letter in kept):
        assert time.monotonic() < deadline, "nothing was kept"
        kept += letters(laptop)
        time.sleep(0.2)
    letter = next(one for one in kept if subject in json.dumps(one))
    assert letter["requestContext"]["approximateInvokeCount"] == 3
    assert letter["responsePayload"]["errorType"] == "SlackError"
    assert "Slack answered 404" in letter["responsePayload"]["errorMessage"]
    assert "secret" not in letter["responsePayload"]["errorMessage"]  # the webhook's

    def asked() -> int:
        return [message["text"] for message in slack.messages].count(subject)

    assert asked() == 3  # by Lambda; the function itself knows that asking again is no use
    time.sleep(2)
    assert asked() == 3


def test_when_slack_is_back_the_next_alert_arrives(laptop: Any, slack: Slack) -> None:
    quiet(laptop)
    slack.messages.clear()
    slack.answers = [(500, {}, "")]
    laptop.client("sns").publish(
        TopicArn=laptop.connection.outputs["AlertsTopicArn"], Subject="Slack is back", Message="Something happened."
    )
    deadline = time.monotonic() + 60
    while len(slack.messages) < 2:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    assert [message["text"] for message in slack.messages] == ["Slack is back"] * 2
    assert letters(laptop) == []


def test_functions_that_fail_again_and_again_raise_an_alarm_beside_the_message_about_each(laptop: Any) -> None:
    for _ in range(3):
        laptop.client("lambda").invoke(
            FunctionName="ml-platform-compare-models", InvocationType="Event", Payload=b'{"dataset": 1}'
        )
    laptop.inbox("ALARM: ml-platform-failed-functions", 60)
    assert len(laptop.inbox("ml-platform-compare-models failed")) == 3
