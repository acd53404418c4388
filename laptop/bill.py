"""The account's bill: what really ran, at the list price, and what else was put on it by hand.

Metered: instances of endpoints from the moment they serve until they are stopped, requests of serverless endpoints by
their milliseconds, memory and data, training jobs by their billable seconds, processing jobs by their seconds,
invocations of functions, and requests to Cost Explorer. Time is the
account's: an endpoint that runs while the clock is moved over a night has run all night. Days are those of UTC, as on
AWS's bills. The price list is mlplatform.prices; what has no price there is not left out silently but recorded in the
event log by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from laptop.account import REGION, Account
from laptop.errors import ServiceError
from mlplatform import prices
from mlplatform.errors import UnknownPrice

SAGEMAKER = "Amazon SageMaker"
LAMBDA = "AWS Lambda"
COST_EXPLORER = "AWS Cost Explorer"
# Usage types outside of us-east-1 begin with another region's code; those of us-east-1 with this one or with none.
_REGION_CODE = "USE1"
# A line's amount has as many decimals as Cost Explorer shows, so that sums of lines and its sums are the same.
_PRECISION = Decimal("0.0000000001")
_MICROSECONDS_PER_HOUR = 3_600_000_000
_MICROSECOND = timedelta(microseconds=1)
_BYTES_PER_GB = 1024**3

Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """One line of the bill: a day's cost of one kind of use with one set of tags. Credits are negative."""

    day: date
    service: str
    usage_type: str
    usd: Decimal
    tags: Tags = ()
    quantity: Decimal = Decimal(0)  # hours, seconds or requests, by the usage type
    record_type: str = "Usage"

    def shown(self) -> dict[str, Any]:
        """As GET /_laptop/bill tells it."""
        return {
            "day": self.day.isoformat(),
            "service": self.service,
            "usage_type": self.usage_type,
            "usd": float(self.usd),
            "tags": dict(self.tags),
        }


@dataclass(frozen=True)
class _Use:
    """What is added up: the same use on the same day at the same price with the same tags."""

    day: date
    service: str
    usage_type: str
    tags: Tags
    usd_per_unit: Decimal


@dataclass
class _Running:
    """Something that costs by the hour and has not ended yet."""

    service: str
    usage_type: str
    usd_per_hour: Decimal
    tags: Callable[[], Mapping[str, str]]
    since: datetime


def by_day(start: datetime, end: datetime) -> Iterator[tuple[date, int]]:
    """The microseconds between two moments, for each day of UTC that they lie in."""
    moment = start.astimezone(UTC)
    end = end.astimezone(UTC)
    while moment < end:
        midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)
        until = min(midnight, end)
        yield moment.date(), (until - moment) // _MICROSECOND
        moment = until


@dataclass
class Bill:
    """The meter and what it has counted. Safe to use from any thread."""

    account: Account
    # cost allocation tags: whether a key is active, and since when it is what it is
    tag_updates: dict[str, tuple[bool, datetime]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _running: dict[str, _Running] = field(default_factory=dict)
    _hours: dict[_Use, int] = field(default_factory=dict)  # microseconds
    _counted: dict[_Use, Decimal] = field(default_factory=dict)  # seconds, requests
    _added: list[Line] = field(default_factory=list)
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    # --- what is metered --------------------------------------------------------------------------------------------

    def instance_started(self, instance_id: str, instance_type: str, endpoint_arn: str) -> None:
        """An endpoint's instance serves from now on."""
        price = self._price_per_hour(instance_type, "hosting")
        if price is None:
            return
        with self._lock:
            self._running[instance_id] = _Running(
                service=SAGEMAKER,
                usage_type=f"{_REGION_CODE}-Host:{instance_type}",
                usd_per_hour=price,
                tags=lambda: self.account.tags.get(endpoint_arn, {}),
                since=self.account.clock.now(),
            )

    def instance_stopped(self, instance_id: str) -> None:
        """It has ended; one that is not metered is none of the bill's business."""
        with self._lock:
            running = self._running.pop(instance_id, None)
            if running is not None:
                self._charge(running, self.account.clock.now())
        if running is not None:
            self._tell()

    def training_ended(self, arn: str, resources: Mapping[str, Any], billable_seconds: int) -> None:
        """A training job has ended; it is charged on this day.

        Price: billable seconds times instances times the on-demand price; spot's discount lies in the billable seconds
        ("Managed Spot Training", SageMaker developer guide). `resources` is the job's ResourceConfig.
        """
        self._job_ended(arn, resources, billable_seconds, "training", "Train")

    def processing_ended(self, arn: str, resources: Mapping[str, Any], seconds: int) -> None:
        """A processing job has ended; it is charged on this day. `resources` is the job's ClusterConfig."""
        self._job_ended(arn, resources, seconds, "processing", "Processing")

    def _job_ended(self, arn: str, resources: Mapping[str, Any], seconds: int, use: prices.Use, kind: str) -> None:
        instance_type = resources["InstanceType"]
        price = self._price_per_hour(instance_type, use)
        if price is None:
            return
        microseconds = seconds * int(resources.get("InstanceCount", 1)) * 1_000_000
        tags = _frozen(self.account.tags.get(arn, {}))
        today = self.account.clock.now().date()
        with self._lock:
            line = _Use(today, SAGEMAKER, f"{_REGION_CODE}-{kind}:{instance_type}", tags, price)
            self._hours[line] = self._hours.get(line, 0) + microseconds
        self._tell()

    def serverless_ran(self, arn: str, memory_mb: int, billed_ms: int, bytes_in: int, bytes_out: int) -> None:
        """One request of a serverless endpoint: seconds of its memory, and data ("billed by the millisecond, and the
        amount of data processed", developer guide, "Serverless Inference"). The usage types are the Price List's.
        """
        tags = self.account.tags.get(arn, {})
        gb = memory_mb // 1024
        per_second = prices.usd("serverless.gb_second", REGION) * gb
        per_gb = prices.usd("endpoint.gb_processed", REGION)
        seconds = Decimal(billed_ms) / 1000
        self._count(SAGEMAKER, f"{_REGION_CODE}-ServerlessInf:Mem-{gb}GB", per_second, seconds, tags)
        for way, size in (("In", bytes_in), ("Out", bytes_out)):
            self._count(SAGEMAKER, f"{_REGION_CODE}-Hst:Data-Bytes-{way}", per_gb, Decimal(size) / _BYTES_PER_GB, tags)

    def function_ran(self, tags: Mapping[str, str], billed_ms: int, memory_mb: int, architecture: str) -> None:
        """One invocation of a Lambda function: a request, and GB-seconds."""
        arm = architecture == "arm64"
        suffix = "-ARM" if arm else ""
        gb_seconds = Decimal(billed_ms) * memory_mb / 1024 / 1000
        per_million = prices.usd("lambda.million_requests", REGION)
        per_gb_second = prices.usd(f"lambda.gb_second.{'arm64' if arm else 'x86'}", REGION)
        self._count(LAMBDA, f"Request{suffix}", per_million / 1_000_000, Decimal(1), tags)
        self._count(LAMBDA, f"Lambda-GB-Second{suffix}", per_gb_second, gb_seconds, tags)

    def cost_explorer_request(self) -> None:
        """A page that Cost Explorer answered; failed calls are free."""
        price = prices.usd("cost_explorer.request", REGION)
        self._count(COST_EXPLORER, f"{_REGION_CODE}-APIRequest", price, Decimal(1), {})
        self._tell()

    def _count(
        self, service: str, usage_type: str, usd_per_unit: Decimal, units: Decimal, tags: Mapping[str, str]
    ) -> None:
        with self._lock:
            use = _Use(self.account.clock.now().date(), service, usage_type, _frozen(tags), usd_per_unit)
            self._counted[use] = self._counted.get(use, Decimal(0)) + units

    def _price_per_hour(self, instance_type: str, use: prices.Use) -> Decimal | None:
        try:
            return prices.usd_per_hour(instance_type, use, REGION)
        except UnknownPrice as error:
            self.account.journal.record("failure", call="bill", error=str(error))
            return None

    def _charge(self, running: _Running, until: datetime) -> None:
        tags = _frozen(running.tags())
        for day, microseconds in by_day(running.since, until):
            use = _Use(day, running.service, running.usage_type, tags, running.usd_per_hour)
            self._hours[use] = self._hours.get(use, 0) + microseconds
        running.since = max(running.since, until)

    def settle(self) -> None:
        """Charges what is running up to now, with the tags that it has now."""
        with self._lock:
            now = self.account.clock.now()
            for running in self._running.values():
                self._charge(running, now)

    # --- cost allocation tags ---------------------------------------------------------------------------------------

    def active_tags(self) -> set[str]:
        """The tag keys that Cost Explorer and Budgets can see."""
        with self._lock:
            return {key for key, (active, _) in self.tag_updates.items() if active}

    def set_tags_active(self, wanted: Mapping[str, bool]) -> None:
        now = self.account.clock.now()
        with self._lock:
            self.tag_updates.update({key: (active, now) for key, active in wanted.items()})
        self._tell()

    # --- what others see --------------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        """Everything up to now, by day and service."""
        with self._lock:
            self.settle()
            lines = list(self._added)
            for use, microseconds in self._hours.items():
                hours = Decimal(microseconds) / _MICROSECONDS_PER_HOUR
                usd = use.usd_per_unit * microseconds / _MICROSECONDS_PER_HOUR
                lines.append(Line(use.day, use.service, use.usage_type, usd.quantize(_PRECISION), use.tags, hours))
            for use, units in self._counted.items():
                usd = (use.usd_per_unit * units).quantize(_PRECISION)
                lines.append(Line(use.day, use.service, use.usage_type, usd, use.tags, units))
        return sorted(lines, key=lambda line: (line.day, line.service, line.usage_type, line.tags))

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls it whenever something was put on the bill; not for every second of what is running."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def add(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """POST /_laptop/bill: `{"service", "usd", "day", "tags", "usage_type", "record_type"}`, the first two required.

        The day is today's unless given. Raises ServiceError for anything that can't be a line.
        """
        known = {"service", "usd", "day", "tags", "usage_type", "record_type"}
        if unknown := sorted(set(request) - known):
            raise _invalid(f"A line of the bill has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        for name in ("service", "usage_type", "record_type"):
            if not isinstance(request.get(name, ""), str):
                raise _invalid(f"'{name}' must be a text.")
        if not request.get("service"):
            raise _invalid("'service' is missing: the name of a service as on a bill, such as Amazon SageMaker.")
        service, usd = request["service"], _amount(request.get("usd"))
        line = Line(
            day=self._day(request.get("day")),
            service=service,
            usage_type=request.get("usage_type", ""),
            usd=usd,
            tags=_frozen(_tags(request.get("tags", {}))),
            record_type=request.get("record_type") or _record_type(service, usd),
        )
        with self._lock:
            self._added.append(line)
        self._tell()
        return line.shown()

    def _day(self, value: Any) -> date:
        if value is None:
            return self.account.clock.now().date()
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            raise _invalid(f"'day' must be a day such as 2026-11-23, not {value!r}.") from None


def _frozen(tags: Mapping[str, str]) -> Tags:
    return tuple(sorted(tags.items()))


def _amount(value: Any) -> Decimal:
    try:
        usd = Decimal("NaN") if isinstance(value, bool) else Decimal(str(value))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite():
        raise _invalid(f"'usd' must be an amount in US dollars, not {value!r}.")
    return usd


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(tag, str) for pair in value.items() for tag in pair):
        raise _invalid("'tags' must be an object of texts.")
    return value


def _record_type(service: str, usd: Decimal) -> str:
    """Cost Explorer's RECORD_TYPE of a line that does not say it."""
    if service == "Tax":
        return "Tax"
    return "Credit" if usd < 0 else "Usage"


def _invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def install(account: Account) -> None:
    """The meter, and its routes. Comes before the services that it meters."""
    bill = Bill(account)
    account.bill = bill
    account.routes["GET /_laptop/bill"] = lambda _: [line.shown() for line in bill.lines()]
    account.routes["POST /_laptop/bill"] = bill.add
