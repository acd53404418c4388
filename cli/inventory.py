"""What `mlp summary` tells of a deployed stack, in the terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from mlplatform.platform_cost import CostLine
from mlplatform.platform_cost import total as cost_total
from mlplatform.recommendations import Recommendation
from mlplatform.recommendations import total as advice_total

# What CloudFormation makes of a template's resource, and how its type is called here.
_GROUPS = {
    "S3": "Storage",
    "Lambda": "Functions",
    "Custom": "Functions",
    "SQS": "Queues",
    "Events": "Events and schedules",
    "Scheduler": "Events and schedules",
    "SNS": "Alerts",
    "CloudWatch": "Alerts",
    "Budgets": "Alerts",
    "CE": "Alerts",
    "Logs": "Logs",
    "IAM": "Rights",
    "SageMaker": "Pipelines",
}


@dataclass(frozen=True)
class Item:
    """One resource of the stack."""

    logical_id: str
    kind: str
    physical_id: str
    purpose: str
    lines: tuple[CostLine, ...]  # what it costs without anybody using it
    saves: str
    security: tuple[str, ...]
    missing_tags: tuple[str, ...] | None  # None: it cannot be tagged, or nobody could tell

    @property
    def group(self) -> str:
        return _GROUPS.get(self.kind.split("::")[1 if self.kind.startswith("AWS::") else 0], "Other")

    @property
    def usd(self) -> Decimal:
        return sum((line.usd for line in self.lines), Decimal(0))

    @property
    def list_usd(self) -> Decimal:
        return sum((line.list_usd for line in self.lines), Decimal(0))


@dataclass(frozen=True)
class EndpointCost:
    """An endpoint that runs: its users' cost, which the platform keeps small."""

    name: str
    what: str
    hours_per_week: Decimal
    usd: Decimal | None  # a month of its hours; None where the price is unknown
    always_on_usd: Decimal | None


@dataclass(frozen=True)
class Summary:
    stack: str
    region: str
    at: datetime
    environment: str
    items: tuple[Item, ...]
    serving: tuple[EndpointCost, ...]
    saved: Mapping[str, tuple[int, Decimal]]  # kind -> how often, and US dollars, this month
    recommendations: tuple[Recommendation, ...]
    missing: tuple[str, ...] = ()

    @property
    def own_cost(self) -> tuple[Decimal, Decimal]:
        """US dollars a month: after always-free allowances, and at list price."""
        return cost_total(line for item in self.items for line in item.lines)

    @property
    def serving_usd(self) -> Decimal:
        return sum((one.usd or Decimal(0) for one in self.serving), Decimal(0))

    @property
    def hours_save_usd(self) -> Decimal:
        """What closed hours save a month, of the endpoints that run now."""
        return sum(((one.always_on_usd or Decimal(0)) - (one.usd or Decimal(0)) for one in self.serving), Decimal(0))

    @property
    def advice_usd(self) -> Decimal:
        return advice_total(self.recommendations)
