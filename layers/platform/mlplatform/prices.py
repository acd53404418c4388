"""List prices, each with its unit, its source and the day on which it was taken: the data are in prices.json.

On-demand list prices in US dollars, without tax, credits, free tiers, savings plans or negotiated discounts. Money is
Decimal throughout. What has no row has no price: an error names it, because a zero would look like a saving.
`make prices` rebuilds the table, for any region, from the AWS Price List API (cli/price_list.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mlplatform.errors import UnknownPrice
from mlplatform.records import dataclass

Use = Literal["hosting", "training", "processing", "notebook"]

# How AWS's own calculator turns hours into months.
HOURS_PER_MONTH = Decimal(730)
HOURS_PER_WEEK = Decimal(168)
SECONDS_PER_HOUR = Decimal(3600)
DATA_FILE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True)
class Price:
    """One row of the table."""

    usd: Decimal
    unit: str  # what is counted: hour, GB-month, request, million, ...
    source: str
    source_date: str  # when the source said so: a day, a month, a span of years, or empty where nobody wrote it down
    confidence: str  # how far it can be trusted; begins with "low: " where nobody can look the source up

    @property
    def trusted(self) -> str:
        """The same as part of a sentence."""
        kind = self.confidence.removeprefix("low: ")
        return self.confidence if kind == self.confidence else f"{kind}, of low confidence"


def usd_per_hour(instance_type: str, use: Use, region: str) -> Decimal:
    """US dollars for one instance for one hour. Raises UnknownPrice."""
    return instance_price(instance_type, use, region).usd


def usd(item: str, region: str) -> Decimal:
    """US dollars for one unit of anything but an instance, such as `s3.gb_month.standard`. Raises UnknownPrice."""
    return item_price(item, region).usd


def instance_price(instance_type: str, use: Use, region: str) -> Price:
    """The whole row. Raises UnknownPrice, which names the type, the use and the region."""
    table = _region(region)
    try:
        return table.instances[instance_type, use]
    except KeyError:
        others = sorted(other for kind, other in table.instances if kind == instance_type)
        known = f"; it has one for {' and '.join(others)}" if others else ""
        raise UnknownPrice(
            f"There is no price for {use} on {instance_type} in {region}{known}. `make prices` fetches what is missing."
        ) from None


def item_price(item: str, region: str) -> Price:
    """The whole row. Raises UnknownPrice."""
    try:
        return _region(region).items[item]
    except KeyError:
        raise UnknownPrice(f"There is no price for {item} in {region}.") from None


def collected(region: str) -> str:
    """The day on which the region's table was last put together, ISO. Raises UnknownPrice."""
    return _region(region).collected


@dataclass(frozen=True)
class _Table:
    collected: str
    instances: Mapping[tuple[str, str], Price]
    items: Mapping[str, Price]


@cache
def _tables() -> Mapping[str, _Table]:
    regions: Mapping[str, Any] = json.loads(DATA_FILE.read_bytes())["regions"]
    return {
        name: _Table(
            region["collected"],
            {(row["type"], row["use"]): _price(row) for row in region["instances"]},
            {row["item"]: _price(row) for row in region["items"]},
        )
        for name, region in regions.items()
    }


def _price(row: Mapping[str, str]) -> Price:
    return Price(Decimal(row["usd"]), row["unit"], row["source"], row["source_date"], row["confidence"])


def _region(name: str) -> _Table:
    tables = _tables()
    if name not in tables:
        raise UnknownPrice(
            f"There are no prices for {name}, only for {', '.join(sorted(tables))}. "
            f"`make prices REGION={name}` fetches them."
        )
    return tables[name]
