"""Which kind of hosting a model's traffic deserves: real-time, serverless, scale to zero or asynchronous. Pure.

Prices what an endpoint's requests would cost a month on each kind, says what a caller would wait for, and chooses the
cheapest kind that keeps what was promised to callers. What each figure rests on:

- Real-time: the instances that the requests of each hour need at the rate that one of them takes, never fewer than the
  endpoint's fewest, for the hours in which it is open ("Load testing your auto scaling configuration", SageMaker
  developer guide).
- Serverless: 1 to 6 GB in whole ones, 200 requests at a time (ProductionVariantServerlessConfig, API reference); no GPU
  ("Deploy models with Amazon SageMaker Serverless Inference", developer guide). AWS's own benchmark (aws-samples,
  sagemaker-serverless-inference-benchmarking) shows 61 to 64 ms on top of the model's time, which are counted as billed
  to be on the safe side, and a model that takes twice as long with 1 GB (73 ms) as with 2 GB (34 ms). AWS publishes
  neither how long a container stays warm nor how long a cold start takes: 5 minutes and 30 s are assumed, the shorter
  end of what people report for large images such as PyTorch's; a live serverless endpoint has its own cold starts
  measured (ModelSetupTime), and their average is taken.
- Scale to zero: by inference components alone ("Scale an endpoint to zero instances", developer guide). Measured on AWS
  in July 2026, with the metric of concurrent requests that has a value every ten seconds: 11 minutes without requests
  to no copies, 12 more to no instance, and 9 min 24 s from the first call to the first answer, with an error for every
  call in between. The platform tracks invocations (sleeping.py), which have a value a minute: of these target tracking
  wants 15 below its target, so that 15 minutes are taken for the copies, and the 12 as they were measured. The sum was
  not measured.
- Asynchronous: requests wait in a queue while instances start, answers go to S3, and callers use InvokeEndpointAsync
  ("Asynchronous inference", developer guide). Its backlog is told every minute too, and its instances go without copies
  before them: 15 minutes are taken, and as long to wake as with scale to zero. Neither was measured.

Within an hour requests are taken to come by chance (a Poisson process) at that hour's rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Protocol

from mlplatform import instances
from mlplatform.dollars import precise
from mlplatform.facts import HostingKind
from mlplatform.prices import HOURS_PER_MONTH, HOURS_PER_WEEK, SECONDS_PER_HOUR, Use
from mlplatform.records import dataclass

DAYS_PER_MONTH = HOURS_PER_MONTH / 24
SERVERLESS_GB = range(1, 7)
SERVERLESS_CONCURRENCY = 200
SERVERLESS_OVERHEAD_SECONDS = Decimal("0.064")
COLD_START_SECONDS = Decimal(30)
# InvokeEndpoint gives a model 60 s to answer (API reference): a caller waits as long for any answer.
LONGEST_WAIT_SECONDS = Decimal(60)
SLEEP_AFTER_SECONDS = {HostingKind.SCALE_TO_ZERO: Decimal((15 + 12) * 60), HostingKind.ASYNCHRONOUS: Decimal(15 * 60)}
WAKE_SECONDS = Decimal(9 * 60 + 24)
USUAL_MEMORY_GB = Decimal(2)  # PyTorch and a small model
_MEMORY_HEADROOM = Decimal("1.2")
USUAL_MODEL_SECONDS = Decimal("0.1")  # where nothing was measured
_WARM_HOURS = Decimal(5) / 60
_SLOWER_WITH_1_GB = 2
_NOTHING = Decimal(0)


class PriceList(Protocol):
    """What a planner asks of mlplatform.prices. Both raise UnknownPrice."""

    def usd_per_hour(self, instance_type: str, use: Use, region: str) -> Decimal: ...

    def usd(self, item: str, region: str) -> Decimal: ...


@dataclass(frozen=True)
class Workload:
    """What an endpoint has to do, and on what it does it now."""

    region: str
    instance_type: str
    requests_per_hour: tuple[Decimal, ...]  # of each hour that was seen while it was open; one value is a flat rate
    model_seconds: Decimal  # what a warm request takes in the model, on the instance
    overhead_seconds: Decimal = _NOTHING  # what SageMaker adds to that
    hours_per_week: Decimal = HOURS_PER_WEEK  # in which it is open
    min_instances: int = 1
    max_instances: int | None = None  # None: as many as it takes
    safe_requests_per_minute: Decimal | None = None  # of one instance; None: the fewest instances take what comes
    memory_gb: Decimal = USUAL_MEMORY_GB
    gb_per_request: Decimal = _NOTHING  # in and out
    not_serverless: str = ""  # why it can't be
    cold_start_seconds: Decimal = COLD_START_SECONDS  # of a serverless container, as assumed unless it was measured


@dataclass(frozen=True)
class Promise:
    """What callers were promised."""

    latency_seconds: Decimal | None = None  # of a usual request; None: nothing was
    first_seconds: Decimal = LONGEST_WAIT_SECONDS  # what a request after a pause may wait


@dataclass(frozen=True)
class Option:
    """One way to host, for a month like what was seen."""

    kind: HostingKind
    what: str
    usd_per_month: Decimal
    latency_seconds: Decimal  # of a usual request
    first_seconds: Decimal  # of the first after a pause, which is the same where nothing sleeps
    pauses_per_month: Decimal = _NOTHING  # cold starts, or times that it wakes
    failing_minutes_per_month: Decimal = _NOTHING  # while it wakes, callers get errors
    hours_share: Decimal = Decimal(1)  # of the open hours, the share that is paid for
    gb: int | None = None  # a serverless variant's memory
    against: tuple[str, ...] = ()  # what is not kept; nothing: it can be chosen

    @property
    def meets(self) -> bool:
        return not self.against


@dataclass(frozen=True)
class Choice:
    """The options, those that keep the promise first and of each the cheapest, and the one to take, if there is one."""

    options: tuple[Option, ...]
    chosen: Option | None
    reason: str
    break_even_requests_per_day: Decimal | None  # from which real-time is cheaper than serverless


def plan_hosting(workload: Workload, promise: Promise, prices: PriceList) -> Choice:
    """Raises UnknownPrice, and ValueError for a workload without an hour."""
    if not workload.requests_per_hour:
        raise ValueError("A workload has the requests of one hour at least; without requests that is a zero.")
    fleet = _real_time(workload, promise, prices)
    serverless = tuple(_serverless(workload, promise, prices))
    options = (fleet, *serverless, *_sleeping(workload, promise, fleet, prices))
    # sorted is stable: of two that cost the same the one that never sleeps stays first.
    ranked = tuple(sorted(options, key=lambda option: (not option.meets, option.usd_per_month)))
    chosen = ranked[0] if ranked[0].meets else None
    smallest = serverless[0] if serverless else None
    even = _break_even(workload, prices, smallest) if smallest else None
    return Choice(ranked, chosen, _reason(chosen, ranked, fleet, promise, even), even)


def requests_per_day(workload: Workload) -> Decimal:
    """On average over all days, closed hours included."""
    return _per_month(workload) / DAYS_PER_MONTH


def measured_in_gib(kind: HostingKind, instance_type: str, own_gib: Decimal | None) -> Decimal | int | None:
    """The memory that an endpoint's use of memory is a share of; None where that is not known.

    An instance's, or `own_gib`: a serverless variant's, or what a copy reserves that scales to zero.
    """
    if kind in {HostingKind.SERVERLESS, HostingKind.SCALE_TO_ZERO}:
        return own_gib
    return instances.memory_gib(instance_type)


def memory_need_gb(gib: Decimal | int | None, peak_percent: Decimal | None) -> Decimal:
    """What a container needs that took so much of this memory at most, with a fifth to spare.

    Never less than is usual: what a quiet container takes says little of one that starts.
    """
    if peak_percent is None or gib is None:
        return USUAL_MEMORY_GB
    return max(USUAL_MEMORY_GB, peak_percent / 100 * gib * _MEMORY_HEADROOM)


def flat_rate(requests_per_day: Decimal, hours_per_week: Decimal) -> tuple[Decimal, ...]:
    """So many requests on an average day, as what each open hour gets."""
    return (requests_per_day * 7 / hours_per_week,) if hours_per_week else (_NOTHING,)


def share_awake(per_hour: Decimal, kind: HostingKind) -> Decimal:
    """The share of the hours that is billed where instances go after a pause: 0 to 1.

    From one sleep to the next it sleeps until a request comes (1 / rate), wakes, and stays until none has come for
    SLEEP_AFTER_SECONDS, for which one waits (e^(rate x pause) - 1) / rate on average: a renewal process. The minutes of
    waking are taken as billed.
    """
    if per_hour <= 0:
        return _NOTHING
    asleep = 1 / per_hour
    awake = _awake_hours(per_hour, kind)
    return awake / (asleep + awake)


def _awake_hours(per_hour: Decimal, kind: HostingKind) -> Decimal:
    pause = min(per_hour * SLEEP_AFTER_SECONDS[kind] / SECONDS_PER_HOUR, Decimal(50))  # e^50 hours are for ever
    return WAKE_SECONDS / SECONDS_PER_HOUR + (_exp(pause) - 1) / per_hour


def _exp(power: Decimal) -> Decimal:
    """To the 16 digits of a float: Decimal's own takes a hundred times as long, which is seconds for many endpoints."""
    return Decimal(math.exp(power))


def _real_time(workload: Workload, promise: Promise, prices: PriceList) -> Option:
    needed = [_instances(workload, rate) for rate in workload.requests_per_hour]
    average, most = Decimal(sum(needed)) / len(needed), max(needed)
    hour = prices.usd_per_hour(workload.instance_type, "hosting", workload.region)
    latency = workload.model_seconds + workload.overhead_seconds
    against = _too_slow(promise, latency, latency)
    if workload.max_instances is not None and most > workload.max_instances:
        against += (f"its busiest hour needs {most} instances, and {workload.max_instances} are the most",)
    count = str(most) if min(needed) == most else f"{min(needed)} to {most}"
    hours = "" if workload.hours_per_week >= HOURS_PER_WEEK else f", {workload.hours_per_week:g} hours a week"
    return Option(
        HostingKind.REAL_TIME,
        f"{count} x {workload.instance_type}{hours}",
        average * hour * _hours_per_month(workload) + _data_usd(workload, prices),
        latency,
        latency,
        against=against,
    )


def _serverless(workload: Workload, promise: Promise, prices: PriceList) -> Iterator[Option]:
    if workload.not_serverless:
        return
    rates = _rates(workload)
    busiest = max(rates) / SECONDS_PER_HOUR
    pauses = _each_hour(workload, {rate: rate * _exp(-rate * _WARM_HOURS) for rate in rates})
    requests, data_usd = _per_month(workload), _data_usd(workload, prices)
    for gb in SERVERLESS_GB:
        if gb < workload.memory_gb:
            continue
        latency = _serverless_seconds(workload, gb)
        at_once = busiest * latency
        first = workload.cold_start_seconds + latency
        against = _too_slow(promise, latency, first)
        if at_once > SERVERLESS_CONCURRENCY:
            against += (f"its busiest hour has {at_once:.0f} requests at a time, and serverless takes 200",)
        yield Option(
            HostingKind.SERVERLESS,
            f"{gb} GB",
            requests * _serverless_usd(workload, prices, gb) + data_usd,
            latency,
            first,
            pauses_per_month=pauses,
            gb=gb,
            against=against,
        )


def _sleeping(workload: Workload, promise: Promise, fleet: Option, prices: PriceList) -> Iterator[Option]:
    """The kinds whose instances go when nothing comes."""
    hour = prices.usd_per_hour(workload.instance_type, "hosting", workload.region)
    rates, hours = _rates(workload), _hours_per_month(workload)
    latency = fleet.latency_seconds
    first = WAKE_SECONDS + latency
    # A request that arrives while an asynchronous one wakes is kept: the latest answer is what callers reckon with.
    patient = promise.latency_seconds is not None and promise.latency_seconds >= first
    fetched = () if patient else ("callers would have to fetch their answers from S3, minutes later after a pause",)
    against = {HostingKind.SCALE_TO_ZERO: _too_slow(promise, latency, first), HostingKind.ASYNCHRONOUS: fetched}
    for kind in SLEEP_AFTER_SECONDS:
        shares = {rate: share_awake(rate, kind) for rate in rates}
        billed = {rate: share * _instances(workload, rate, 1) for rate, share in shares.items()}
        wakes = _each_hour(
            workload, {rate: 1 / (1 / rate + _awake_hours(rate, kind)) if rate else rate for rate in rates}
        )
        yield Option(
            kind,
            f"0+ x {workload.instance_type}",
            _each_hour(workload, billed) * hour + _data_usd(workload, prices),
            latency,
            first,
            wakes,
            wakes * WAKE_SECONDS / 60 if kind is HostingKind.SCALE_TO_ZERO else _NOTHING,
            _each_hour(workload, shares) / hours if hours else _NOTHING,
            against=against[kind],
        )


def _instances(workload: Workload, per_hour: Decimal, fewest: int | None = None) -> int:
    fewest = workload.min_instances if fewest is None else fewest
    if not workload.safe_requests_per_minute:
        return fewest
    needed = (per_hour / 60 / workload.safe_requests_per_minute).to_integral_value(ROUND_CEILING)
    return max(fewest, int(needed))


def _serverless_seconds(workload: Workload, gb: int) -> Decimal:
    slower = _SLOWER_WITH_1_GB if gb == 1 else 1
    return workload.model_seconds * slower + SERVERLESS_OVERHEAD_SECONDS


def _serverless_usd(workload: Workload, prices: PriceList, gb: int) -> Decimal:
    """Of one request, without its data, which every kind pays for alike."""
    return _serverless_seconds(workload, gb) * gb * prices.usd("serverless.gb_second", workload.region)


def _break_even(workload: Workload, prices: PriceList, serverless: Option) -> Decimal:
    assert serverless.gb is not None
    hour = prices.usd_per_hour(workload.instance_type, "hosting", workload.region)
    fewest = workload.min_instances * hour * _hours_per_month(workload)
    return fewest / _serverless_usd(workload, prices, serverless.gb) / DAYS_PER_MONTH


def _too_slow(promise: Promise, latency: Decimal, first: Decimal) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    if promise.latency_seconds is not None and latency > promise.latency_seconds:
        found += (f"{duration(latency)} is more than the {duration(promise.latency_seconds)} promised",)
    # What never sleeps has no first request of its own.
    if first > latency and first > promise.first_seconds:
        found += (
            f"a request after a pause waits {duration(first)}, and {duration(promise.first_seconds)} are allowed",
        )
    return found


def duration(seconds: Decimal) -> str:
    """As people read a latency: 0.8 ms, 140 ms, 31 s, 9.4 min."""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _reason(
    chosen: Option | None, ranked: tuple[Option, ...], fleet: Option, promise: Promise, even: Decimal | None
) -> str:
    if chosen is None:
        cheapest = ranked[0]
        return (
            f"No kind of hosting keeps the promise; the cheapest, {_named(cheapest)} at "
            f"{precise(cheapest.usd_per_month)} a month, does not because {cheapest.against[0]}."
        )
    bound = promise.latency_seconds
    kept = "" if bound is None else f" that answers within {duration(bound)}"
    said = (
        f"{_named(chosen)} is the cheapest{kept}: {precise(chosen.usd_per_month)} a month, "
        f"{duration(chosen.latency_seconds)} a request"
    )
    if chosen.first_seconds > chosen.latency_seconds:
        said += f" and {duration(chosen.first_seconds)} after a pause"
    if round(chosen.failing_minutes_per_month):
        said += f", with errors for {chosen.failing_minutes_per_month:.0f} minutes a month while it wakes"
    if chosen.kind is not HostingKind.REAL_TIME:
        said += f", against {precise(fleet.usd_per_month)} for {_named(fleet)}"
    if even is not None:
        said += f"; real-time is cheaper than serverless from {even:,.0f} requests a day on"
    return f"{said}."


def _named(option: Option) -> str:
    return f"{option.kind.value} ({option.what})"


def _rates(workload: Workload) -> frozenset[Decimal]:
    return frozenset(workload.requests_per_hour)


def _each_hour(workload: Workload, values: Mapping[Decimal, Decimal]) -> Decimal:
    """A month's sum of what each open hour adds by its rate."""
    total = sum((values[rate] for rate in workload.requests_per_hour), _NOTHING)
    return total / len(workload.requests_per_hour) * _hours_per_month(workload)


def _per_month(workload: Workload) -> Decimal:
    return sum(workload.requests_per_hour, _NOTHING) / len(workload.requests_per_hour) * _hours_per_month(workload)


def _hours_per_month(workload: Workload) -> Decimal:
    return HOURS_PER_MONTH * workload.hours_per_week / HOURS_PER_WEEK


def _data_usd(workload: Workload, prices: PriceList) -> Decimal:
    if not workload.gb_per_request:
        return _NOTHING
    return _per_month(workload) * workload.gb_per_request * prices.usd("endpoint.gb_processed", workload.region)
