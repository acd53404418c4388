"""The topic's messages reach Slack, or the error leaves the function."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from slack_server import Slack, running_slack

import notify as function
from builders import LambdaContext
from mlplatform.decisions import Notify, Skip
from mlplatform.errors import BadEvent, SlackError
from mlplatform.notices import NOT_UNDERSTOOD
from notify import notify

PARAMETER = "/ml-platform/slack-webhook"


class FakeAws:
    """SSM, as far as this function goes."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.secrets = secrets

    def read_secret(self, parameter: str) -> str | None:
        return self.secrets.get(parameter)


def app(secrets: dict[str, str]) -> Any:
    return SimpleNamespace(aws=FakeAws(secrets), settings=SimpleNamespace(slack_webhook_parameter=PARAMETER))


def event(*messages: str) -> dict[str, Any]:
    return {"Records": [{"Sns": {"Subject": f"Message {i}", "Message": text}} for i, text in enumerate(messages)]}


@pytest.fixture
def there() -> Iterator[Slack]:
    with running_slack() as running:
        yield running


def test_every_record_is_posted(there: Slack) -> None:
    done = notify(app({PARAMETER: there.webhook}), event("one", "two"))
    assert done == [
        Notify('Posted "Message 0" to Slack.', "Message 0"),
        Notify('Posted "Message 1" to Slack.', "Message 1"),
    ]
    assert [message["text"] for message in there.messages] == ["Message 0", "Message 1"]
    assert [message["blocks"][1]["text"]["text"] for message in there.messages] == [
        f"{NOT_UNDERSTOOD}\n\none",
        f"{NOT_UNDERSTOOD}\n\ntwo",
    ]


def test_without_a_webhook_it_says_how_to_store_one() -> None:
    assert notify(app({}), event("one")) == [Skip("No Slack webhook is stored; `mlp slack set` stores one.")]


def test_a_refusal_leaves_the_function_so_that_lambda_retries(there: Slack) -> None:
    there.answers = [(403, {}, "invalid_token")]
    with pytest.raises(SlackError, match="invalid_token"):
        notify(app({PARAMETER: there.webhook}), event("one"))


def test_what_its_own_answer_says_holds_no_webhook(there: Slack) -> None:
    done = notify(app({PARAMETER: there.webhook}), event(json.dumps({"from": there.webhook})))
    assert there.webhook not in repr(done)
    assert there.webhook not in json.dumps(there.messages)


@pytest.mark.parametrize("bad", [{}, {"Records": []}, {"Records": [{"s3": {}}]}])
def test_what_sns_does_not_send_is_a_bad_event(bad: dict[str, Any]) -> None:
    with pytest.raises(BadEvent):
        notify(app({}), bad)


@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_what_a_function_could_not_handle_is_counted_once_however_often_slack_is_asked(
    there: Slack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"functionArn": "arn:aws:lambda:us-east-1:123456789012:function:shop-report-costs:$LATEST"}
    record = {
        "requestContext": failed | {"condition": "RetriesExhausted"},
        "responsePayload": {"errorType": "KeyError"},
    }
    monkeypatch.setattr(function, "live_app", lambda: app({PARAMETER: there.webhook}))
    there.answers = [(403, {}, "invalid_token")]
    counted = []
    for _ in range(2):
        with contextlib.suppress(SlackError):
            function.handler(event(json.dumps(record), "something else"), LambdaContext())
        counted += [json.loads(line).get(function.FAILED) for line in capsys.readouterr().out.splitlines()]
    assert [times for times in counted if times] == [[1.0]]
