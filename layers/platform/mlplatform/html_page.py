"""What the platform's HTML pages share: a document that fetches nothing and runs nothing, its style, and round axes.

Light and dark follow the reader's device; a page also fits a telephone and prints. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from html import escape

STYLE = """
:root{color-scheme:light dark;--ground:#f6f5f2;--card:#fff;--ink:#1d1f24;--soft:#5f6470;--line:#e4e2dc;--track:#ecebe6;
--accent:#3b5bdb;--good:#0b7a5c;--bad:#c2342b;--warn:#9a6200;--warn-ground:#fdf3dc;
--c0:#3b5bdb;--c1:#0f9d8a;--c2:#e8963a;--c3:#9c4fc4;--c4:#d6456b;--c5:#a3a7b0}
@media (prefers-color-scheme:dark){:root{--ground:#14161a;--card:#1c1f25;--ink:#eceef2;--soft:#9aa1ae;--line:#2c3038;
--track:#2a2e36;--accent:#8da2ff;--good:#4cc9a0;--bad:#ff8078;--warn:#f0b955;--warn-ground:#33290f;
--c0:#7b93ff;--c1:#35c2ad;--c2:#f2ac5b;--c3:#c184e6;--c4:#f07a98;--c5:#767c88}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-font-smoothing:antialiased}
main{max-width:1040px;margin:0 auto;padding:40px 24px 56px}
header{display:flex;justify-content:space-between;align-items:flex-end;gap:24px;margin-bottom:24px;flex-wrap:wrap}
h1{font-size:28px;line-height:1.2;letter-spacing:-.02em;margin:2px 0 0;font-weight:650}
h2{font-size:16px;margin:0 0 2px;font-weight:650;letter-spacing:-.005em}
.kicker,.meta,.note,.small{color:var(--soft);font-size:13px}
.kicker{font-weight:600}
.meta{text-align:right}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin-bottom:14px}
.card,section{background:var(--card);border:1px solid var(--line);border-radius:14px}
.card{padding:16px 18px 18px;display:flex;flex-direction:column}
.card .label{color:var(--soft);font-size:13px;min-height:22px}
.card .figure{font-size:28px;font-weight:650;letter-spacing:-.025em;line-height:1.25;margin-top:2px}
.card .under{color:var(--soft);font-size:13px;line-height:1.45;margin-top:4px}
.figure,td,.num,text{font-variant-numeric:tabular-nums}
section{padding:20px 22px;margin-bottom:14px;break-inside:avoid}
.two{display:grid;grid-template-columns:1fr 1fr;gap:14px}.two>section{margin-bottom:14px}
.tag{display:inline-block;border-radius:99px;padding:0 8px;font-size:12px;line-height:20px;
background:var(--warn-ground);color:var(--warn);font-weight:600;margin-left:6px}.keep{white-space:nowrap}
.up{color:var(--bad)}.down{color:var(--good)}
.bar{height:8px;border-radius:4px;background:var(--track);overflow:hidden;margin-top:10px}
.bar i{display:block;height:100%;border-radius:4px;background:var(--accent)}.bar i.over{background:var(--bad)}
.bar i.back{background:var(--good)}
svg{display:block;width:100%;height:auto;margin-top:14px;overflow:visible}
svg text{fill:var(--soft);font-size:12px}
svg .grid{stroke:var(--line);stroke-width:1}svg .zero{stroke:var(--soft);stroke-width:1}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:12px;font-size:13px;color:var(--soft)}
.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px}
.legend i.dash{height:0;width:16px;border-radius:0;border-top:2px dashed;vertical-align:3px}
.legend i.line{height:0;width:16px;border-radius:0;border-top:2px solid;vertical-align:3px}
table{width:100%;border-collapse:collapse;margin-top:12px}
th,td{padding:7px 0 7px 14px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;padding-left:0;white-space:normal;overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:500;font-size:13px;border-top:0;padding-top:0}
tr.total td{font-weight:650;border-top:1.5px solid var(--soft)}
td.share{width:22%;padding-left:18px}td.share .bar{margin:0;height:6px}
tr.apart td:first-child{color:var(--soft)}
ul{list-style:none;margin:12px 0 0;padding:0}
li{padding:10px 0;border-top:1px solid var(--line);display:grid;grid-template-columns:1fr auto;gap:2px 16px}
li:first-child{border-top:0;padding-top:0}li:last-child{padding-bottom:0}
li .name{font-weight:550;overflow-wrap:anywhere}li .num{font-weight:650;text-align:right}
li .note{grid-column:1/-1;overflow-wrap:anywhere}
details{grid-column:1/-1}summary{cursor:pointer;color:var(--accent);font-size:13px}
details table{font-size:13px;margin-top:6px}details td{white-space:normal;vertical-align:top}
details td.formula{text-align:left;color:var(--soft);overflow-wrap:anywhere}
.missing{background:var(--warn-ground);border-color:transparent}.missing li{display:block;color:var(--ink)}
.missing h2{color:var(--warn)}
footer{color:var(--soft);font-size:13px;margin-top:22px}
@media (max-width:860px){.cards{grid-template-columns:1fr 1fr}.two{grid-template-columns:1fr}.meta{text-align:left}}
@media (max-width:520px){main{padding:24px 14px}.cards{grid-template-columns:1fr}td.share,th.share{display:none}
section{padding:16px}svg text{font-size:19px}}
@media print{:root{--ground:#fff;--card:#fff;--ink:#111;--soft:#555;--line:#ccc}body{font-size:12px}
main{padding:0;max-width:none}section,.card{border-radius:8px}.bar i,svg *,.legend i{-webkit-print-color-adjust:exact;
print-color-adjust:exact}details[open] summary{color:inherit}}
"""


def document(title: str, sections: Iterable[str], style: str = "") -> str:
    """A whole page. `title` is escaped here, the sections are HTML; `style` comes after the shared one.

    The policy forbids scripts and whatever would be fetched, so that a name that slipped through an escape stays text.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def figure_card(label: str, figure: str, under: str) -> str:
    """One of the figures that are read first. All three are HTML."""
    return (
        f'<div class="card"><div class="label">{label}</div><div class="figure">{figure}</div>'
        f'<div class="under">{under}</div></div>'
    )


def round_step(reach: Decimal) -> Decimal:
    """A round step that gives three to six lines on an axis that reaches so far."""
    power = Decimal(10) ** reach.adjusted()
    for factor in (Decimal("0.2"), Decimal("0.25"), Decimal("0.5"), Decimal(1), Decimal(2), Decimal("2.5")):
        if reach / (power * factor) <= 5:
            return power * factor
    return power * 5
