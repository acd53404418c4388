"""What AWS Budgets says. It publishes English prose for people, in no documented form, that has changed over the years.

Real messages of 2019 to 2026 are in events/ and in the tests. All of them name the budget and the amounts twice: in a
sentence and in a list of labels. Both are read, labels first, so that a message may lack either; what is still unknown
stays None. The percentage that was configured is never in the text: only the amount that it came to.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from mlplatform.records import dataclass

# "Budget Name: x" in what topics get, and "Budget Name<tab>Budget Type<tab>..." above a line of values in e-mails.
_LABELS = (
    "Budget Name",
    "Budget Type",
    "Budgeted Amount",
    "Alert Type",
    "Alert Threshold",
    "ACTUAL Amount",
    "FORECASTED Amount",
)
_LABEL = re.compile(rf"^[ \t]*({'|'.join(_LABELS)})[ \t]*:[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*(Budget Name\t.*)\n[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_COMPARED = r"(?:is (?:greater than|less than|equal to)|(?:has )?exceed(?:s|ed)?)"
_SENTENCE = re.compile(
    rf"alert you when the (?P<kind>actual|forecasted) (?P<type>.+?) associated with your (?P<name>.+?) budget "
    rf"{_COMPARED} (?P<threshold>\S+)(?P<rest>[^.]*\.)",
    re.IGNORECASE,
)
_NOW = re.compile(r"associated with this budget is (?P<amount>[^\s]*\d)", re.IGNORECASE)
_SUBJECT = re.compile(r"^AWS Budgets: (?P<name>.+) (?:has|is) (?:exceeded|forecasted)", re.IGNORECASE)
_ACCOUNT = re.compile(r"\bAWS Account:? (\d{12})\b")
_LONGEST = 8_000  # characters; real ones have less than a thousand, and what is longer is something else
_PERIODS = (
    ("per day", "day"),
    ("yesterday", "day"),
    ("current month", "month"),
    ("current quarter", "quarter"),
    ("current year", "year"),
)


@dataclass(frozen=True)
class BudgetMessage:
    """Amounts are in the budget's own unit, which is `unit`: "$", another currency, "%" or a unit of usage."""

    budget: str
    forecast: bool  # what will be spent, not what was
    amount: Decimal | None  # spent, or forecast
    threshold: Decimal | None
    limit: Decimal | None  # what was budgeted
    unit: str
    period: str | None  # day, month, quarter or year
    account: str | None

    @property
    def percent(self) -> int | None:
        """How much of the budget that is, rounded down; None where the message does not tell enough."""
        if self.amount is None or not self.limit:
            return None
        return int(self.amount * 100 / self.limit)

    @property
    def exceeded(self) -> bool:
        """Whether all that was budgeted is spent, as opposed to forecast."""
        return not self.forecast and self.amount is not None and self.limit is not None and self.amount >= self.limit


def read(subject: str, text: str) -> BudgetMessage | None:
    """None for what is no message of AWS Budgets, or too different from all known ones to be sure of its numbers."""
    text = text[:_LONGEST].replace("\r\n", "\n")
    told = _labels(text)
    prose = " ".join(text.split())
    sentence, now = _SENTENCE.search(prose), _NOW.search(prose)
    said = sentence.groupdict() if sentence else {}
    name = told.get("budget name") or said.get("name") or _of_subject(subject)
    kind = (told.get("alert type") or said.get("kind") or "").upper()
    spent = told.get("actual amount") or told.get("forecasted amount") or (now["amount"] if now else "")
    if not name or kind not in ("ACTUAL", "FORECASTED") or not ("budget" in subject.lower() or sentence or told):
        return None
    amount, unit = _amount(spent)
    threshold, threshold_unit = _amount(told.get("alert threshold") or said.get("threshold") or "")
    limit, limit_unit = _amount(told.get("budgeted amount", ""))
    if amount is None and threshold is None:
        return None
    account = _ACCOUNT.search(prose)
    lower = prose.lower()
    return BudgetMessage(
        budget=name,
        forecast=kind == "FORECASTED",
        amount=amount,
        threshold=threshold,
        limit=limit,
        unit=unit or threshold_unit or limit_unit,
        period=next((period for words, period in _PERIODS if words in lower), None),
        account=account[1] if account else None,
    )


def _labels(text: str) -> dict[str, str]:
    found = {label.lower(): value for label, value in _LABEL.findall(text) if value}
    table = _TABLE.search(text)
    if table:
        names, values = (line.split("\t") for line in table.groups())
        known = {label.lower() for label in _LABELS}
        for name, value in zip(names, values, strict=False):
            if name.strip().lower() in known and value.strip():
                found.setdefault(name.strip().lower(), value.strip())
    return found


def _of_subject(subject: str) -> str:
    found = _SUBJECT.search(subject)
    return found["name"] if found else ""


def _amount(text: str) -> tuple[Decimal | None, str]:
    """The number and what is around it: "> $1,234.56" is 1234.56 and "$", "12.5 GB" is 12.5 and "GB"."""
    found = re.search(r"(-?)([^\d\s<>=-]*)\s*(-?)(\d[\d,]*(?:\.\d+)?)\s*([^\s\d.,;]*)", text)
    if not found:
        return None, ""
    minus, before, inner, digits, after = found.groups()
    try:
        number = Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None, ""
    return (-number if minus or inner else number), before or after
