"""What the platform itself costs a month, resource by resource, computed from the template that deploys it.

Counted is what runs without anybody using it: schedules, polling, alarms, metrics, a report a day. What a dataset
causes (training, endpoints, the functions that events start) is its users' cost and not in here.

Two figures for each line: the list price, and what is left of it after the allowances that AWS gives every account for
ever, if nothing else in the account uses them. Assumptions are constants with a reason below.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Protocol

from mlplatform.errors import UnknownPrice
from mlplatform.prices import HOURS_PER_MONTH, Use
from mlplatform.records import dataclass
from mlplatform.ticks import EVERY

Resource = Mapping[str, Any]  # as in a template: Type, Properties

# A month of each, always free (AWS pricing pages of Lambda, SQS, CloudWatch, X-Ray, SNS and EventBridge Scheduler).
ALWAYS_FREE = {
    "Lambda requests": Decimal(1_000_000),
    "Lambda GB-seconds": Decimal(400_000),
    "SQS requests": Decimal(1_000_000),
    "SNS requests": Decimal(1_000_000),
    "Scheduler calls": Decimal(14_000_000),
    "alarms": Decimal(10),
    "custom metrics": Decimal(10),
    "dashboards": Decimal(3),
    "GB of logs": Decimal(5),
    "traces": Decimal(100_000),
    "CloudWatch requests": Decimal(1_000_000),
}
_DAYS = HOURS_PER_MONTH / 24
_SECONDS_A_CALL = Decimal(2)  # a tick that finds nothing to do; billed with its share of cold starts
_LOG_GB_A_CALL = Decimal("0.000003")  # three lines of JSON
_COST_EXPLORER_REQUESTS = 3  # a report: by service, by tag, the forecast
# An idle event source mapping keeps five connections waiting, each for the 20 s that SQS allows a long poll ("Using
# Lambda with Amazon SQS", Lambda developer guide).
_POLLS = Decimal(5 * 3 * 60) * HOURS_PER_MONTH

# Types that AWS does not charge for, or charges only for what users put in and take out. A type that is neither here
# nor priced below is an error: a zero by oversight would look like a saving.
_FREE = {
    "ApplicationAutoScaling": "ScalableTarget ScalingPolicy",
    "Budgets": "Budget",
    "CE": "AnomalyMonitor AnomalySubscription CostCategory",
    "CloudFormation": "CustomResource",
    "EC2": "RouteTable SecurityGroup SecurityGroupEgress SecurityGroupIngress Subnet SubnetRouteTableAssociation VPC",
    "Events": "EventBusPolicy Rule",
    "IAM": "ManagedPolicy Policy Role",
    "Lambda": "EventInvokeConfig LayerVersion Permission",
    "Logs": "LogGroup MetricFilter QueryDefinition",  # a query is charged for what it reads, 0.005 USD a GB
    "S3": "Bucket BucketPolicy",
    "SageMaker": "ModelPackageGroup Pipeline",
    "Scheduler": "ScheduleGroup",
    "SNS": "Subscription Topic TopicPolicy",
    "SQS": "Queue QueuePolicy",
    "SSM": "Parameter",
}
FREE = frozenset(f"AWS::{service}::{kind}" for service, kinds in _FREE.items() for kind in kinds.split())


class PriceList(Protocol):
    """What is asked of mlplatform.prices. Both raise UnknownPrice."""

    def usd_per_hour(self, instance_type: str, use: Use, region: str) -> Decimal: ...

    def usd(self, item: str, region: str) -> Decimal: ...


@dataclass(frozen=True)
class CostLine:
    """One thing that one resource is charged for, in US dollars a month."""

    resource: str  # the logical id
    formula: str  # how the list price comes about
    list_usd: Decimal
    usd: Decimal  # what the always-free allowances leave of it


@dataclass(frozen=True)
class _Charge:
    resource: str
    formula: str
    list_usd: Decimal
    allowance: str = ""
    units: Decimal = Decimal(0)


def platform_cost(resources: Mapping[str, Resource], prices: PriceList, region: str) -> tuple[CostLine, ...]:
    """The lines of every resource of a processed template, in its order. Raises UnknownPrice for an unknown type."""
    charges = [charge for name in resources for charge in _charges(name, resources, prices, region)]
    used: dict[str, Decimal] = defaultdict(Decimal)
    for charge in charges:
        used[charge.allowance] += charge.units
    return tuple(
        CostLine(
            charge.resource, charge.formula, charge.list_usd, charge.list_usd * _paid_share(charge.allowance, used)
        )
        for charge in charges
    )


def total(lines: Iterable[CostLine]) -> tuple[Decimal, Decimal]:
    """US dollars a month: after allowances, and at list price."""
    every = list(lines)
    return sum((line.usd for line in every), Decimal(0)), sum((line.list_usd for line in every), Decimal(0))


def markdown(lines: Iterable[CostLine]) -> str:
    """The lines of a cent and more as a table, the largest first; the rest together."""
    every = sorted(lines, key=lambda line: -line.list_usd)
    rows = [(line.resource, line.formula, line) for line in every if line.list_usd >= Decimal("0.01")]
    small = [line for line in every if line.list_usd < Decimal("0.01")]
    shown = [f"| {name} | {formula} | {line.list_usd:.2f} | {line.usd:.2f} |" for name, formula, line in rows]
    for title, some in ((f"{len(small)} smaller lines", small), ("**together**", every)):
        usd, list_usd = total(some)
        shown.append(f"| {title} | | {list_usd:.2f} | {usd:.2f} |")
    head = ["| resource | a month of | list price, USD | after free allowances, USD |", "|---|---|---:|---:|"]
    return "\n".join([*head, *shown, ""])


def _amount(units: Decimal) -> str:
    return f"{units:,.0f}" if units >= 100 else f"{float(units):.3g}"


def _paid_share(allowance: str, used: Mapping[str, Decimal]) -> Decimal:
    if allowance not in ALWAYS_FREE or not used[allowance]:
        return Decimal(1)
    return max(Decimal(0), 1 - ALWAYS_FREE[allowance] / used[allowance])


def _charges(name: str, resources: Mapping[str, Resource], prices: PriceList, region: str) -> Iterator[_Charge]:
    resource = resources[name]
    kind, properties = resource["Type"], resource.get("Properties") or {}

    def charge(units: Decimal, what: str, item: str, per: int = 1, allowance: str = "") -> _Charge:
        price = prices.usd(item, region)
        unit = "" if per == 1 else f" per {per:,}"
        return _Charge(
            name, f"{_amount(units)} {what} at ${price.normalize():f}{unit}", units / per * price, allowance, units
        )

    match kind:
        case "AWS::Lambda::Function":
            yield from _function(name, resources, charge)
        case "AWS::Lambda::EventSourceMapping":
            yield charge(_POLLS, "polls", "sqs.million_requests", 10**6, "SQS requests")
        case "AWS::Scheduler::Schedule":
            calls = calls_per_month(properties["ScheduleExpression"])
            yield charge(calls, "calls", "scheduler.million_invocations", 10**6, "Scheduler calls")
        case "AWS::CloudWatch::Alarm":
            metrics = Decimal(sum("MetricStat" in one for one in properties.get("Metrics", ())) or 1)
            if _shortest_period(properties) < 60:
                yield charge(metrics, "metric of a high-resolution alarm", "cloudwatch.alarm_month.high_resolution")
            else:
                yield charge(metrics, "metric of an alarm", "cloudwatch.alarm_month", allowance="alarms")
        case "AWS::CloudWatch::Dashboard":
            yield charge(Decimal(1), "dashboard", "cloudwatch.dashboard_month", allowance="dashboards")
        case "AWS::KMS::Key":
            yield charge(Decimal(1), "key", "kms.key_month")
        case "AWS::SecretsManager::Secret":
            yield charge(Decimal(1), "secret", "secrets_manager.secret_month")
        case "AWS::EC2::NatGateway":
            yield charge(HOURS_PER_MONTH, "hours", "nat_gateway.hour")
        case "AWS::EC2::VPCEndpoint":
            if properties.get("VpcEndpointType", "Gateway") != "Gateway":
                yield charge(HOURS_PER_MONTH, "hours", "vpc_endpoint.hour")
        case _ if kind not in FREE and not kind.startswith("Custom::"):
            raise UnknownPrice(f"{name} is an {kind}, of which nobody has said what it costs; see platform_cost.py.")


def _function(name: str, resources: Mapping[str, Resource], charge: Any) -> Iterator[_Charge]:
    """A function that schedules call. What events of users' data cause is not the platform's own."""
    properties = resources[name]["Properties"]
    calls = sum(
        (
            calls_per_month(resource["Properties"]["ScheduleExpression"])
            for resource in resources.values()
            if resource["Type"] == "AWS::Scheduler::Schedule"
            and name in _references(resource["Properties"].get("Target"))
        ),
        Decimal(0),
    )
    if not calls:
        return
    gigabytes = Decimal(properties.get("MemorySize", 128)) / 1024
    architecture = "arm64" if "arm64" in properties.get("Architectures", ()) else "x86"
    yield charge(calls, "calls", "lambda.million_requests", 10**6, "Lambda requests")
    seconds = calls * _SECONDS_A_CALL * gigabytes
    yield charge(seconds, "GB-seconds", f"lambda.gb_second.{architecture}", allowance="Lambda GB-seconds")
    yield charge(calls * _LOG_GB_A_CALL, "GB of logs", "logs.gb_ingested", allowance="GB of logs")
    if (properties.get("TracingConfig") or {}).get("Mode") == "Active":
        yield charge(calls, "traces", "xray.million_traces", 10**6, "traces")
    if calls >= HOURS_PER_MONTH:  # a custom metric is charged for the hours in which it gets data
        yield charge(Decimal(1), "custom metric", "cloudwatch.metric_month", allowance="custom metrics")
    yield charge(calls * 2, "reads of S3", "s3.thousand_gets", 1000)
    yield charge(calls, "writes to S3", "s3.thousand_puts", 1000)
    if _may(resources, properties.get("Role"), "ce:GetCostAndUsage"):
        yield charge(calls * _COST_EXPLORER_REQUESTS, "requests to Cost Explorer", "cost_explorer.request")
    if _may(resources, properties.get("Role"), "scheduler:GetSchedule"):  # it asks when the others were called last
        requests = calls * len(EVERY)
        allowance = "CloudWatch requests"
        yield charge(requests, "requests to CloudWatch", "cloudwatch.thousand_requests", 1000, allowance)


def _may(resources: Mapping[str, Resource], role: Any, action: str) -> bool:
    """Whether a role of the template is allowed an action by that name."""
    documents = [
        policy["PolicyDocument"]
        for reference in _references(role)
        for policy in (resources.get(reference, {}).get("Properties") or {}).get("Policies", ())
    ]
    return any(
        action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
        for document in documents
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
    )


def _shortest_period(properties: Mapping[str, Any]) -> int:
    periods = [one["MetricStat"]["Period"] for one in properties.get("Metrics", ()) if "MetricStat" in one]
    return min(int(period) for period in periods or [properties.get("Period", 60)])


def _references(value: Any) -> frozenset[str]:
    """Logical ids that a value of a template names."""
    if isinstance(value, Mapping):
        if "Ref" in value:
            return frozenset({value["Ref"]})
        if "Fn::GetAtt" in value:
            path = value["Fn::GetAtt"]
            return frozenset({path.split(".")[0] if isinstance(path, str) else path[0]})
        return frozenset().union(*map(_references, value.values()))
    if isinstance(value, list):
        return frozenset().union(*map(_references, value))
    return frozenset()


# ---- schedules ----

_RATE_PER_DAY = {"minute": Decimal(1440), "hour": Decimal(24), "day": Decimal(1)}


def calls_per_month(expression: Any) -> Decimal:
    """Of a schedule expression of EventBridge Scheduler, on average; a parameter in it stands for one value.

    Raises ValueError for what is neither cron(...) nor rate(...).
    """
    text = re.sub(r"\$\{[^}]*\}", "0", _text(expression)).strip()
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", text):
        return _RATE_PER_DAY[rate[2]] / int(rate[1]) * _DAYS
    if cron := re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", text):
        minutes, hours, day, month, weekday, _year = cron.groups()
        days = Decimal(1)
        if weekday not in {"*", "?"}:
            days = Decimal(_values(weekday, 7, 1, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))) / 7
        elif day not in {"*", "?"}:
            days = Decimal(1 if day == "L" else _values(day, 31, 1)) / _DAYS
        return _values(minutes, 60) * _values(hours, 24) * days * _DAYS * _values(month, 12, 1) / 12
    raise ValueError(f"{text!r} is no schedule expression with a rate or a cron")


def _values(field: str, count: int, first: int = 0, names: tuple[str, ...] = ()) -> int:
    """How many values a field of a cron expression stands for."""
    found: set[int] = set()
    last = first + count - 1

    def number(text: str) -> int:
        return names.index(text.upper()) + first if text.upper() in names else int(text)

    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, dash, end = span.partition("-")
        low = first if begin in {"*", "?"} else number(begin)
        high = number(end) if dash else last if step or begin in {"*", "?"} else low
        found.update(range(low, high + 1, int(step or 1)))
    return len(found)


def _text(expression: Any) -> str:
    """The text of an expression, with whatever is only known at deployment as a placeholder."""
    if isinstance(expression, Mapping):
        ((function, argument),) = expression.items()
        if function == "Fn::Sub":
            return str(argument if isinstance(argument, str) else argument[0])
        if function == "Fn::Join":
            return str(argument[0]).join(_text(part) for part in argument[1])
        return "${value}"
    return str(expression)
