"""What people are told, whatever it came from; within the limits of SNS and Slack, and without secrets."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest

import builders
from laptop.service_model import validate
from mlplatform.decisions import AskApproval, Decision, Notify, RejectDataset, Skip
from mlplatform.errors import BadEvent
from mlplatform.notices import NOT_UNDERSTOOD, Notice, Severity, for_decision, from_sns, publish_request, slack_blocks

MARK = f"{NOT_UNDERSTOOD}\n\n"
TOPIC = "arn:aws:sns:us-east-1:123456789012:ml-platform-alerts"


def sns(message: object, subject: str | None = None) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
    text = message if isinstance(message, str) else json.dumps(message)
    return {
        "EventSource": "aws:sns",
        "Sns": {"Type": "Notification", "TopicArn": TOPIC, "Subject": subject, "Message": text},
    }


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
ALARM = {
    "AlarmName": "ml-platform-dead-letters",
    "AlarmDescription": "Something could not be handled.",
    "AWSAccountId": "123456789012",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: 1 datapoint [1.0] was greater than the threshold (0.0).",
    "StateChangeTime": "2026-11-23T06:00:00.000+0000",
    "Region": "US East (N. Virginia)",
    "OldStateValue": "OK",
    "Trigger": {"MetricName": "ApproximateNumberOfMessagesVisible"},
}

# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
FAILURE = {
    "version": "1.0",
    "timestamp": "2026-11-23T06:00:00.000Z",
    "requestContext": {
        "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
        "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:ml-platform-deploy-model:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    },
    "requestPayload": {"detail": "a long event"},
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "responsePayload": {
        "errorMessage": "sagemaker CreateModel failed",
        "errorType": "AwsError",
        "stackTrace": ["line"],
    },
}


def test_a_rejection_tells_the_reason_the_dataset_and_the_version() -> None:
    decision = RejectDataset("data.csv is empty.", "flowers", "0123456789ab")
    notice = for_decision(decision, stack="ml-platform", environment="dev")
    assert notice == Notice(
        "ml-platform: dataset flowers was rejected",
        "data.csv is empty.\n\nDataset flowers, version 0123456789ab, in ml-platform (dev).",
        Severity.WARNING,
    )


@pytest.mark.parametrize(
    ("decision", "subject"), [(Skip("Nothing."), None), (Notify("It failed.", "Training failed"), "Training failed")]
)
def test_only_what_concerns_people_is_told(decision: Decision, subject: str | None) -> None:
    notice = for_decision(decision, stack="ml-platform", environment="dev")
    assert (notice and notice.subject) == subject


def test_what_is_published_comes_back_the_same_and_reads_as_plain_text_in_e_mail() -> None:
    notice = Notice("Größe: a new model", "It is better.\nBy far: ✓.", Severity.INFO)
    request = publish_request(notice, TOPIC)
    by_protocol = json.loads(request["Message"])
    assert by_protocol["default"] == "It is better.\nBy far: ✓."
    assert from_sns(sns(by_protocol["lambda"], "anything")) == notice


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("Größe café", "Groe cafe"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("x" * 120, "x" * 96 + "..."),
        ("数据", "Notice"),
    ],
)
def test_a_subject_is_made_to_fit_sns(subject: str, fits: str) -> None:
    assert Notice(subject, "text", Severity.INFO).subject == fits


def test_a_published_request_holds_against_the_service_model() -> None:
    model = next(Path(botocore.__file__).parent.glob("data/sns/2010-03-31/service-2.json*"))
    content = gzip.decompress(model.read_bytes()) if model.suffix == ".gz" else model.read_bytes()
    known = json.loads(content)["shapes"]["PublishInput"]["members"]
    request = publish_request(Notice("s", "short", Severity.CRITICAL), TOPIC)
    assert set(request) <= set(known)


@pytest.mark.parametrize("letter", ["x", "é", "🙂", "\n", '"', "\x01"])
def test_the_longest_message_fits_sns_whatever_its_letters(letter: str) -> None:
    request = publish_request(Notice("s", letter * 1_000_000, Severity.CRITICAL), TOPIC)
    assert len(request["Message"].encode()) < 250 * 1024  # SNS takes 256 KiB with attributes


@pytest.mark.parametrize(
    ("message", "subject", "text", "severity"),
    [
        (
            ALARM,
            "ALARM: ml-platform-dead-letters",
            "Something could not be handled.\n\nThreshold Crossed: 1 datapoint [1.0] was greater than the threshold "
            "(0.0).\n\nWas OK, in US East (N. Virginia).",
            Severity.CRITICAL,
        ),
        (
            {
                **ALARM,
                "NewStateValue": "OK",
                "OldStateValue": "ALARM",
                "AlarmDescription": None,
                "NewStateReason": "Fine.",
            },
            "OK: ml-platform-dead-letters",
            "Fine.\n\nWas ALARM, in US East (N. Virginia).",
            Severity.INFO,
        ),
        (
            FAILURE,
            "ml-platform-deploy-model failed",
            "AwsError: sagemaker CreateModel failed\n\nRetriesExhausted after 3 attempts. Request "
            "e4b46cbf-b738-xmpl-8880-a18cdf61200e; its log is in /aws/lambda/ml-platform-deploy-model.",
            Severity.CRITICAL,
        ),
        (
            {
                **FAILURE,
                "requestContext": {
                    **FAILURE["requestContext"],
                    "condition": "EventAgeExceeded",
                    "approximateInvokeCount": 0,
                },  # type: ignore[dict-item]
                "responseContext": None,
                "responsePayload": None,
            },
            "ml-platform-deploy-model failed",
            "No error was recorded.\n\nEventAgeExceeded after 0 attempts. Request "
            "e4b46cbf-b738-xmpl-8880-a18cdf61200e; its log is in /aws/lambda/ml-platform-deploy-model.",
            Severity.CRITICAL,
        ),
        ("plain words", "Message on ml-platform-alerts", f"{MARK}plain words", Severity.WARNING),
        ({"unknown": 1}, "Message on ml-platform-alerts", f'{MARK}{{\n  "unknown": 1\n}}', Severity.WARNING),
        ("[1, 2]", "Message on ml-platform-alerts", f"{MARK}[1, 2]", Severity.WARNING),
        # What only looks like a notice of the platform's own is no reason to lose it.
        ({"notice": 1}, "Message on ml-platform-alerts", f'{MARK}{{\n  "notice": 1\n}}', Severity.WARNING),
        (
            {"notice": 1, "subject": "s", "text": "t", "severity": "loud"},
            "Message on ml-platform-alerts",
            f'{MARK}{{\n  "notice": 1,\n  "subject": "s",\n  "text": "t",\n  "severity": "loud"\n}}',
            Severity.WARNING,
        ),
    ],
)
def test_every_kind_of_message_becomes_a_notice(message: object, subject: str, text: str, severity: Severity) -> None:
    notice = from_sns(sns(message))
    assert (notice.subject, notice.text, notice.severity) == (subject, text, severity)


def test_the_subject_of_an_unknown_message_is_kept() -> None:
    assert from_sns(sns("words", "AWS Budgets: alert")).subject == "AWS Budgets: alert"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"Sns": {}},
        {"Sns": {"Message": 1}},
    ],
)
def test_what_sns_does_not_send_is_a_bad_event(record: dict[str, Any]) -> None:
    with pytest.raises(BadEvent):
        from_sns(record)


@pytest.mark.parametrize(
    "secret",
    [
        "https://hooks.slack.com/services/T000/B000/XXXXsecret",
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "https://bucket.s3.amazonaws.com/key?X-Amz-Signature=0123456789abcdef&x=1",
        'aws_secret_access_key = "abcdefgh/secret"',
        '{"SecretAccessKey": "abcdefgh/secret"}',
    ],
)
def test_a_secret_that_strays_into_a_message_is_hidden(secret: str) -> None:
    notice = from_sns(sns(f"It failed with {secret} at last", f"Oh {secret}"))
    shown = notice.subject + notice.text + json.dumps(slack_blocks(notice))
    assert not re.search(r"XXXXsecret|ABCDEFGHIJKLMNOP|0123456789abcdef|abcdefgh", shown)
    assert "hidden" in shown
    assert notice.text.startswith(f"{MARK}It failed with ")


def test_slack_gets_plain_text_within_its_limits() -> None:
    blocks = slack_blocks(Notice("A subject", "min_instances <!channel> *1*", Severity.CRITICAL))
    assert [block["type"] for block in blocks] == ["header", "section", "context"]
    assert blocks[0]["text"] == {"type": "plain_text", "text": "A subject", "emoji": False}
    assert blocks[1]["text"] == {"type": "plain_text", "text": "min_instances <!channel> *1*", "emoji": False}
    assert blocks[2]["elements"][0]["text"] == "severity: critical"


def test_a_long_text_is_spread_over_sections_and_an_empty_one_has_none() -> None:
    long = slack_blocks(Notice("s", "x" * 7_000, Severity.INFO))
    assert [len(block["text"]["text"]) for block in long[1:-1]] == [3000, 3000, 1000]
    assert len(slack_blocks(Notice("s", "x" * 10**6, Severity.INFO))) == 7  # 15,000 characters: header, 5, context
    assert [block["type"] for block in slack_blocks(Notice("s", "", Severity.INFO))] == ["header", "context"]


def test_whoever_is_asked_for_approval_sees_what_changes_and_can_copy_the_commands() -> None:
    arn = builders.model_package(3).arn
    decision = AskApproval(
        "It has roc_auc 0.9000; it waits for a person's approval, because its job.json asks for that.",
        "churn",
        builders.JOB,
        None,
        builders.card(),
        ("Metric: roc_auc 0.9000 on its test rows.", "Hosting: 22.16 USD a month."),
        arn,
    )
    notice = for_decision(decision, stack="ml-platform", environment="prod")
    assert notice is not None
    assert (notice.subject, notice.severity) == ("ml-platform: a model for churn waits for approval", Severity.WARNING)
    blocks = slack_blocks(notice)
    assert [block["type"] for block in blocks] == ["header", "section", "section", "section", "section"]
    assert blocks[2]["text"]["text"] == "Metric: roc_auc 0.9000 on its test rows.\nHosting: 22.16 USD a month."
    update = f"aws sagemaker update-model-package --model-package-arn {arn} --model-approval-status"
    assert blocks[3]["text"]["text"].splitlines() == [
        "Approve, and it goes live: mlp approve churn/3 --reason TEXT",
        "Reject: mlp reject churn/3 --reason TEXT",
        "Go back, once it is live: mlp rollback churn",
        f"Without mlp: {update} Approved, or {update} Rejected",
    ]
    for block in blocks:
        assert block["text"]["text"] in notice.text or block["type"] == "header"
    request = publish_request(notice, "arn:aws:sns:us-east-1:123456789012:ml-platform-alerts")
    assert validate("sns", "Publish", request) == []
