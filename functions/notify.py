"""The alerts topic has something to say (a notice, an alarm, a failed function): Slack hears it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import notices, slack
from mlplatform.app import App, live_app
from mlplatform.decisions import Notify, Skip
from mlplatform.errors import BadEvent
from mlplatform.notices import Notice
from mlplatform.observability import counted, decided, observed

FAILED = "FailedFunction"  # the metric of an alarm in template.yaml: events that a function could not handle at all


@observed
def handler(event: Mapping[str, Any], _context: object) -> list[dict[str, str]]:
    """SNS records. An error leaves: Lambda tries twice more and then puts the event into the dead-letter queue, whose
    alarm reaches people by e-mail. It never goes back to the topic, which would call this function again."""
    done = [decided(one) for one in notify(live_app(), event)]
    # Last: what Slack does not take is tried again, and has failed only once all the same.
    failed = sum(bool(notice.failed_function) for notice in _told(event))
    if failed:
        counted(FAILED, failed)
    return done


def notify(app: App, event: Mapping[str, Any]) -> list[Notify | Skip]:
    told = _told(event)
    webhook = app.aws.read_secret(app.settings.slack_webhook_parameter)
    if webhook is None:
        return [Skip("No Slack webhook is stored; `mlp slack set` stores one.") for _ in told]
    for notice in told:
        slack.post(webhook, notice.subject, notices.slack_blocks(notice))
    return [Notify(f'Posted "{notice.subject}" to Slack.', notice.subject) for notice in told]


def _told(event: Mapping[str, Any]) -> list[Notice]:
    records = event.get("Records")
    if isinstance(records, list) and records:
        return [notices.from_sns(record) for record in records]
    direct = notices.from_event(event)  # an alarm, or a rule, whose action is this function
    if direct is None:
        raise BadEvent(f"Expected Records from SNS; got the keys {sorted(event)}.")
    return [direct]
