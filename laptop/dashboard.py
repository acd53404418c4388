"""Draws a CloudWatch dashboard's body from the laptop's own metrics, so that it can be looked at.

The body's form: CloudWatch API reference, "Dashboard Body Structure and Syntax". Drawn are metric widgets as lines,
with metrics that are named or searched for ("CloudWatch search expression syntax", user guide), and alarm widgets; what
else there is, is named as not drawn. A minute of the time axis is one of laptop/metrics.py, two seconds long.
Percentiles are as exact as laptop/metrics.py counts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.metrics import MINUTE_SECONDS, Key, MetricStore, Statistics
from mlplatform import html_page

LONGEST_MINUTES, SHORTEST_MINUTES = 180, 30  # what is shown, as far as there is so much
_POINTS = 60  # a line has at most so many, whatever the period
_MOST_LINES = 12  # what nobody could tell apart is counted instead
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 480, 220, 58, 24
_STYLE = """
.board{display:grid;grid-template-columns:repeat(24,1fr);gap:14px}.board section{margin:0;padding:14px 16px}
main{max-width:1500px}.board svg text{font-size:13px}.board .legend{font-size:12px;overflow-wrap:anywhere}
.state{display:inline-block;margin:4px 10px 4px 0}.state b{font-weight:600}
@media (max-width:860px){.board section{grid-column:1/-1!important}}
"""
_SEARCH = re.compile(r"""SEARCH\(\s*'\s*(?:\{(?P<schema>[^}]*)\})?(?P<terms>[^']*)'\s*,\s*'(?P<stat>[^']+)'.*\)""")
_TERM = re.compile(r"""(?:([\w.:-]+)\s*=\s*)?(?:"([^"]*)"|([^\s"]+))""")
_USUAL = ("VariantName", "AllTraffic")  # the only variant of most endpoints, which needs no name
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


@dataclass(frozen=True)
class Line:
    label: str
    points: tuple[float | None, ...]  # oldest first


class NotDrawn(Exception):
    """A widget that this page has no picture for; the message says which part."""


def page(account: Account, store: MetricStore, name: str) -> str:
    """The dashboard as a page without scripts. Raises ServiceError where there is none of that name."""
    from moto.cloudwatch.models import cloudwatch_backends

    backend = cloudwatch_backends[ACCOUNT_ID][REGION]
    if name not in backend.dashboards:
        there = ", ".join(backend.dashboards) or "none"
        raise ServiceError("ResourceNotFound", f"There is no dashboard {name}; there is: {there}.", 404)
    body = json.loads(backend.dashboards[name].body)
    states = {alarm.alarm_arn: (alarm.name, alarm.state_value) for alarm in backend.alarms.values()}
    minutes = f"{shown_minutes(store)} minutes of {MINUTE_SECONDS:g} seconds"
    return html_page.document(
        name,
        [
            f"<header><div><div class='kicker'>Dashboard</div><h1>{escape(name)}</h1></div>"
            f"<div class='meta'>{account.clock.now():%Y-%m-%d %H:%M:%S} UTC<br>the last {minutes}, measured here"
            "</div></header>",
            "<div class='board'>",
            *(_widget(widget, store, states) for widget in body["widgets"]),
            "</div>",
        ],
        _STYLE,
    )


def _widget(widget: Mapping[str, Any], store: MetricStore, states: Mapping[str, tuple[str, str]]) -> str:
    properties = widget["properties"]
    try:
        match widget["type"]:
            case "metric":
                drawn = _chart(lines(properties, store), properties, shown_minutes(store))
            case "alarm":
                drawn = "".join(_state(arn, states) for arn in properties["alarms"])
            case kind:
                raise NotDrawn(f"a widget of type {kind}")
    except NotDrawn as what:
        drawn = f"<p class='note'>Not drawn here: {escape(str(what))}.</p>"
    title = escape(properties.get("title", ""))
    return f"<section style='grid-column:span {int(widget.get('width', 6))}'><h2>{title}</h2>{drawn}</section>"


def _state(arn: str, states: Mapping[str, tuple[str, str]]) -> str:
    name, state = states.get(arn, (arn, "does not exist"))
    style = {"OK": "down", "ALARM": "up"}.get(state, "note")
    return f"<span class='state'><b>{escape(name)}</b> <span class='{style}'>{escape(state)}</span></span>"


# ---- what is drawn ----


def lines(properties: Mapping[str, Any], store: MetricStore) -> list[Line]:
    """The lines of one metric widget. Raises NotDrawn for an expression other than SEARCH."""
    found: list[Line] = []
    for row in properties["metrics"]:
        options: Mapping[str, Any] = row[-1] if isinstance(row[-1], dict) else {}
        parts = [part for part in row if not isinstance(part, dict)]
        minutes = max(1, int(options.get("period", properties.get("period", 300))) // 60)
        label = options.get("label", "")
        if "expression" in options:
            searched = _SEARCH.fullmatch(options["expression"].strip())
            if searched is None:
                raise NotDrawn(f"the expression {options['expression']}")
            stat = searched["stat"]
            keys = sorted(
                matching(store.keys(), searched["schema"] or "", searched["terms"]), key=lambda one: sorted(one[2])
            )
            found += [Line(_name(key, label), _points(store, key, minutes, stat)) for key in keys]
        else:
            namespace, name, *dimensions = parts
            key = (namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True)))
            stat = options.get("stat", properties.get("stat", "Average"))
            found.append(Line(label or name, _points(store, key, minutes, stat)))
    return found


def matching(keys: Iterator[Key], schema: str, terms: str) -> Iterator[Key]:
    """Metrics of exactly that namespace and those dimension names, whose parts have every term: a quoted one is the
    whole value, another is one of its tokens."""
    namespace, *names = [part.strip().strip('"') for part in schema.split(",")] if schema else [""]
    wanted = [(designator, exact, token) for designator, exact, token in _TERM.findall(terms)]
    for key in keys:
        if schema and (key[0] != namespace or {name for name, _ in key[2]} != set(names)):
            continue
        parts = {"Namespace": key[0], "MetricName": key[1], **dict(key[2])}
        if all(_has(parts, designator, exact, token) for designator, exact, token in wanted):
            yield key


def _has(parts: Mapping[str, str], designator: str, exact: str, token: str) -> bool:
    among = [parts.get(designator, "")] if designator else list(parts.values())
    if exact:
        return exact in among
    return any(token.lower() in {one.lower() for one in _TOKEN.findall(value)} for value in among)


def _name(key: Key, label: str) -> str:
    """What tells a line of a search from its neighbours: the values of its dimensions."""
    values = [value for name, value in sorted(key[2]) if name != "Stack" and (name, value) != _USUAL]
    return " ".join([label, *values]).strip() or key[1]


def _points(store: MetricStore, key: Key, minutes: int, stat: str) -> tuple[float | None, ...]:
    shown = shown_minutes(store)
    each = min(max(minutes, shown // _POINTS), shown // 2)
    periods: list[Statistics | None] = store.periods(key, each, shown // each)
    return tuple(None if one is None else one.value(stat) for one in reversed(periods))


def shown_minutes(store: MetricStore) -> int:
    """A round number of minutes, no more than three hours, and not much more than there are."""
    return min(LONGEST_MINUTES, SHORTEST_MINUTES * (1 + store.minute // SHORTEST_MINUTES))


# ---- how it is drawn ----


def _chart(found: list[Line], properties: Mapping[str, Any], minutes: int) -> str:
    with_data = [line for line in found if any(point is not None for point in line.points)]
    if not with_data:
        return "<p class='note'>No data yet.</p>"
    shown, left = with_data[:_MOST_LINES], len(with_data) - _MOST_LINES
    top = max(point for line in shown for point in line.points if point is not None)
    marks = [one for one in properties.get("annotations", {}).get("horizontal", []) if 0 < one["value"] <= 3 * top]
    top = max([top, *(float(one["value"]) for one in marks)]) or 1.0
    step = float(html_page.round_step(Decimal(repr(top))))
    reach = step * -(-top // step)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / reach * (_HEIGHT - _BOTTOM - 8)

    drawn = []
    for index in range(round(reach / step) + 1):
        at = y(index * step)
        drawn.append(
            f'<line class="{"grid" if index else "zero"}" x1="{_LEFT}" x2="{_WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        drawn.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_short(index * step)}</text>')
    for mark in marks:
        at = y(float(mark["value"]))
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="var(--bad)" stroke-dasharray="5 4"/>'
            f'<text x="{_WIDTH}" y="{at - 4:.1f}" text-anchor="end">{escape(mark.get("label", ""))}</text>'
        )
    for number, line in enumerate(shown):
        drawn.append(_path(line, f"var(--c{number % 6})", y))
    drawn.append(f'<text x="{_LEFT}" y="{_HEIGHT - 4}">-{minutes} min</text>')
    drawn.append(f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">now</text>')
    legend = "".join(
        f'<span><i style="background:var(--c{number % 6})"></i>{escape(line.label)}</span>'
        for number, line in enumerate(shown)
    )
    more = f"<span>and {left} more</span>" if left > 0 else ""
    label = escape(properties.get("title", ""))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
        f'<div class="legend">{legend}{more}</div>'
    )


def _path(line: Line, color: str, y: Any) -> str:
    """A line that is interrupted where there is no data; a point that stands alone is a dot."""
    width = (_WIDTH - _LEFT) / max(1, len(line.points) - 1)
    steps, dots = [], []
    for index, point in enumerate(line.points):
        if point is None:
            continue
        x = _LEFT + index * width
        begins = index == 0 or line.points[index - 1] is None
        ends = index == len(line.points) - 1 or line.points[index + 1] is None
        steps.append(f"{'M' if begins else 'L'}{x:.1f} {y(point):.1f}")
        if begins and ends:
            dots.append(f'<circle cx="{x:.1f}" cy="{y(point):.1f}" r="2.5" fill="{color}"/>')
    return f'<path d="{"".join(steps)}" fill="none" stroke="{color}" stroke-width="2"/>{"".join(dots)}'


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"
