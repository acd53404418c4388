"""What endpoints did in a CloudWatch minute, written as SageMaker writes it for each kind of hosting."""

from __future__ import annotations

from datetime import datetime

from laptop.hosting import Endpoint, Hosting, Variant
from laptop.metrics import (
    InvocationCounters,
    MetricStore,
    merged,
    put_answers,
    put_asynchronous,
    put_backlog,
    put_invocations,
    put_serverless,
    put_serverless_invocations,
    put_utilization,
)


def put(store: MetricStore, hosting: Hosting, now: datetime) -> None:
    """Empties all counters."""
    for endpoint in list(hosting.endpoints.values()):
        for name in dict.fromkeys(variant.name for variant in endpoint.fleets):
            fleets = [variant for variant in endpoint.fleets if variant.name == name]
            _put_variant(store, endpoint, name, fleets, now)
        if endpoint.queue is not None:
            for name, counters in endpoint.queue.take_counters().items():
                put_asynchronous(store, _dimensions(endpoint, name), counters, now)
            put_backlog(
                store,
                endpoint.name,
                backlog=endpoint.queue.backlog,
                oldest_seconds=endpoint.queue.age_seconds(),
                instances=sum(len(variant.fleet) for variant in endpoint.fleets),
                at=now,
            )


def _put_variant(store: MetricStore, endpoint: Endpoint, name: str, fleets: list[Variant], now: datetime) -> None:
    """`fleets`: the variant's own, and an update's new one."""
    dimensions = _dimensions(endpoint, name)
    for fleet in fleets:
        if fleet.serverless is not None:
            put_serverless(store, dimensions, fleet.serverless.take_counters(), now)
    taken = [(fleet, fleet.counters.take()) for fleet in fleets]
    for fleet, counters in taken:
        # "after the new fleet starts receiving traffic" (Auto-Rollback Configuration, developer guide)
        if counters.invocations and fleet.config:
            _put_requests(store, endpoint, {**dimensions, "EndpointConfigName": fleet.config}, [fleet], counters, now)
    _put_requests(store, endpoint, dimensions, fleets, merged(counters for _, counters in taken), now)
    usage = [instance.usage() for fleet in fleets for instance in fleet.fleet]
    put_utilization(store, endpoint.name, name, usage, now)


def _put_requests(
    store: MetricStore,
    endpoint: Endpoint,
    dimensions: dict[str, str],
    fleets: list[Variant],
    counters: InvocationCounters,
    now: datetime,
) -> None:
    if endpoint.queue is not None:
        put_answers(store, dimensions, counters, now)
    elif all(fleet.serverless is not None for fleet in fleets):
        put_serverless_invocations(store, dimensions, counters, now)
    else:
        instances = sum(len(fleet.fleet) for fleet in fleets)
        put_invocations(store, dimensions, counters, instances=instances, at=now)


def _dimensions(endpoint: Endpoint, variant: str) -> dict[str, str]:
    return {"EndpointName": endpoint.name, "VariantName": variant}
