"""A cost report as a message: plain text for e-mail and the terminal, and blocks for Slack within its limits. Pure.

Limits: 50 blocks, 150 characters in a header, 3,000 in a section's text, 2,000 in each of at most ten fields ("Blocks"
in Slack's reference). Names come from tags that anybody may write: in Slack they stand in preformatted text, where
only `&`, `<` and `>` mean anything ("Formatting text for app surfaces").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from mlplatform.cost_report import Report, Row, Table
from mlplatform.dollars import money, precise
from mlplatform.words import counted

_HEADER = 150
_SECTION = 3_000
_SLACK_ROWS = 8
_ADVICE = 5  # of the recommendations; the page has all
_NAME = 34  # characters of a name in a table: more wraps on a telephone


def subject(report: Report) -> str:
    """One line: what yesterday and the month came to."""
    if report.services is None:
        return f"{report.stack}: cost report of {report.made_on}, figures missing"
    total = report.services.total
    return (
        f"{report.stack}: {money(total.yesterday, report.currency)} yesterday, "
        f"{money(total.month_to_date, report.currency)} this month"
    )


def text(report: Report, link: str) -> str:
    """The whole report for e-mail and the terminal: tables in fixed width, and where the page is."""
    parts = [f"{report.stack} ({report.environment}): what {report.day:%A, %d %B %Y} cost, in UTC days"]
    parts.append("\n".join(f"{name + ':':<24}{value}" for name, value in headline(report)))
    for title, table in tables(report):
        parts.append(f"{title}\n{_grid(table, report.currency, len(table.rows))}")
    for title, lines in sections(report):
        parts.append(f"{title}\n" + "\n".join(f"  {line}" for line in lines))
    parts.append(f"The page with charts: {link}")
    return "\n\n".join(parts) + "\n"


def slack(report: Report, link: str) -> tuple[dict[str, Any], ...]:
    """The same in short."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": subject(report)[:_HEADER], "emoji": False}},
        {
            "type": "section",
            "fields": [_mrkdwn(f"*{name}*\n{_escaped(value)}"[:2000]) for name, value in headline(report)[:10]],
        },
    ]
    for title, table in tables(report):
        grid = _grid(table, report.currency, _SLACK_ROWS)
        blocks.append(_section(f"*{title}*\n", grid, preformatted=True))
    for title, lines in sections(report):
        blocks.append(_section(f"*{title}*\n", "\n".join(f"• {line}" for line in lines)))
    blocks.append({"type": "divider"})
    blocks.append(_section("", "", suffix=f"<{link}|Open the page with charts>, or `mlp costs --open`"))
    return tuple(blocks)


def headline(report: Report) -> list[tuple[str, str]]:
    """The few figures that are read first."""
    currency = report.currency
    said: list[tuple[str, str]] = []
    if report.services is None:
        said.append(("Spent", "not known, see below"))
    else:
        total = report.services.total
        about = " (estimated)" if report.estimated else ""
        said.append(("Yesterday", f"{money(total.yesterday, currency)}{about}"))
        said.append(("Month to date", f"{money(total.month_to_date, currency)}, {_compared(report)}"))
    said.append(("Forecast", report.forecast))
    said.append(("Budget", report.budget.sentence))
    said.append(("Saved this month", money(report.saved_usd) if report.savings else "nothing in the ledger yet"))
    if report.untagged_percent is not None and report.projects is not None:
        said.append(("Not tagged", f"{report.untagged_percent} % of what resources cost this month"))
    return said


def tables(report: Report) -> list[tuple[str, Table]]:
    named = (("By service", report.services), ("By project", report.projects), ("By dataset", report.datasets))
    return [(name, table) for name, table in named if table is not None]


def sections(report: Report) -> list[tuple[str, list[str]]]:
    """The rest, in lines; a section without any is left out."""
    found = [
        ("What moved yesterday, against the week before", movers(report)),
        ("What one of something costs", [f"{precise(u.usd)} {u.name} ({u.formula})" for u in report.unit_costs]),
        ("What was saved this month", savings(report)),
        ("What to do next", advice(report)),
        ("What the platform itself costs", own_cost(report)),
        ("What is missing", list(report.missing)),
    ]
    return [(title, lines) for title, lines in found if lines]


def movers(report: Report) -> list[str]:
    currency = report.currency
    return [
        f"{one.name} {'+' if one.change > 0 else ''}{money(one.change, currency)}: "
        f"{money(one.yesterday, currency)} after {money(one.usual, currency)} a day. {one.cause}"
        for one in report.movers
    ]


def savings(report: Report) -> list[str]:
    lines = []
    for kind in report.savings:
        times = counted(len(kind.entries), "time")
        lines.append(f"{kind.kind}: {money(kind.usd)} in {times}, for example {kind.entries[0].formula}")
        if kind.caveat:
            lines.append(f"  {kind.caveat}")
    return lines


def advice(report: Report) -> list[str]:
    """What saves at least a cent; the rest is tidying up, and one line."""
    worth = [one for one in report.advice if one.usd_per_month > 0]
    lines = [
        f"{one.number}. {one.title}: {money(one.usd_per_month)} a month ({one.confidence} confidence)"
        + (f"; mlp costs apply {one.number} does it" if one.appliable else "")
        for one in worth[:_ADVICE]
    ]
    if worth:
        more = len(worth) - len(lines)
        rest = f", with {more} more" if more else ""
        lines.append(f"Together up to {money(report.advice_usd)} a month{rest}; mlp costs advice says why and how.")
    if tidy := len(report.advice) - len(worth):
        lines.append(
            f"{tidy} thing{'' if tidy == 1 else 's'} to tidy up that cost{'s' if tidy == 1 else ''} nothing yet."
        )
    if report.not_looked_at:
        lines.append(f"Not looked at: {'; '.join(report.not_looked_at)}.")
    return lines


def own_cost(report: Report) -> list[str]:
    asked = f"{counted(report.requests, 'Cost Explorer request')} today cost {money(report.requests_usd)}."
    if report.own_usd is None:
        return [asked]
    return [
        f"{money(report.own_usd, report.currency)} this month for what is tagged with the project and no dataset, and "
        "for Cost Explorer.",
        asked,
    ]


def _compared(report: Report) -> str:
    """Against the same days last month."""
    assert report.services is not None
    total = report.services.total
    days = f"1-{report.compared_until.day} {report.compared_until:%B}"
    if not total.last_month:
        return f"nothing is known of {days}"
    change = (total.month_to_date - total.last_month) / abs(total.last_month) * 100
    return (
        f"{'+' if change >= 0 else '-'}{abs(change):.0f} % against {money(total.last_month, report.currency)} on {days}"
    )


def _grid(table: Table, currency: str, most: int) -> str:
    """Four columns in fixed width; what does not fit into `most` rows is one row of its own, so that it adds up."""
    rows: Sequence[Row] = table.rows
    if len(rows) > most:
        rest = rows[most - 1 :]
        rows = [
            *rows[: most - 1],
            Row(
                f"{len(rest)} others",
                _sum(row.yesterday for row in rest),
                _sum(row.month_to_date for row in rest),
                _sum(row.last_month for row in rest),
            ),
        ]
    cells = [
        (row.name, *(money(value, currency) for value in (row.yesterday, row.month_to_date, row.last_month)))
        for row in (*rows, table.total)
    ]
    cells.insert(0, ("", "yesterday", "this month", "last month"))
    width = min(max(len(name) for name, *_ in cells), _NAME)
    widths = [max(len(row[column]) for row in cells) for column in (1, 2, 3)]
    return "\n".join(
        "  ".join(
            (
                _cut(name, width).ljust(width),
                *(value.rjust(size) for value, size in zip(values, widths, strict=True)),
            )
        )
        for name, *values in cells
    )


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _section(title: str, content: str, *, preformatted: bool = False, suffix: str = "") -> dict[str, Any]:
    """Cut at a line's end where it would be too long: half an escape or half a link would be shown as it is."""
    fence = "```" if preformatted else ""
    room = _SECTION - len(title) - len(suffix) - 2 * len(fence) - len("\n…")
    lines, used = [], 0
    for line in _escaped(content).replace("`", "'").split("\n"):
        used += len(line) + 1
        if used > room:
            lines.append("…")
            break
        lines.append(line)
    return {"type": "section", "text": _mrkdwn(f"{title}{fence}{chr(10).join(lines)}{fence}{suffix}")}


def _mrkdwn(content: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": content}


def _escaped(content: str) -> str:
    return content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
