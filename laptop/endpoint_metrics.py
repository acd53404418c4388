"""What endpoints did in a CloudWatch minute, written as SageMaker writes it for each kind of hosting."""

from __future__ import annotations

from datetime import datetime

from laptop.hosting import Endpoint, Hosting, Variant
from laptop.metrics import MetricStore, merged, put_invocations, put_serverless, put_utilization


def put(store: MetricStore, hosting: Hosting, now: datetime) -> None:
    """Empties all counters."""
    for endpoint in list(hosting.endpoints.values()):
        for name in dict.fromkeys(variant.name for variant in endpoint.fleets):
            fleets = [variant for variant in endpoint.fleets if variant.name == name]
            _put_variant(store, endpoint, name, fleets, now)


def _put_variant(store: MetricStore, endpoint: Endpoint, name: str, fleets: list[Variant], now: datetime) -> None:
    """`fleets`: the variant's own, and an update's new one."""
    dimensions = {"EndpointName": endpoint.name, "VariantName": name}
    on_instances = [fleet for fleet in fleets if fleet.serverless is None]
    for fleet in fleets:
        if fleet.serverless is not None:
            put_serverless(store, dimensions, fleet.serverless.take_counters(), now)
    taken = [(fleet, fleet.counters.take()) for fleet in fleets]
    for fleet, counters in taken:
        # "after the new fleet starts receiving traffic" (Auto-Rollback Configuration, developer guide)
        if counters.invocations and fleet.config:
            put_invocations(
                store,
                {**dimensions, "EndpointConfigName": fleet.config},
                counters,
                instances=len(fleet.fleet) if fleet.serverless is None else None,
                at=now,
            )
    put_invocations(
        store,
        dimensions,
        merged(counters for _, counters in taken),
        instances=sum(len(fleet.fleet) for fleet in on_instances) if on_instances else None,
        at=now,
    )
    usage = [instance.usage() for fleet in fleets for instance in fleet.fleet]
    put_utilization(store, endpoint.name, name, usage, now)
