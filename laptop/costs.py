"""What Cost Explorer and Budgets have in common: dimensions and tags of the bill's lines, filters, and the forecast."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from laptop.account import ACCOUNT_ID, REGION
from laptop.bill import Line

# "AWS requires approximately 5 weeks of usage data to generate budget forecasts": "Best practices for AWS Budgets",
# AWS Cost Management user guide. Cost Explorer wants "one full billing cycle" ("Forecasting", same guide).
HISTORY_DAYS = 35
# The forecast is the mean of whole weeks, so that weekends weigh what they weigh.
_MEAN_DAYS = 28


class BadFilter(Exception):
    """An expression that AWS would refuse; each service words its refusal itself."""


def _instance_type(line: Line) -> str:
    kind = line.usage_type.rpartition(":")[2]
    return kind if kind.startswith("ml.") else "NoInstanceType"


_DIMENSIONS: dict[str, Callable[[Line], str]] = {
    "SERVICE": lambda line: line.service,
    "USAGE_TYPE": lambda line: line.usage_type or "NoUsageType",
    "INSTANCE_TYPE": _instance_type,
    "LINKED_ACCOUNT": lambda line: ACCOUNT_ID,
    "RECORD_TYPE": lambda line: line.record_type,
    "REGION": lambda line: REGION if line.record_type == "Usage" else "NoRegion",
}


def dimension(line: Line, key: str) -> str:
    """A line's value of a Cost Explorer dimension. Raises BadFilter for one that the laptop's bill does not have."""
    read = _DIMENSIONS.get(key)
    if read is None:
        raise BadFilter(f"The laptop's bill has no dimension {key}; it has {', '.join(_DIMENSIONS)}.")
    return read(line)


def tag(line: Line, key: str, active: Collection[str]) -> str:
    """A line's value of a tag; empty without one, and for a key that is not an active cost allocation tag."""
    return dict(line.tags).get(key, "") if key in active else ""


def matches(expression: Mapping[str, Any], line: Line, active: Collection[str]) -> bool:
    """Whether a line passes a Cost Explorer Expression.

    https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Expression.html
    Raises BadFilter.
    """
    if len(expression) != 1:
        raise BadFilter(
            "Expression must have exactly one root of And, Or, Not, Dimensions and Tags, "
            f"not {', '.join(sorted(expression)) or 'none'}"
        )
    kind, value = next(iter(expression.items()))
    match kind:
        case "And":
            passed = [matches(one, line, active) for one in value]  # none is left unread: any may be bad
            return all(passed)
        case "Or":
            passed = [matches(one, line, active) for one in value]
            return any(passed)
        case "Not":
            return not matches(value, line, active)
        case "Dimensions":
            return _value_matches(dimension(line, value.get("Key", "")), value)
        case "Tags":
            return _value_matches(tag(line, value.get("Key", ""), active), value)
        case _:
            raise BadFilter(f"The laptop's bill has no {kind}")


def _value_matches(have: str, wanted: Mapping[str, Any]) -> bool:
    options = set(wanted.get("MatchOptions") or ["EQUALS"])
    values = wanted.get("Values") or []
    if "ABSENT" in options:
        return have == ""
    if "CASE_INSENSITIVE" in options:
        have, values = have.lower(), [value.lower() for value in values]
    if "STARTS_WITH" in options:
        return have.startswith(tuple(values))
    if "ENDS_WITH" in options:
        return have.endswith(tuple(values))
    if "CONTAINS" in options:
        return any(value in have for value in values)
    return have in values


def total(lines: Iterable[Line]) -> Decimal:
    return sum((line.usd for line in lines), Decimal(0))


def plain(amount: Decimal) -> str:
    """An amount as AWS writes it: no exponent, no zeros at the end, "0" for nothing."""
    return f"{amount.normalize():f}" if amount else "0"


def first_of_next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True)
class Forecast:
    """What a day will probably cost, in US dollars."""

    mean: Decimal
    deviation: Decimal

    def over(self, days: int, level_percent: int = 80) -> tuple[Decimal, Decimal, Decimal]:
        """The mean of a number of days, and the bounds of its prediction interval; nothing costs less than nothing."""
        mean = self.mean * days
        score = statistics.NormalDist().inv_cdf(0.5 + level_percent / 200)
        margin = self.deviation * Decimal(score * math.sqrt(days))
        return mean, max(mean - margin, Decimal(0)), mean + margin


def forecast(lines: Sequence[Line], today: date) -> Forecast | None:
    """From the daily costs of the last four weeks; None before there are five weeks of history."""
    if not lines or min(line.day for line in lines) > today - timedelta(days=HISTORY_DAYS):
        return None
    days = {today - timedelta(days=back): Decimal(0) for back in range(1, _MEAN_DAYS + 1)}
    for line in lines:
        if line.day in days:
            days[line.day] += line.usd
    return Forecast(statistics.mean(days.values()), statistics.stdev(days.values()))
