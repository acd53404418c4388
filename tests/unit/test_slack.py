"""A message is posted once, patiently, over TLS, and the webhook's address is never told."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator

import pytest
from slack_server import Slack, running_slack

from mlplatform import slack
from mlplatform.errors import SlackError

BLOCKS = [{"type": "section", "text": {"type": "plain_text", "text": "hello"}}]


@pytest.fixture
def there() -> Iterator[Slack]:
    with running_slack() as running:
        yield running


def post(webhook: str, text: str = "hello") -> list[float]:
    """Posts without waiting; returns the waits that it asked for."""
    waits: list[float] = []
    slack.post(webhook, text, BLOCKS, sleep=waits.append)
    return waits


def failure(webhook: str) -> str:
    with pytest.raises(SlackError) as failed:
        post(webhook)
    everything = "".join(traceback.format_exception(failed.value, chain=True))
    assert "secret" not in everything
    assert failed.value.__context__ is None
    return str(failed.value)


def test_text_and_blocks_arrive_with_slacks_own_marks_escaped(there: Slack) -> None:
    assert post(there.webhook, "<!channel> a & b") == []
    assert there.messages == [{"text": "&lt;!channel&gt; a &amp; b", "blocks": BLOCKS}]


@pytest.mark.parametrize(
    ("answers", "waits"),
    [
        ([(429, {"Retry-After": "3"}, "")], [3.0]),
        ([(429, {}, "")], [1.0]),
        ([(429, {"Retry-After": "soon"}, "")], [1.0]),
        ([(500, {}, ""), (503, {}, "")], [1.0, 2.0]),
    ],
)
def test_a_busy_slack_is_asked_again(
    there: Slack, answers: list[tuple[int, dict[str, str], str]], waits: list[float]
) -> None:
    there.answers = answers
    tries = len(answers) + 1
    assert post(there.webhook) == waits
    assert len(there.messages) == tries


@pytest.mark.parametrize(
    ("answers", "tries", "said"),
    [
        ([(500, {}, "oh")] * 3, 3, "Slack answered 500 with 'oh' (attempt 3 of 3)."),
        ([(429, {"Retry-After": "60"}, "")], 1, "Slack answered 429, asking for patience (attempt 1 of 3)."),
        (
            [(404, {}, "no_service")],
            1,
            "Slack answered 404 with 'no_service'; if the webhook was removed, store a new one",
        ),
        ([(302, {"Location": "http://127.0.0.1:9/"}, "")], 1, "Slack answered 302"),
    ],
)
def test_a_slack_that_does_not_take_it_is_an_error(
    there: Slack, answers: list[tuple[int, dict[str, str], str]], tries: int, said: str
) -> None:
    there.answers = answers
    assert said in failure(there.webhook)
    assert len(there.messages) == tries


def test_a_slack_that_is_not_there_is_an_error_after_three_attempts() -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        said = failure(f"http://127.0.0.1:{taken.getsockname()[1]}/services/secret")
    assert said.startswith("Slack could not be reached: ")
    assert said.endswith("(attempt 3 of 3).")


def test_an_answer_that_repeats_the_address_does_not_tell_it(there: Slack) -> None:
    there.answers = [(400, {}, there.webhook)]
    assert "(the webhook)" in failure(there.webhook)


@pytest.mark.parametrize(
    "webhook",
    [
        "http://hooks.slack.com/services/secret",
        "http://127.0.0.1.example.com/secret",
        "ftp://127.0.0.1/secret",
        "file:///etc/secret",
        "secret",
        "",
        "https://hooks.slack.com/a secret",
        "https://[secret",
    ],
)
def test_only_tls_is_spoken_but_for_this_machine_itself(webhook: str) -> None:
    assert "store a right one with `mlp slack set`" in failure(webhook)


def test_a_slack_that_takes_the_message_and_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        webhook = f"http://127.0.0.1:{silent.getsockname()[1]}/services/T0/B0/secret"
        with pytest.raises(SlackError, match=r"could not be reached: .*attempt 3 of 3") as failed:
            slack.post(webhook, "text", BLOCKS, sleep=lambda _: None, timeout_seconds=0.1)
    assert "secret" not in str(failed.value)
