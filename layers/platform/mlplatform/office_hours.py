"""Which endpoints run when: what their hours want against what they are, for every endpoint at every tick.

Level, not edge: nothing here asks what happened since the last tick, so a tick that was missed, came twice or failed
half-way is made good by the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta

from mlplatform import names
from mlplatform.decisions import (
    ClearFailedStart,
    Decision,
    Notify,
    Skip,
    StartEndpoint,
    StopEndpoint,
)
from mlplatform.errors import PlatformError
from mlplatform.events import ON_ITS_WAY
from mlplatform.facts import (
    DATASET_TAG,
    STACK_TAG,
    Hold,
    HostedEndpoint,
    HostingKind,
    Parked,
)
from mlplatform.holds import hold_applies
from mlplatform.holidays import BadCalendar
from mlplatform.kinds import tagged_kind
from mlplatform.opening_hours import BadHours, Hours, Moment, Opening, exempt, joined, moment, openings, parse_hours
from mlplatform.records import dataclass
from mlplatform.settings import Settings

_SETTLING = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
_FAILED = {"Failed", "UpdateRollbackFailed"}
NO_HOURS = "and costs nothing while nobody asks, so that it has no hours"


@dataclass(frozen=True)
class CheckAgain:
    """The endpoint serves but is still parked on paper, or unchecked: the event that ends that was lost, or is late."""

    reason: str
    endpoint_name: str
    parked: Parked | None = None  # None where it is not that, but something else was begun and is not known to be over


@dataclass(frozen=True)
class Wish:
    """What an endpoint's tags and the settings ask for at one moment."""

    hours: Hours
    now: Moment
    keep_on_until: datetime | None

    def kept_on(self, now: datetime) -> bool:
        return self.keep_on_until is not None and now < self.keep_on_until


def plan_office_hours(
    endpoints: Iterable[HostedEndpoint],
    settings: Settings,
    holidays: frozenset[date],
    now: datetime,
    hold: Hold | None = None,
) -> list[Decision | CheckAgain]:
    """One decision for each endpoint of the stack. A spending hold closes those of Environment dev that have hours."""
    found: list[Decision | CheckAgain] = []
    for endpoint in endpoints:
        decision = _plan(endpoint, settings, holidays, now, hold)
        found.append(_unchecked(endpoint, settings, now) or decision if isinstance(decision, Skip) else decision)
    return found


def _unchecked(endpoint: HostedEndpoint, settings: Settings, now: datetime) -> CheckAgain | None:
    """An endpoint that nobody has looked at since it got its model, although it should long have been told of."""
    ours = endpoint.tags.get(STACK_TAG) == settings.stack_name and endpoint.parked is None
    model = endpoint.tags.get(names.UNCHECKED_TAG)
    late = endpoint.modified is not None and now - endpoint.modified > ON_ITS_WAY
    if not (ours and model and late and endpoint.status in {"InService", *_FAILED}):
        return None
    return CheckAgain(f"{endpoint.name} is {endpoint.status}, and was not checked since it got {model}.", endpoint.name)


def _plan(
    endpoint: HostedEndpoint, settings: Settings, holidays: frozenset[date], now: datetime, hold: Hold | None
) -> Decision | CheckAgain:
    name, tags = endpoint.name, endpoint.tags
    if tags.get(STACK_TAG) != settings.stack_name or DATASET_TAG not in tags:
        return Skip(f"{name} is not an endpoint that {settings.stack_name} made.")
    if endpoint.unreadable:
        return _tell_once(
            name, endpoint.unreadable, f"A parked endpoint can't be restored ({name})", endpoint.unreadable
        )
    if endpoint.status in _SETTLING:
        return Skip(f"{name} is {endpoint.status}; the next tick looks again when that is over.")
    dev = tags.get("Environment", settings.environment) == "dev"
    held = hold if dev and hold is not None and hold_applies(hold, now) else None
    if tags.get(names.LOOK_TAG) and endpoint.parked is None:
        return CheckAgain(f"{name} has something unfinished: {tags[names.LOOK_TAG]}.", name)
    if not has_hours(endpoint):
        also = " A spending hold does not stop it: it costs only while it is asked." if held else ""
        return Skip(f"{name} is {tagged_kind(tags).value} {NO_HOURS}.{also}")
    if exempt(tags, settings.environment):
        return _open(endpoint, f"it is in prod and not tagged {names.HOURS_TAG}")
    try:
        wish = read_wish(tags, settings, holidays, now)
    except BadHours as error:
        said = "|".join(tags.get(key, "") for key in (names.HOURS_TAG, names.KEEP_ON_TAG))
        return _tell_once(
            name,
            f"The hours of endpoint {name} can't be understood, so that it is left alone: {error}. Correct the tag "
            f"{names.HOURS_TAG} or {names.KEEP_ON_TAG}.",
            f"Bad office hours of {name}",
            said,
        )
    if held:
        return _closed(endpoint, wish, now, f"a spending ceiling is reached, see `mlp costs`; {held.period} is on hold")
    if wish.now.open or wish.kept_on(now):
        return _open(endpoint, _why_open(wish, now))
    return _closed(endpoint, wish, now)


def has_hours(endpoint: HostedEndpoint) -> bool:
    """What is not real-time has none, unless it was parked when it became so: that record has to go."""
    return tagged_kind(endpoint.tags) is HostingKind.REAL_TIME or endpoint.parked is not None


def _open(endpoint: HostedEndpoint, why: str) -> Decision | CheckAgain:
    name, parked = endpoint.name, endpoint.parked
    if parked is None:
        return Skip(f"{name} {'is' if endpoint.status != 'InService' else 'stays'} {endpoint.status}: {why}.")
    if endpoint.status is None:
        request = {
            "EndpointName": name,
            "EndpointConfigName": parked.config,
            "Tags": names.tag_list(parked.tags),
        }
        return StartEndpoint(f"{name} starts as it was parked: {why}.", name, request)
    if endpoint.status in _FAILED:
        return ClearFailedStart(
            f"{name} did not come into service; it is deleted, and started again at the next tick: {why}.", name
        )
    return CheckAgain(f"{name} is {endpoint.status} and not quite restored yet: {why}.", name, parked)


def _closed(endpoint: HostedEndpoint, wish: Wish, now: datetime, held: str = "") -> Decision:
    name, why = endpoint.name, held or _why_closed(wish)
    if endpoint.status is None:
        return Skip(f"{name} is parked: {why}.")
    if endpoint.status in _FAILED and endpoint.parked:
        return ClearFailedStart(f"{name} did not come into service, and need not any more: {why}.", name)
    if endpoint.status != "InService":
        return Skip(f"{name} is {endpoint.status} and serves nobody; stopping it would hide why.")
    if not held and endpoint.created and _started_after_hours(endpoint, wish):
        return Skip(
            f"{name} was started at {_shown(endpoint.created, wish.hours)}, after hours, so that somebody wants it: "
            f"it stays until the next boundary, and {why}."
        )
    return StopEndpoint(f"{name} stops and keeps all it needs to come back: {why}.", name, now)


def on_stretches(
    endpoint: HostedEndpoint, settings: Settings, holidays: frozenset[date], now: datetime, end: datetime
) -> list[Opening]:
    """When it will be on from now to `end`, as far as its tags tell now. Raises BadHours."""
    if not has_hours(endpoint) or exempt(endpoint.tags, settings.environment):
        return [(now, end)]
    wish = read_wish(endpoint.tags, settings, holidays, now)
    found = openings(wish.hours, holidays, now, end)
    if wish.keep_on_until is not None and wish.keep_on_until > now:
        found.append((now, min(wish.keep_on_until, end)))
    elif not wish.now.open and _started_after_hours(endpoint, wish):
        found.append((now, min(wish.now.until or end, end)))
    return joined(found)


def on_anyway(
    endpoint: HostedEndpoint, settings: Settings, holidays: frozenset[date], now: datetime
) -> datetime | None:
    """Up to when a running endpoint is on for sure without a snooze; None where it is not. Raises BadHours.

    The end of a snooze is a boundary, so that one within this time would shorten it.
    """
    wish = read_wish(endpoint.tags, settings, holidays, now)
    wanted = not wish.kept_on(now) and _started_after_hours(endpoint, wish)
    return wish.now.until if endpoint.status is not None and (wish.now.open or wanted) else None


def _started_after_hours(endpoint: HostedEndpoint, wish: Wish) -> bool:
    """Whether somebody started it since the last boundary. The end of a snooze is a boundary of its own: what was
    woken for a snooze sleeps again after it."""
    closed_since = max(filter(None, (wish.now.since, wish.keep_on_until)), default=None)
    return bool(endpoint.created and closed_since and endpoint.created > closed_since)


def read_wish(tags: Mapping[str, str], settings: Settings, holidays: frozenset[date], now: datetime) -> Wish:
    """Raises BadHours."""
    hours = parse_hours(tags.get(names.HOURS_TAG) or settings.office_hours, settings.time_zone)
    kept = tags.get(names.KEEP_ON_TAG, "").strip()
    return Wish(hours, moment(hours, holidays, now), keep_on_until(kept, hours) if kept else None)


def keep_on_until(text: str, hours: Hours) -> datetime:
    """A date, which is kept on to its end, or an ISO 8601 time, in the hours' zone unless it says another.

    Raises BadHours.
    """
    try:
        if len(text) == len("2026-11-27"):
            day = date.fromisoformat(text)
            return datetime.combine(day + timedelta(1), time(), hours.zone).astimezone(UTC)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=hours.zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadHours(f"{text!r} is not a time such as 2026-11-27T22:00 or a date such as 2026-11-27") from error


def _tell_once(endpoint: str, reason: str, subject: str, said: str) -> Notify:
    """Once for each text that is wrong: a corrected tag that is wrong again is told again."""
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    return Notify(reason, subject, names.notice_key(endpoint, "office-hours", digest))


def trouble(decision: Decision | CheckAgain, error: PlatformError, now: datetime) -> Notify:
    """What people hear of a decision that could not be carried out, once a day; the next tick tries again."""
    endpoint = str(getattr(decision, "endpoint_name", "an endpoint"))
    return Notify(
        f"{decision.reason} That failed: {error} It is tried again at the next tick.",
        f"Office hours of {endpoint} are not kept",
        names.notice_key(endpoint.replace(" ", "-"), f"{now:%Y-%m-%d}", type(decision).__name__),
    )


def bad_calendar(error: BadCalendar) -> Notify:
    """Once for each thing that is wrong with the file."""
    digest = hashlib.sha256(str(error).encode()).hexdigest()[:12]
    return Notify(
        f"The holidays in {names.HOLIDAYS_KEY} are not observed: {error}. Those of the settings are.",
        "The calendar of holidays can't be read",
        names.notice_key("holidays", "calendar", digest),
    )


def summary(done: Iterable[Decision]) -> Notify | None:
    """One message about all that was stopped, or failed to start, at a tick; what is back says so itself."""
    changed = [one for one in done if isinstance(one, StopEndpoint | ClearFailedStart)]
    if not changed:
        return None
    stopped = sum(isinstance(one, StopEndpoint) for one in changed)
    parts = [f"{stopped} stopped"] if stopped else []
    parts += [f"{len(changed) - stopped} failed to start"] if stopped < len(changed) else []
    text = "\n".join(one.reason for one in changed)
    if stopped:
        text += "\nTo have one back sooner: mlp snooze DATASET --hours 2"
    return Notify(text, f"Office hours: {', '.join(parts)}", routine=stopped == len(changed))


def due(scheduled: datetime, machines: datetime) -> datetime:
    """The moment that a tick is about: never one that is over, for a tick that comes late must not stop at ten in the
    morning what was open at six in the evening before. A laptop's clock may be ahead of its machine's."""
    return max(scheduled, machines)


def _why_open(wish: Wish, now: datetime) -> str:
    if wish.hours.always_on:
        return "its hours are always-on"
    if wish.kept_on(now) and not (wish.now.open and wish.keep_on_until and wish.now.until is None):
        assert wish.keep_on_until is not None
        if not wish.now.open or (wish.now.until and wish.now.until < wish.keep_on_until):
            return f"it is kept on until {_shown(wish.keep_on_until, wish.hours)}"
    if wish.now.until is None:
        return "its hours never end"
    return f"it is open until {_shown(wish.now.until, wish.hours)}"


def _why_closed(wish: Wish) -> str:
    if wish.now.until is None:
        return "it does not open within a year"
    return f"it opens at {_shown(wish.now.until, wish.hours)}"


def _shown(at: datetime, hours: Hours) -> str:
    return f"{at.astimezone(hours.zone):%a %d %b %H:%M} ({hours.zone.key})"
