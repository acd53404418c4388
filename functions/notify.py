"""Topic (notice, alarm, failed function) -> Slack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlplatform import notices, slack
from mlplatform.app import App, live_app
from mlplatform.decisions import Notify, Skip
from mlplatform.errors import BadEvent


def notify(app: App, event: Mapping[str, Any], post: Callable[..., None] = slack.post) -> list[Notify | Skip]:
    """Posts every record. An error leaves, so that Lambda retries the event and at last puts it into the dead-letter
    queue; the function's failures never go back to the topic, which would call it again."""
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        raise BadEvent(f"Expected Records from SNS; got the keys {sorted(event)}.")
    told = [notices.from_sns(record) for record in records]
    webhook = app.aws.read_secret(app.settings.slack_webhook_parameter)
    if webhook is None:
        return [Skip("No Slack webhook is stored; `mlp slack set` stores one.") for _ in told]
    for notice in told:
        post(webhook, notice.subject, notices.slack_blocks(notice))
    return [Notify(f'Posted "{notice.subject}" to Slack.', notice.subject) for notice in told]


def handler(event: Mapping[str, Any], context: object) -> list[dict[str, str]]:
    return [{"decision": type(done).__name__, "reason": done.reason} for done in notify(live_app(), event)]
