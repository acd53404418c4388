"""Which kind of hosting a model gets whose job.json leaves that to the platform ("kind": "auto"). Pure.

hosting.py compares the kinds; here it is decided when that is acted upon. A move costs callers something, so that an
endpoint stays what it is unless the other kind saves a fifth of what it costs, or it breaks what was promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from mlplatform import instances, kinds, names, prices
from mlplatform.dollars import precise
from mlplatform.errors import UnknownPrice
from mlplatform.facts import Endpoint, HostingKind, Traffic
from mlplatform.hosting import (
    COLD_START_SECONDS,
    USUAL_MODEL_SECONDS,
    Choice,
    Option,
    Promise,
    Workload,
    duration,
    flat_rate,
    measured_in_gib,
    memory_need_gb,
    plan_hosting,
    requests_per_day,
)
from mlplatform.job_spec import HOSTING_KEYS
from mlplatform.model_cost import open_hours_per_week
from mlplatform.records import dataclass
from mlplatform.settings import Settings

FEWEST_HOURS = 24  # of traffic; with less nobody knows what a day is like
WORTH_A_MOVE = Decimal("0.2")


@dataclass(frozen=True)
class Chosen:
    """What a hosting tag that says auto comes to."""

    hosting: str  # the tag, with the kind in it
    reason: str  # a sentence
    table: tuple[str, ...] = ()  # a line for each kind


def choose(
    hosting: str, live: Endpoint | None, traffic: Traffic | None, settings: Settings, sample: bytes = b""
) -> Chosen:
    """`hosting` is a tag of names.hosting_tag whose kind is auto, `traffic` what the live endpoint got, `sample` the
    model's stored request with its answer."""
    wishes = names.hosting_wishes({names.HOSTING_TAG: hosting})
    now = live.kind if live else HostingKind.REAL_TIME
    declared = wishes.get("requests_per_day")
    hours = len(traffic.requests_per_hour) if traffic else 0
    if declared is None and hours < FEWEST_HOURS:
        seen = f"only {hours} hours" if hours else "none"
        return _as(
            wishes,
            now,
            None,
            f"Hosting is left to the platform, but of its requests {seen} were seen and job.json has no "
            f"'hosting.requests_per_day': it {'stays' if live else 'begins'} {now.value}.",
        )
    instance_type = wishes.get("instance_type", settings.hosting_instance_type)
    workload = workload_of(
        live.tags if live else {},
        wishes,
        instance_type,
        traffic,
        settings,
        per_day=None if declared is None else Decimal(declared),
        measured_in=_measured_in(live, instance_type, settings) if live else None,
        sample=sample,
        not_serverless=_not_serverless(instance_type, settings),
    )
    latency = wishes.get("latency_ms")
    promise = Promise(None if latency is None else Decimal(latency) / 1000)
    try:
        choice = plan_hosting(workload, promise, prices)
    except UnknownPrice as error:
        return _as(
            wishes, now, None, f"Hosting is left to the platform, which has no price: {error} It is {now.value}."
        )
    table = tuple(_line(option) for option in _best(choice))
    daily = f"{requests_per_day(workload):,.0f} requests a day"
    stays = next((one for one in _best(choice) if one.kind is now), None)
    best = choice.chosen
    if best is None:
        return _as(wishes, now, stays, f"For {daily} it is {now.value}: {choice.reason}", table)
    if live is not None and best.kind is not now and stays is not None and stays.meets:
        saves = stays.usd_per_month - best.usd_per_month
        if saves < stays.usd_per_month * WORTH_A_MOVE:
            why = f"For {daily} {best.kind.value} would save {precise(saves)} a month, not enough for a move: it stays "
            return _as(wishes, now, stays, f"{why}{now.value}.", table)
    return _as(wishes, best.kind, best, f"For {daily}: {choice.reason}", table)


def workload_of(
    tags: Mapping[str, str],
    wishes: Mapping[str, str],
    instance_type: str,
    traffic: Traffic | None,
    settings: Settings,
    *,
    per_day: Decimal | None = None,
    measured_in: Decimal | int | None = None,
    memory_gb: Decimal | None = None,
    sample: bytes = b"",
    not_serverless: str = "",
) -> Workload:
    """What an endpoint with these tags has to do, with the hosting that is wished for.

    `per_day` are requests that were declared, which go before what was seen. `measured_in` are the GiB that the memory
    was measured in a share of, and `memory_gb` is what a person says instead. `sample` is the stored request with its
    answer, by whose size the data of a request is taken.
    """
    open_hours = open_hours_per_week(tags, settings)
    seen = traffic or Traffic((), None, None, None)
    fewest, most = kinds.instance_bounds(wishes, settings)
    return Workload(
        region=settings.aws_region,
        instance_type=instance_type,
        requests_per_hour=(
            (seen.requests_per_hour or (Decimal(0),)) if per_day is None else flat_rate(per_day, open_hours)
        ),
        model_seconds=USUAL_MODEL_SECONDS if seen.model_seconds is None else seen.model_seconds,
        overhead_seconds=seen.overhead_seconds or Decimal(0),
        hours_per_week=open_hours,
        min_instances=fewest,
        max_instances=most,
        safe_requests_per_minute=Decimal(wishes.get("invocations_per_instance", settings.invocations_per_instance)),
        memory_gb=memory_need_gb(measured_in, seen.memory_percent) if memory_gb is None else memory_gb,
        gb_per_request=Decimal(len(sample)) / 10**9,
        not_serverless=not_serverless,
        cold_start_seconds=seen.setup_seconds or COLD_START_SECONDS,
    )


def _not_serverless(instance_type: str, settings: Settings) -> str:
    """Why a model that is deployed can't be; no second variant and no data capture comes with it."""
    if settings.vpc_config:
        return "SageMaker offers it in no network of one's own"
    return "it is to have a GPU, which serverless has not" if instances.is_gpu(instance_type) else ""


def _measured_in(live: Endpoint, usual: str, settings: Settings) -> Decimal | int | None:
    own = live.memory_gb or kinds.hosting(live.tags, settings, live).memory_gib
    return measured_in_gib(live.kind, live.instance_type or usual, Decimal(own))


def _best(choice: Choice) -> list[Option]:
    """Of each kind the first, which is its cheapest."""
    found: dict[HostingKind, Option] = {}
    for option in choice.options:
        found.setdefault(option.kind, option)
    return list(found.values())


def _line(option: Option) -> str:
    said = f"{option.kind.value} ({option.what}): {precise(option.usd_per_month)} a month"
    said += f", {duration(option.latency_seconds)} a request"
    if option.first_seconds > option.latency_seconds:
        said += f", {duration(option.first_seconds)} after a pause"
    return f"{said}; not: {'; '.join(option.against)}." if option.against else f"{said}."


def _as(
    wishes: Mapping[str, str], kind: HostingKind, option: Option | None, reason: str, table: tuple[str, ...] = ()
) -> Chosen:
    kept = {key: value for key, value in wishes.items() if key in HOSTING_KEYS[kind]}
    if option is not None and option.gb and "memory_gb" in HOSTING_KEYS[kind]:
        kept["memory_gb"] = str(option.gb)
    return Chosen(names.hosting_tag({**kept, "kind": kind.value})[names.HOSTING_TAG], reason, table)
