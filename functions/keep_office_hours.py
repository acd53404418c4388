"""The clock ticks: every endpoint runs when its hours say so, and is parked when they don't."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, Skip
from mlplatform.errors import PlatformError, TryAgain
from mlplatform.holidays import BadCalendar, listed
from mlplatform.observability import decided, observed
from mlplatform.office_hours import CheckAgain, bad_calendar, due, plan_office_hours, summary, trouble

_TOLD = 50  # of the endpoints that need nothing; a log with ten thousand lines a tick costs more than it tells


@observed
def handler(event: Mapping[str, Any], _context: object) -> list[dict[str, str]]:
    """EventBridge Scheduler, every 15 minutes."""
    now = due(events.scheduled_time(event), datetime.now(UTC))
    done = keep_office_hours(live_app(), now)
    quiet = [one for one in done if isinstance(one, Skip)]
    if len(quiet) > _TOLD:
        done = [one for one in done if not isinstance(one, Skip)]
        done.append(Skip(f"{len(quiet)} endpoints are as they should be."))
    return [decided(one) for one in done]


def keep_office_hours(app: App, now: datetime) -> list[Decision]:
    done: list[Decision] = []
    try:
        holidays = app.aws.holidays(now.date())
    except BadCalendar as error:
        holidays = listed(app.settings.holidays)
        done.append(app.aws.apply(bad_calendar(error)))
    planned = plan_office_hours(app.aws.hosted_endpoints(), app.settings, holidays, now, app.aws.hold())
    for decision in planned:
        try:
            done.append(_check_again(app, decision) if isinstance(decision, CheckAgain) else app.aws.apply(decision))
        except TryAgain as error:
            done.append(Skip(f"{error} The next tick goes on."))
        except PlatformError as error:
            # Not swallowed: people are told, and the next tick, which is the retry, finds the same difference again.
            done.append(app.aws.apply(trouble(decision, error, now)))
    said = summary(done)
    if said is not None:
        app.aws.apply(said)
    return done


def _check_again(app: App, decision: CheckAgain) -> Decision:
    from mlplatform.endpoint_steps import next_step  # most ticks find nothing that an event forgot
    from mlplatform.restoring import plan_recheck

    endpoint = app.aws.endpoint(decision.endpoint_name)
    if endpoint is None:
        return Skip(f"{decision.endpoint_name} is gone meanwhile; the next tick looks again.")
    if decision.parked is None:
        if not any(endpoint.tags.get(key) for key in (names.LOOK_TAG, names.UNCHECKED_TAG)):
            return Skip(f"{endpoint.name} was looked at already; its tags are told of late.")
        return next_step(app, endpoint.name)
    if app.aws.parked(endpoint, decision.parked.config) is None:
        return Skip(f"{endpoint.name} is restored already; the tags of its config are told of late.")
    newer = plan_recheck(endpoint, decision.parked, app.settings)
    if newer is not None:
        return app.aws.apply(newer)
    return next_step(app, endpoint.name)
