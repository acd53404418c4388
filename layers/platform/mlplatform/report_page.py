"""A cost report as one HTML page: no script, nothing from elsewhere, light and dark, and it prints. Pure.

Charts are SVG in the page, drawn from the exact amounts; tables show the cents that add up.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from html import escape
from itertools import accumulate

from mlplatform.cost_report import UNTAGGED, Day, Mover, Report, SavingsOfKind, Table, month_last, month_start
from mlplatform.dollars import NOTHING, money, precise
from mlplatform.html_page import document, figure_card, round_step
from mlplatform.report_message import tables
from mlplatform.words import counted

_COLOURS = 5  # and one for the rest
_OTHERS = "everything else"
_MOST_ENTRIES = 50  # of one kind of saving; the sum is of all
_WIDTH = 960


def page(report: Report) -> str:
    """A whole document. Everything that comes from names and tags is escaped."""
    title = f"{report.stack}: costs of {_long(report.day)}"
    body = (
        _header(report),
        _cards(report),
        _missing(report),
        _daily_chart(report),
        _month_chart(report),
        _by(report),
        _movers_and_units(report),
        _savings(report),
        _advice(report),
        _footer(),
    )
    return document(title, body)


def _header(report: Report) -> str:
    return (
        f'<header><div><div class="kicker">{escape(report.stack)} · {escape(report.environment)}</div>'
        f"<h1>{report.day:%A}, {_long(report.day)}</h1></div>"
        f'<div class="meta">Made on {_long(report.made_on)} from AWS Cost Explorer.<br>'
        "Days are UTC days. Amounts are in "
        f"{escape(report.currency)}, before anything is invoiced.</div></header>"
    )


# ---- the figures read first ----


def _cards(report: Report) -> str:
    total = report.services.total if report.services else None
    currency = report.currency
    flag = '<span class="tag">estimated</span>' if report.estimated and total else ""
    budget = report.budget
    used = budget.spent_usd / budget.usd if budget.usd else NOTHING
    known = total is not None and currency == "USD"
    kind, width = ("over", Decimal(1)) if used >= 1 else ("within", max(used, NOTHING))
    meter = f'<div class="bar"><i class="{kind}" style="width:{width:.1%}"></i></div>' if known else ""
    cards = [
        figure_card(
            f"Yesterday{flag}",
            money(total.yesterday, currency) if total else "Not known",
            _against_day_before(report),
        ),
        figure_card(
            f"This month, {_days_of(report.day)}",
            money(total.month_to_date, currency) if total else "Not known",
            _against_last_month(report),
        ),
        figure_card(
            "By the end of the month",
            money(report.month_end, currency) if report.month_end is not None else "No forecast",
            escape(report.forecast.partition(": ")[2] if report.month_end is not None else report.forecast),
        ),
        figure_card(
            f"Left of the budget of {money(budget.usd)}",
            money(budget.left_usd) if known else "Not known",
            meter + f'<div style="margin-top:8px">{escape(budget.outlook[0].upper() + budget.outlook[1:])}</div>',
        ),
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def _against_day_before(report: Report) -> str:
    before = next((one for one in _all_days(report) if one.day == report.day - timedelta(days=1)), None)
    if before is None or report.services is None:
        return ""
    return f"{money(before.total, report.currency)} the day before"


def _against_last_month(report: Report) -> str:
    if report.services is None:
        return ""
    total = report.services.total
    same = f'<span class="keep">{_days_of(report.compared_until)} {report.compared_until:%B}</span>'
    if not total.last_month:
        return f"nothing is known of {same}"
    change = (total.month_to_date - total.last_month) / abs(total.last_month) * 100
    style = "up" if change > 0 else "down"
    sign = "+" if change >= 0 else "−"
    return (
        f'<span class="{style}">{sign}{abs(change):.0f} %</span> against {money(total.last_month, report.currency)} '
        f"on {same}"
    )


# ---- charts ----


def _daily_chart(report: Report) -> str:
    days = report.days
    if not days:
        return ""
    names = _largest(days)
    last = {one.day.day: one.total for one in report.days_last_month}
    length = calendar.monthrange(report.day.year, report.day.month)[1]
    stacks = [_stack(one, names) for one in days]
    high = max(
        [sum((v for v in s if v > 0), NOTHING) for s in stacks] + [last.get(n, NOTHING) for n in range(1, length + 1)]
    )
    low = min([sum((v for v in s if v < 0), NOTHING) for s in stacks] + [NOTHING])
    plot = _Plot(low, high, 250)
    slot = plot.width / length
    width = slot * 0.66
    bars = []
    for one, stack in zip(days, stacks, strict=True):
        left = plot.left + (one.day.day - 1) * slot + (slot - width) / 2
        above, below = NOTHING, NOTHING
        shown = []
        for colour, value in enumerate(stack):
            if not value:
                continue
            start = above if value > 0 else below
            top, bottom = sorted((plot.y(start), plot.y(start + value)))
            shown.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(bottom - top, 0.5):.1f}" '
                f'fill="var(--c{min(colour, _COLOURS)})"/>'
            )
            above, below = (above + value, below) if value > 0 else (above, below + value)
        fading = ' opacity=".55"' if one.day == report.day and one.estimated else ""
        bars.append(f"<g{fading}><title>{escape(_day_title(one, report.currency))}</title>{''.join(shown)}</g>")
    ticks = "".join(
        f'<text x="{plot.left + (n - 0.5) * slot:.1f}" y="{plot.bottom + 18}" text-anchor="middle">{n}</text>'
        for n in range(1, length + 1)
        if n == 1 or n % 5 == 0
    )
    marks = "".join(
        f'<line x1="{plot.left + (n - 1) * slot + 2:.1f}" x2="{plot.left + n * slot - 2:.1f}" y1="{plot.y(value):.1f}" '
        f'y2="{plot.y(value):.1f}" stroke="var(--soft)" stroke-width="1.5" stroke-linecap="round" opacity=".7"/>'
        for n, value in last.items()
        if n <= length
    )
    legend = "".join(
        f'<span><i style="background:var(--c{index})"></i>{escape(name)}</span>' for index, name in enumerate(names)
    )
    if any(stack[-1] for stack in stacks):
        legend += f'<span><i style="background:var(--c{_COLOURS})"></i>{_OTHERS}</span>'
    if last:
        legend += f'<span><i class="line" style="color:var(--soft)"></i>same day in {report.compared_until:%B}</span>'
    drawn = plot.svg(
        f"Costs of each day of {report.day:%B}, by service", "".join(bars) + marks + ticks, report.currency
    )
    note = " The newest day is paler: AWS is still adding to it." if report.estimated else ""
    return (
        f'<section><h2>Every day of {report.day:%B}</h2><div class="note">What AWS booked on each day, by service.'
        f"{note}</div>{drawn}"
        f'<div class="legend">{legend}</div></section>'
    )


def _month_chart(report: Report) -> str:
    """The month adding up, beside last month and the budget, with the forecast to the month's end."""
    if not report.days:
        return ""
    length = calendar.monthrange(report.day.year, report.day.month)[1]
    so_far = _cumulative(report.days, month_start(report.day), report.day.day)
    before: list[Decimal] = []
    if report.days_last_month:
        last_day = month_last(report.compared_until)
        before = _cumulative(report.days_last_month, month_start(report.compared_until), last_day.day)[:length]
    reach = [*so_far, *before] + ([report.month_end] if report.month_end is not None else [])
    budget = report.budget.usd
    # A budget far above everything spent would press the lines flat; the card says how much of it is left.
    budget_fits = report.currency == "USD" and max(reach) * 4 >= budget
    plot = _Plot(min([*reach, NOTHING]), max([*reach, budget] if budget_fits else reach), 220)

    def x(day: int) -> float:
        return plot.left + plot.width * day / length

    def path(values: Sequence[Decimal]) -> str:
        points = [(x(0), plot.y(NOTHING)), *((x(n), plot.y(v)) for n, v in enumerate(values, 1))]
        return "M" + " L".join(f"{px:.1f} {py:.1f}" for px, py in points)

    drawn = []
    if budget_fits:
        y = plot.y(budget)
        drawn.append(
            f'<line x1="{plot.left}" x2="{plot.left + plot.width}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--bad)" '
            'stroke-width="1.5" stroke-dasharray="2 4" stroke-linecap="round"/>'
            f'<text x="{plot.left + 6}" y="{y - 7:.1f}" style="fill:var(--bad)">budget {money(budget)}</text>'
        )
    if before:
        drawn.append(f'<path d="{path(before)}" fill="none" stroke="var(--c5)" stroke-width="1.5"/>')
    area = f"{path(so_far)} L{x(len(so_far)):.1f} {plot.y(NOTHING):.1f} Z"
    drawn.append(f'<path d="{area}" fill="var(--c0)" opacity=".12"/>')
    drawn.append(
        f'<path d="{path(so_far)}" fill="none" stroke="var(--c0)" stroke-width="2.5" stroke-linejoin="round"/>'
    )
    px, py = x(len(so_far)), plot.y(so_far[-1])
    if report.month_end is not None:
        ex, ey = x(length), plot.y(report.month_end)
        drawn.append(
            f'<path d="M{px:.1f} {py:.1f} L{ex:.1f} {ey:.1f}" stroke="var(--c0)" stroke-width="2" fill="none" '
            'stroke-dasharray="5 5" stroke-linecap="round"/>'
            f'<circle cx="{ex:.1f}" cy="{ey:.1f}" r="4" fill="var(--card)" stroke="var(--c0)" stroke-width="2"/>'
            f'<text x="{ex:.1f}" y="{ey - 10:.1f}" text-anchor="end" style="fill:var(--ink)">'
            f"{money(report.month_end, report.currency)}</text>"
        )
    drawn.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="var(--c0)"/>')
    drawn.append(
        f'<text x="{px:.1f}" y="{py - 10:.1f}" text-anchor="{"end" if len(so_far) > 3 else "start"}" '
        f'style="fill:var(--ink);font-weight:600">{money(so_far[-1], report.currency)}</text>'
    )
    drawn += [
        f'<text x="{x(n):.1f}" y="{plot.bottom + 18}" text-anchor="middle">{n}</text>'
        for n in range(1, length + 1)
        if n == 1 or n % 5 == 0
    ]
    legend = [f'<span><i class="line" style="color:var(--c0)"></i>{report.day:%B} so far</span>']
    if report.month_end is not None:
        legend.append('<span><i class="dash" style="color:var(--c0)"></i>forecast by Cost Explorer</span>')
    if before:
        legend.append(f'<span><i class="line" style="color:var(--c5)"></i>{report.compared_until:%B}</span>')
    return (
        f'<section><h2>{report.day:%B} adding up</h2><div class="note">{escape(report.budget.sentence)}</div>'
        + plot.svg(f"Costs of {report.day:%B} added up day by day", "".join(drawn), report.currency)
        + f'<div class="legend">{"".join(legend)}</div></section>'
    )


class _Plot:
    """A chart's area with a vertical axis in money."""

    left = 64
    top = 18

    def __init__(self, low: Decimal, high: Decimal, height: int) -> None:
        self.width = _WIDTH - self.left - 10
        self.bottom = self.top + height
        self._height = height
        self.step = round_step(max(high - low, Decimal("0.01")))
        self._low = (low / self.step).to_integral_value(ROUND_FLOOR) * self.step
        self._high = max((high / self.step).to_integral_value(ROUND_CEILING), Decimal(1)) * self.step

    def y(self, value: Decimal) -> float:
        return self.bottom - float((value - self._low) / (self._high - self._low)) * self._height

    def svg(self, label: str, content: str, currency: str) -> str:
        lines, value = [], self._low
        while value <= self._high:
            y = self.y(value)
            kind = "zero" if value == 0 else "grid"
            lines.append(
                f'<line class="{kind}" x1="{self.left}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{self.left - 10}" y="{y + 4:.1f}" text-anchor="end">'
                f"{_tick(value, self.step, currency)}</text>"
            )
            value += self.step
        return (
            f'<svg viewBox="0 0 {_WIDTH} {self.bottom + 28}" role="img" aria-label="{escape(label)}">'
            f"{''.join(lines)}{content}</svg>"
        )


def _tick(value: Decimal, step: Decimal, currency: str) -> str:
    """Cents only where the steps have them."""
    if value == 0:
        return "0"
    places = 0 if step % 1 == 0 else max(2, -step.normalize().as_tuple().exponent)  # type: ignore[operator]
    text = f"{abs(value):,.{places}f}"
    return f"{'−' if value < 0 else ''}{'$' if currency == 'USD' else ''}{text}"


def _largest(days: Iterable[Day]) -> list[str]:
    sums: dict[str, Decimal] = {}
    for one in days:
        for name, amount in one.amounts.items():
            sums[name] = sums.get(name, NOTHING) + abs(amount)
    return sorted((name for name in sums if sums[name]), key=lambda name: (-sums[name], name))[:_COLOURS]


def _stack(day: Day, names: Sequence[str]) -> list[Decimal]:
    rest = sum((amount for name, amount in day.amounts.items() if name not in names), NOTHING)
    return [*(day.amounts.get(name, NOTHING) for name in names), *[NOTHING] * (_COLOURS - len(names)), rest]


def _day_title(day: Day, currency: str) -> str:
    parts = sorted(day.amounts.items(), key=lambda item: -item[1])
    return "\n".join(
        [f"{_long(day.day)}: {money(day.total, currency)}", *(f"{name} {money(v, currency)}" for name, v in parts if v)]
    )


def _cumulative(days: Iterable[Day], first: date, length: int) -> list[Decimal]:
    totals = {one.day: one.total for one in days}
    return list(accumulate(totals.get(first + timedelta(days=n), NOTHING) for n in range(length)))


def _all_days(report: Report) -> tuple[Day, ...]:
    return report.days_last_month + report.days


# ---- tables and lists ----


def _by(report: Report) -> str:
    explained = {
        "By service": "Tax, credits and refunds are apart from what resources cost.",
        "By project": "By the tag Project, without tax, credits and refunds.",
        "By dataset": "By the platform's own tag, without tax, credits and refunds.",
    }
    sections = {title: _table(title, explained[title], table, report) for title, table in tables(report)}
    first = sections.pop("By service", "")
    return first + (f'<div class="two">{"".join(sections.values())}</div>' if sections else "")


def _table(title: str, note: str, table: Table, report: Report) -> str:
    wide = title == "By service"
    largest = max((abs(row.month_to_date) for row in table.rows), default=NOTHING) or Decimal(1)
    rows = []
    for row in table.rows:
        share = f"{abs(row.month_to_date) / largest:.1%}"
        kind_of_bar = "back" if row.month_to_date < 0 else "within"
        bar = (
            f'<td class="share"><div class="bar"><i class="{kind_of_bar}" style="width:{share}"></i></div></td>'
            if wide
            else ""
        )
        values = "".join(
            f"<td>{money(value, report.currency)}</td>" for value in (row.yesterday, row.month_to_date, row.last_month)
        )
        kind = ' class="apart"' if row.name in {UNTAGGED, "Tax", "Credits", "Refunds"} else ""
        rows.append(f"<tr{kind}><td>{escape(row.name)}</td>{bar}{values}</tr>")
    total = "".join(
        f"<td>{money(value, report.currency)}</td>"
        for value in (table.total.yesterday, table.total.month_to_date, table.total.last_month)
    )
    blank = '<td class="share"></td>' if wide else ""
    head = '<th class="share"></th>' if wide else ""
    untagged = ""
    if title == "By project" and report.untagged_percent is not None:
        untagged = f" {report.untagged_percent} % of this month carries no project."
    return (
        f'<section><h2>{title}</h2><div class="note">{note}{untagged}</div><table><thead><tr><th></th>{head}'
        f"<th>yesterday</th><th>this month</th><th>last month</th></tr></thead><tbody>{''.join(rows)}"
        f'<tr class="total"><td>{escape(table.total.name)}</td>{blank}{total}</tr></tbody></table></section>'
    )


def _movers_and_units(report: Report) -> str:
    movers = _list(
        "What moved yesterday",
        "Against the mean of the seven days before.",
        [_mover(one, report.currency) for one in report.movers],
    )
    units = _list(
        "What one of something costs",
        "This month, up to yesterday.",
        [
            f'<li><span class="name">{escape(one.name)}</span><span class="num">{precise(one.usd)}</span>'
            f'<span class="note">{escape(one.formula)}</span></li>'
            for one in report.unit_costs
        ],
    )
    return f'<div class="two">{movers}{units}</div>' if movers and units else movers + units


def _mover(one: Mover, currency: str) -> str:
    style, sign = ("up", "+") if one.change > 0 else ("down", "")
    return (
        f'<li><span class="name">{escape(one.name)}</span><span class="num {style}">{sign}'
        f'{money(one.change, currency)}</span><span class="note">{money(one.yesterday, currency)} after '
        f"{money(one.usual, currency)} a day. {escape(one.cause)}</span></li>"
    )


def _savings(report: Report) -> str:
    items = [_saving(kind) for kind in report.savings]
    if items:
        items.append(
            f'<li><span class="name">Saved this month</span><span class="num">{money(report.saved_usd)}</span></li>'
        )
    saved = _list("What was saved this month", "From the ledger: one entry for each thing that saved.", items)
    own = []
    if report.own_usd is not None:
        own.append(
            f'<li><span class="name">The platform, this month</span><span class="num">'
            f'{money(report.own_usd, report.currency)}</span><span class="note">What carries the project and no '
            "dataset, and Cost Explorer.</span></li>"
        )
    own.append(
        '<li><span class="name">Asking for the figures, today</span>'
        f'<span class="num">{money(report.requests_usd)}</span><span class="note">'
        f"{counted(report.requests, 'Cost Explorer request')}; each page of an answer is one.</span></li>"
    )
    owned = _list("What the platform itself costs", "", own)
    return f'<div class="two">{saved}{owned}</div>' if saved else owned


def _saving(kind: SavingsOfKind) -> str:
    names = {
        "spot": "Spot instead of on-demand training",
        "night": "Endpoints closed outside of office hours",
        "scale-in": "Smaller fleets than the day's largest",
        "serverless": "Serverless instead of an instance",
        "scale-to-zero": "No instances while nobody asks",
    }
    rows = "".join(
        f'<tr><td>{_long(one.at.date())}</td><td class="formula">{escape(one.formula)}</td>'
        f"<td>{precise(one.usd)}</td></tr>"
        for one in kind.entries[:_MOST_ENTRIES]
    )
    many = len(kind.entries)
    shown = f"the {_MOST_ENTRIES} largest of {many}" if many > _MOST_ENTRIES else f"{many}"
    caveat = f'<span class="note">{escape(kind.caveat)}</span>' if kind.caveat else ""
    return (
        f'<li><span class="name">{escape(names.get(kind.kind, kind.kind))}</span>'
        f'<span class="num down">{money(kind.usd)}</span>{caveat}'
        f"<details><summary>How it comes about: {shown} {'entry' if many == 1 else 'entries'}</summary>"
        f"<table><tbody>{rows}</tbody></table></details></li>"
    )


def _advice(report: Report) -> str:
    items = [
        f'<li><span class="name">{one.number}. {escape(one.title)}</span>'
        f'<span class="num down">{money(one.usd_per_month)}</span>'
        f'<span class="note">{escape(one.evidence)} ({one.confidence} confidence)</span>'
        f"<details><summary>What to do</summary><p>{escape(one.how)}"
        f"{f' <code>mlp costs apply {one.number}</code> does it.' if one.appliable else ''}</p></details></li>"
        for one in report.advice
    ]
    if items:
        items.append(
            f'<li><span class="name">Together, of alternatives the best</span><span class="num">'
            f"{money(report.advice_usd)}</span></li>"
        )
    if report.not_looked_at:
        items.append(f'<li><span class="note">Not looked at: {escape("; ".join(report.not_looked_at))}.</span></li>')
    return _list("What to do next", "A month, at list price; what it rests on is below each.", items)


def _list(title: str, note: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    said = f'<div class="note">{note}</div>' if note else ""
    return f"<section><h2>{title}</h2>{said}<ul>{''.join(items)}</ul></section>"


def _missing(report: Report) -> str:
    others = [
        f"{money(amount, name)} this month is in another currency; it is in no other figure here."
        for name, amount in report.other_currencies
    ]
    said = [*report.missing, *others]
    if not said:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in said)
    return f'<section class="missing"><h2>What is missing</h2><ul>{items}</ul></section>'


def _footer() -> str:
    return (
        "<footer>Each table is rounded so that its rows add up to its total, and the total is the bill rounded once. "
        "AWS may still change the figures of a month until its invoice. The same numbers as JSON lie beside this page."
        "</footer>"
    )


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _days_of(day: date) -> str:
    return "1st" if day.day == 1 else f"1\u2013{day.day}"
