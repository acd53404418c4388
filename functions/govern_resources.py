"""Every day: what is old, orphaned or badly tagged among what functions made is warned of, ended, deleted or tagged.

What others made without tags is told, and whose it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlplatform import events
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, ReportUntagged, Skip
from mlplatform.errors import AwsError, PlatformError
from mlplatform.governance import Estate, Governing, plan_governance, summary, trouble
from mlplatform.observability import decided, observed
from mlplatform.untagged import lacking, plan_untagged, report


@observed
def handler(event: Mapping[str, Any], _context: object) -> list[dict[str, str]]:
    """EventBridge Scheduler, once a day; with `"dry_run": true`, as `mlp govern` asks, nothing is changed or told."""
    app = live_app()
    now = events.scheduled_time(event)
    if event.get("dry_run") is True:
        every = (*planned(app, now), *untagged(app, now))
        return [{"decision": type(one).__name__, "reason": one.reason} for one in every]
    return [decided(one) for govern in (govern_resources, report_untagged) for one in govern(app, now)]


def planned(app: App, now: datetime) -> list[Governing]:
    endpoints = tuple(app.aws.hosted_endpoints())
    running = app.aws.running_configs(one.name for one in endpoints if one.status)
    return plan_governance(Estate(app.aws.owned(), endpoints, running), app.settings, now)


def govern_resources(app: App, now: datetime) -> list[Decision]:
    done: list[Decision] = []
    refused: list[str] = []
    for decision in planned(app, now):
        try:
            done.append(app.aws.apply(decision))
        except PlatformError as error:
            # Not swallowed: people are told below, and tomorrow's run, which is the retry, finds the same again.
            refused.append(str(error))
            done.append(Skip(f"{decision.reason} It could not be done: {error}"))
    said = summary(done)
    if said is not None:
        app.aws.apply(said)
    if refused:
        done.append(app.aws.apply(trouble(refused, now)))
    return done


def untagged(app: App, now: datetime) -> list[ReportUntagged | Skip]:
    """What others left without tags. That it can't be seen must not keep the platform from tidying up its own."""
    try:
        found = lacking(app.aws.others(), app.settings.stack_name, now)
        return [*plan_untagged(found, app.aws.makers(found, now))]
    except AwsError as error:
        return [Skip(f"What others left untagged could not be seen: {error}")]


def report_untagged(app: App, now: datetime) -> list[Decision]:
    """Tells what others left without tags, and changes nothing."""
    found: list[Decision] = [*untagged(app, now)]
    said = report(found, now)
    return found if said is None else [*found, app.aws.apply(said)]
