"""Numbers as people write them in tables: with currency, percent signs, thousands separators and decimal commas.

A column is read in one spelling, which is decided by all of its texts and kept in the schema: "1,234" is 1234 in a
column that also holds "0.5", and 1.234 in one that also holds "0,5". Training reads whole columns with Arrow
(dataset.py), serving reads single cells with Python's own expressions; both use the expressions below, and a test holds
them to the same answers. A percent sign is left out: "12 %" is 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIGN = "[-+\u2212]?"
# Besides dot or comma, thousands are parted by spaces, also those that do not break, and in Switzerland by apostrophes.
_SPACES = " \u00a0\u2009\u202f"
_ASIDE = f"['\u2019{_SPACES}]"
_CURRENCY = (
    "(?:[A-Z]{0,3}[$\u00a3\u00a5\u20a1\u20a6\u20a9\u20aa\u20ab\u20ac\u20ae\u20b1\u20b4\u20b8\u20b9\u20ba\u20bc\u20bd\u20be\u20bf\u0e3f]"
    "|AED|ARS|AUD|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KES|KRW|MXN|MYR|NGN|NOK|NZD|PHP"
    "|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR|kr|z\u0142|K\u010d|Ft|Fr\\.?)"
)
PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
# What stands around the digits; groups are named so that Arrow and Python find the same parts.
AFFIXES = (
    rf"^(?P<open>\(?)(?P<before>{_SIGN})(?:{_CURRENCY})?[{_SPACES}]?(?P<after>{_SIGN})"
    rf"(?P<digits>[0-9]{{1,3}}(?:{_ASIDE}[0-9]{{3}})+(?:[.,][0-9]*)?|[0-9.,]+)"
    rf"[{_SPACES}]?(?:%|{_CURRENCY})?(?P<close>\)?)$"
)
# Digits that tell which of dot and comma parts thousands: both of them, either twice, other than three behind one, or a
# zero before it.
POINT = r"^(?:[^.]*,[^.]*\.\d*|\d{1,3}(?:,\d{3}){2,}|\d*\.(?:\d{0,2}|\d{4,})|(?:\d{4,}|0\d*)\.\d{3}|\.\d+)$"
COMMA = r"^(?:[^,]*\.[^,]*,\d*|\d{1,3}(?:\.\d{3}){2,}|\d*,(?:\d{0,2}|\d{4,})|(?:\d{4,}|0\d*),\d{3}|,\d+)$"
DOT_GROUPS = r"^(?:\d{1,3}(?:\.\d{3})+,\d*|\d{1,3}(?:\.\d{3}){2,})$"
# A currency's sign or name, of what AFFIXES has matched. Nobody writes money with three decimals.
MONEY = f"[^0-9.,+\\-\u2212()%'\u2019{_SPACES}]"
# A number and what it counts: `85 m2`, `12kg`. In Arrow's syntax; serving only has to know how the text ends.
WITH_UNIT = f"^{_SIGN}[0-9][0-9.,'\u2019{_SPACES}]*(?P<unit>[\\p{{L}}\u00b0\u00b5\u03a9][^\\s]{{0,11}})$"
# What people write for a missing number, and for nothing else among numbers; elsewhere these may be values.
DASHES = frozenset({"-", "--", "---", "\u2013", "\u2014", "."})
ASIDE = _ASIDE


@dataclass(frozen=True)
class Spelling:
    """How a column writes its numbers."""

    decimal: str = "."
    group: str = ","  # besides spaces and apostrophes, which always part thousands; empty: nothing else does
    unit: str = ""  # that may stand behind them, such as kg

    @property
    def body(self) -> str:
        """The digits of a number, once spaces and apostrophes between thousands are gone."""
        grouped = rf"\d{{1,3}}(?:\{self.group}\d{{3}})+|" if self.group else ""
        # Where only commas are known to be decimal, a lone dot can be nothing else than decimal too.
        decimal = r"[.,]" if self.decimal == "," and not self.group else rf"\{self.decimal}"
        return rf"^(?:(?:{grouped}\d+)(?:{decimal}\d*)?|{decimal}\d+)$"


def number(text: str, spelling: Spelling) -> float | None:
    """The number that a text without spaces around it spells; None if it spells none."""
    if spelling.unit:
        text = text.removesuffix(spelling.unit).rstrip()
    found = _affixes.match(text)
    if not found or bool(found["open"]) != bool(found["close"]) or (found["before"] and found["after"]):
        return float(text) if _plain.match(text) else None
    digits = _aside.sub("", found["digits"])
    if not re.match(spelling.body, digits):
        return float(text) if _plain.match(text) else None
    if spelling.group:
        digits = digits.replace(spelling.group, "")
    value = float(digits.replace(",", "."))
    negative = bool(found["open"]) or (found["before"] or found["after"]) in ("-", "\u2212")
    return -value if negative else value


_plain = re.compile(PLAIN, re.ASCII)
_affixes = re.compile(AFFIXES, re.ASCII)
_aside = re.compile(ASIDE)
