"""Every hour: what runs, times the price list, and what follows from it; and whether the other functions ran."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlplatform import events
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision
from mlplatform.observability import decided, observed
from mlplatform.spend import plan_spend
from mlplatform.ticks import plan_ticks
from mlplatform.tuning import plan_ceilings


@observed
def handler(event: Mapping[str, Any], _context: object) -> list[dict[str, str]]:
    """The schedule's `{"scheduled_time": ...}`."""
    now = events.scheduled_time(event)
    return [decided(decision) for watch in (watch_spend, watch_ticks) for decision in watch(live_app(), now)]


def watch_spend(app: App, now: datetime) -> list[Decision]:
    """One tick of the meter; see mlplatform.spend for why it may come late, twice, or not at all."""
    facts = app.aws.spend_facts(now)
    planned = [*plan_spend(facts, app.settings), *plan_ceilings(app.aws.running_tunings(), now, app.settings)]
    return [app.aws.apply(decision) for decision in planned]


def watch_ticks(app: App, now: datetime) -> list[Decision]:
    """Who of the others did not run; the template's alarm MissedTicksAlarm says so of this function."""
    planned = plan_ticks(app.aws.ticking(now), app.settings.stack_name, now)
    return [app.aws.apply(decision) for decision in planned]
