"""The platform summary as one page of HTML, without a script or anything to fetch."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from html import escape

from cli.inventory import Item, Summary
from mlplatform.dollars import money, precise
from mlplatform.words import counted

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #dde3ea; --back: #f6f8fa; --card: #fff;
  --good: #0b6e4f; --bad: #a4262c; --accent: #2456a6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #9aa6b5; --line: #323b47; --back: #14181e;
  --card: #1c2229; --good: #58c99b; --bad: #ff8a8f; --accent: #8bb4f5; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
p { margin: .25rem 0; } .soft, small { color: var(--soft) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem; margin: 1.4rem 0 }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem .8rem }
.card b { display: block; font-size: 1.15rem; overflow-wrap: anywhere; line-height: 1.2; margin: .15rem 0;
  font-variant-numeric: tabular-nums }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
table { border-collapse: collapse; width: 100%; min-width: 46rem }
.resources { table-layout: fixed } .resources th:nth-child(1) { width: 24% } .resources th:nth-child(2) { width: 28% }
.resources th:nth-child(3) { width: 10% } .resources th:nth-child(4) { width: 19% }
th, td { text-align: left; vertical-align: top; padding: .55rem .8rem; border-top: 1px solid var(--line) }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: .85rem }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td:first-child { overflow-wrap: anywhere; min-width: 11rem } td { min-width: 6rem }
ul { margin: 0; padding-left: 1.1rem } .good { color: var(--good) } .bad { color: var(--bad) }
code { font: .85em ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere }
tfoot td { font-weight: 600 }
@media print { body { background: #fff; max-width: none } .wide { overflow: visible } }
"""


def page(summary: Summary) -> str:
    """A whole document; whatever AWS told is escaped."""
    own, list_price = summary.own_cost
    saved = sum((usd for _, usd in summary.saved.values()), Decimal(0))
    cards = [
        ("The platform itself", f"{money(own)} a month", f"{money(list_price)} without AWS's always-free allowances"),
        ("Endpoints that run", f"{money(summary.serving_usd)} a month", f"{counted(len(summary.serving), 'endpoint')}"),
        ("Closed hours save", f"{money(summary.hours_save_usd)} a month", "of the endpoints that run now"),
        ("Saved this month", precise(saved), _kinds(summary)),
        (
            "Could be saved",
            f"{money(summary.advice_usd)} a month",
            f"{counted(len(summary.recommendations), 'recommendation')}",
        ),
    ]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(summary.stack)}: what is deployed</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(summary.stack)}</h1>",
        f'<p class="soft">{counted(len(summary.items), "resource")} in {escape(summary.region)}, environment '
        f"{escape(summary.environment)}, as deployed on {summary.at:%d %B %Y, %H:%M} UTC.</p>",
        '<div class="cards">',
        *(
            f'<div class="card"><span class="soft">{escape(title)}</span><b>{escape(value)}</b>'
            f"<small>{escape(note)}</small></div>"
            for title, value, note in cards
        ),
        "</div>",
        *_serving(summary),
        *_own_cost(summary),
    ]
    groups: dict[str, list[Item]] = {}
    for item in summary.items:
        groups.setdefault(item.group, []).append(item)
    for title, items in groups.items():
        parts += [f"<h2>{escape(title)}</h2>", *_items(items)]
    parts += _recommendations(summary)
    if summary.missing:
        parts.append(f'<p class="soft">Not looked at: {escape("; ".join(summary.missing))}.</p>')
    return "\n".join([*parts, "</body></html>", ""])


def _items(items: Iterable[Item]) -> list[str]:
    rows = []
    for item in items:
        facts = [f'<li class="good">{escape(one)}</li>' for one in item.security]
        if item.missing_tags is not None:
            lacks = ", ".join(item.missing_tags)
            facts.append(
                f'<li class="bad">lacks the tags {escape(lacks)}</li>' if lacks else '<li class="good">tagged</li>'
            )
        rows.append(
            f"<tr><td><b>{escape(item.logical_id)}</b><br><small>{escape(item.kind)}</small><br>"
            f"<code>{escape(_short(item.physical_id))}</code></td>"
            f"<td>{escape(item.purpose)}</td>"
            f'<td class="number">{_item_cost(item)}</td><td>{escape(item.saves)}</td>'
            f"<td>{'<ul>' + ''.join(facts) + '</ul>' if facts else ''}</td></tr>"
        )
    return [
        '<div class="wide"><table class="resources"><thead><tr><th>Resource</th><th>Purpose</th>'
        '<th class="number">Monthly cost</th>'
        "<th>What it saves</th><th>Security</th></tr></thead><tbody>",
        *rows,
        "</tbody></table></div>",
    ]


def _item_cost(item: Item) -> str:
    if not item.lines:
        return '<span class="soft">free<br><small>or by use</small></span>'
    note = "" if item.list_usd == item.usd else f"<br><small>list {_small(item.list_usd)}</small>"
    return f"{_small(item.usd)}{note}"


def _serving(summary: Summary) -> list[str]:
    if not summary.serving:
        return []
    rows = [
        f"<tr><td><b>{escape(one.name)}</b></td><td>{escape(one.what)}</td>"
        f'<td class="number">{one.hours_per_week:g} of 168</td>'
        f'<td class="number">{"not known yet" if one.usd is None else money(one.usd)}</td>'
        f'<td class="number">{money((one.always_on_usd or Decimal(0)) - (one.usd or Decimal(0)))}</td></tr>'
        for one in summary.serving
    ]
    return [
        '<h2>Endpoints</h2><div class="wide"><table><thead><tr><th>Endpoint</th><th>Runs</th>'
        '<th class="number">Hours a week</th><th class="number">Monthly cost</th>'
        '<th class="number">Closed hours save</th></tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]


def _own_cost(summary: Summary) -> list[str]:
    """The lines that matter, largest first; what is less than a cent at list price is one line."""
    lines = sorted((line for item in summary.items for line in item.lines), key=lambda line: -line.list_usd)
    large = [line for line in lines if line.list_usd >= Decimal("0.01")]
    small = [line for line in lines if line.list_usd < Decimal("0.01")]
    own, list_price = summary.own_cost
    rows = [
        f'<tr><td>{escape(line.resource)}</td><td>{escape(line.formula)}</td><td class="number">'
        f'{_small(line.list_usd)}</td><td class="number">{_small(line.usd)}</td></tr>'
        for line in large
    ]
    if small:
        rows.append(
            f"<tr><td>{counted(len(small), 'smaller line')}</td><td>less than a cent each</td>"
            f'<td class="number">{_small(sum((line.list_usd for line in small), Decimal(0)))}</td>'
            f'<td class="number">{_small(sum((line.usd for line in small), Decimal(0)))}</td></tr>'
        )
    return [
        '<h2>What the platform itself costs</h2><div class="wide"><table><thead><tr><th>Resource</th><th>A month of'
        '</th><th class="number">List price</th><th class="number">After free allowances</th></tr></thead><tbody>',
        *rows,
        f'</tbody><tfoot><tr><td>Together</td><td></td><td class="number">{money(list_price)}</td>'
        f'<td class="number">{money(own)}</td></tr></tfoot></table></div>',
        '<p class="soft">What runs without anybody using it. Training, endpoints, storage and the functions that '
        "events start are the cost of the datasets they serve.</p>",
    ]


def _recommendations(summary: Summary) -> list[str]:
    if not summary.recommendations:
        return []
    rows = [
        f'<tr><td class="number">{one.number}</td><td><b>{escape(one.title)}</b><br>'
        f'<small>{escape(one.evidence)}</small></td><td class="number">{money(one.usd_per_month)}</td>'
        f"<td>{one.confidence}</td><td>{escape(one.how)}"
        f"{f'<br><code>mlp costs apply {one.number}</code>' if one.appliable else ''}</td></tr>"
        for one in summary.recommendations
    ]
    return [
        '<h2>What could be saved</h2><div class="wide"><table><thead><tr><th class="number">No.</th><th>What</th>'
        '<th class="number">A month</th><th>Confidence</th><th>How</th></tr></thead><tbody>',
        *rows,
        f'</tbody><tfoot><tr><td></td><td>Together, of alternatives the best</td><td class="number">'
        f"{money(summary.advice_usd)}</td><td></td><td></td></tr></tfoot></table></div>",
    ]


def _kinds(summary: Summary) -> str:
    return ", ".join(f"{kind} {times} x" for kind, (times, _) in sorted(summary.saved.items())) or "nothing yet"


def _short(physical: str) -> str:
    return physical.split(":", 5)[-1] if physical.startswith("arn:") else physical


def _small(amount: Decimal) -> str:
    """Cents, and where there are none, as many places as show something."""
    if amount == 0:
        return "$0.00"
    return money(amount) if amount >= Decimal("0.01") else "&lt; $0.01"
