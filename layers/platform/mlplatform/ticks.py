"""Whether the functions on a schedule ran when they should have, and what people are told if not.

The hourly tick of watch-spend looks at the others. The template's alarm MissedTicksAlarm looks after watch-spend, from
outside of all functions and schedules, so that nobody has to watch himself.

A schedule that is switched off or gone is told at once. Any other is late when its function has not been called for as
long as one round of it takes and two hours more; whoever switches a schedule on again gets that time anew. A call by
anything else counts too: an event for deploy-model, `mlp govern` for govern-resources.

Level, not edge: said once a day and function, for as long as it is so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from mlplatform import names
from mlplatform.decisions import Notify, Skip
from mlplatform.facts import Ticking

# How often template.yaml calls each; watch-spend itself is the alarm's. A test holds both against the template.
EVERY = {
    "keep-office-hours": timedelta(minutes=15),
    "deploy-model": timedelta(hours=4),
    "activate-cost-tags": timedelta(days=1),
    "govern-resources": timedelta(days=1),
    "report-costs": timedelta(days=1),
}
# A day of a time zone may have 25 hours, and Scheduler tries again before it gives up.
LATE = timedelta(hours=2)


def plan_ticks(ticking: Iterable[Ticking], stack: str, now: datetime) -> list[Notify | Skip]:
    """A notice for each function that its schedule does not call, or one Skip where all is well."""
    found = list(ticking)
    told: list[Notify | Skip] = [
        Notify(
            reason,
            f"{stack}: {one.function} does not run",
            once=names.notice_key("schedules", one.function, f"{now:%Y-%m-%d}"),
        )
        for one in found
        for reason in _trouble(one, stack, now)
    ]
    return told or [Skip(f"All {len(found)} functions on a schedule ran when they should have.")]


def _trouble(one: Ticking, stack: str, now: datetime) -> Iterator[str]:
    name = f"{stack}-{one.function}"
    if one.state is None:
        yield f"Nothing calls {name} any more: its schedule is gone. Make it anew as template.yaml has it."
    elif one.state != "ENABLED":
        yield f"Nothing calls {name}: its schedule is {one.state}. Enable it in the console of EventBridge Scheduler."
    elif now - max(filter(None, (one.changed, one.last_run)), default=now) > EVERY[one.function] + LATE:
        since = f"since {one.last_run:%Y-%m-%d %H:%M} UTC" if one.last_run else "for two days or more"
        yield (
            f"{name} has not run {since}, and should every {spoken(EVERY[one.function])}. What Scheduler could not "
            f"deliver lies in the queue {stack}-dead-letters; its role is the stack's SchedulerRole."
        )


def spoken(duration: timedelta) -> str:
    """ "15 minutes", "4 hours" or "day"."""
    minutes = round(duration / timedelta(minutes=1))
    count, unit = (
        (minutes // 1440, "day")
        if minutes >= 1440
        else (minutes // 60, "hour")
        if minutes >= 60
        else (minutes, "minute")
    )
    return unit if count == 1 else f"{count} {unit}s"
