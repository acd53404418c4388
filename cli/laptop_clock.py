"""`mlp laptop clock`: the time of the laptop's account, and moving it; what fell due on the way is told."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape

from cli.connection import CommandError, Connection, laptop_url
from cli.terminal import Terminal

app = typer.Typer(no_args_is_help=True, help="The laptop itself: what AWS does not have.")
console = Terminal()

# A move does all that falls due on the way; a month of schedules takes minutes.
MOVE_SECONDS = 1800
STEP = timedelta(hours=6)  # so that what happens is told while more of it does
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME_OF_DAY = re.compile(rf"(?:({'|'.join(_WEEKDAYS)})[a-z]*\s+)?([01]?\d|2[0-3]):([0-5]\d)", re.IGNORECASE)
# Decisions of every hour that change nothing; `mlp logs` has them.
_ROUTINE = {"Skip", "RecordSpend"}


@app.command()
def clock(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Option(help="18:05 or 'Mon 10:00' (the next one, in the stack's time zone), or ISO 8601.")
    ] = None,
    advance: Annotated[str | None, typer.Option(help="How far: 90s, 15m, 2h, 1d, 1d2h30m.")] = None,
) -> None:
    """Show the laptop's time, or move it forwards: every schedule on the way runs, in order, before this returns.

    Example: `mlp laptop clock`, `mlp laptop clock --to 18:05`, `mlp laptop clock --advance 2h`
    """
    if to is not None and advance is not None:
        raise CommandError("Give either --to or --advance.")
    connection: Connection = context.obj
    connection.endpoint_url = connection.endpoint_url or laptop_url()
    zone = ZoneInfo(time_zone(connection))
    before = call(connection, "/_laptop/clock")
    now = datetime.fromisoformat(before["now"])
    if to is None and advance is None:
        console.print(shown(now, zone), highlight=False)
        return
    body = {"to": moment(to, now, zone).isoformat()} if to is not None else {"advance_seconds": seconds(advance or "")}
    with console.status("the time passes") as status:
        now = move(connection, body, zone, lambda at: status.update(f"the time passes: {at.astimezone(zone):%a %H:%M}"))
    console.print(shown(now, zone), highlight=False)


def move(
    connection: Connection, body: dict[str, Any], zone: ZoneInfo, reached: Callable[[datetime], None] = lambda _: None
) -> datetime:
    """Moves the clock as POST /_laptop/clock takes it, tells what happened on the way, and returns the new time.

    A long move is made in steps, and `reached` is told the time after each.
    """
    entries = call(connection, "/_laptop/events")
    last = entries[-1]["n"] if entries else 0
    now = datetime.fromisoformat(call(connection, "/_laptop/clock")["now"])
    end = datetime.fromisoformat(body["to"]) if "to" in body else now + timedelta(seconds=body["advance_seconds"])
    steps = []
    while (now := now + STEP) < end:
        steps.append({"to": now.isoformat()})
    fired: list[dict[str, Any]] = []
    for step in [*steps, {"to": end.isoformat()} if steps else body]:
        answer = call(connection, "/_laptop/clock", step)
        now = datetime.fromisoformat(answer["now"])
        reached(now)
        entries = call(connection, f"/_laptop/events?after={last}")
        last = entries[-1]["n"] if entries else last
        tell(entries, zone)
        fired += answer["fired"]
    for (schedule, failed), count in Counter((one["schedule"], bool(one["error"])) for one in fired).items():
        how = "failed" if failed else "ran"
        console.print(f"{schedule} {how} {count} time{'s' if count > 1 else ''}", highlight=False)
    return now


def tell(entries: list[dict[str, Any]], zone: ZoneInfo) -> None:
    """What functions decided on the way, a line for each decision."""
    for entry in entries:
        if entry["kind"] != "function":
            continue
        at = datetime.fromisoformat(entry["at"]).astimezone(zone)
        for text in [entry["error"]] if entry["error"] else acts(entry["decisions"]):
            name = entry["function"]
            console.print(
                f"[dim]{at:%a %H:%M}[/dim]  [bold]{name}[/bold] {escape(text)}",
                highlight=False,
                hang=len("Mon 18:05  "),
            )


def acts(decisions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that changed something, each with its reason."""
    return [f"{one['decision']}: {one['reason']}" for one in decisions if one.get("decision") not in (None, *_ROUTINE)]


def shown(now: datetime, zone: ZoneInfo) -> str:
    return f"it is {now.astimezone(zone):%A %Y-%m-%d %H:%M:%S} in {zone.key}"


def time_zone(connection: Connection) -> str:
    """The stack's parameter TimeZone; UTC where the stack has none."""
    return connection.parameters.get("TimeZone") or "UTC"


def moment(text: str, now: datetime, zone: ZoneInfo) -> datetime:
    """The next such time of day in the zone, on that weekday if one is named, or an ISO moment (in the zone if it names
    none). Raises CommandError."""
    local = now.astimezone(zone)
    if match := _TIME_OF_DAY.fullmatch(text.strip()):
        weekday = _WEEKDAYS.index(match[1].lower()) if match[1] else None
        for days in range(2 * len(_WEEKDAYS) + 1):
            day = local.date() + timedelta(days=days)
            if weekday not in (None, day.weekday()):
                continue
            found = datetime.combine(day, time(int(match[2]), int(match[3])), zone)
            # A time that the clocks jump over does not come that day.
            exists = datetime.fromtimestamp(found.timestamp(), zone).replace(tzinfo=None) == found.replace(tzinfo=None)
            if exists and found > now:
                return found
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text} is no time: give 18:05, 'Mon 10:00', or 2026-11-24T08:05.") from None
    given = given if given.tzinfo else given.replace(tzinfo=zone)
    if given < now:
        raise CommandError(f"The clock only moves forwards, and {shown(now, zone)}.")
    return given


def seconds(text: str) -> int:
    """Raises CommandError for what is no duration."""
    parts = re.findall(r"(\d+)([dhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(f"{text} is no duration: give 90s, 15m, 2h or 1d2h30m.")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def call(connection: Connection, path: str, body: dict[str, Any] | None = None) -> Any:
    """One of the laptop's own routes. Raises CommandError with what it says, or where there is no laptop."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{connection.endpoint_url}{path}", data, timeout=MOVE_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise CommandError(json.load(error).get("message", str(error))) from error
    except OSError as error:
        raise CommandError(
            f"Nothing answers at {connection.endpoint_url}. Start the laptop with `make up` in another terminal."
        ) from error
