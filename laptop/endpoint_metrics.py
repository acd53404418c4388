"""What endpoints did in a CloudWatch minute, written as SageMaker writes it for each kind of hosting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from laptop.hosting import Endpoint, Hosting, Variant
from laptop.hosting_process import Instance
from laptop.inference_components import Component
from laptop.metrics import (
    InvocationCounters,
    MetricStore,
    merged,
    put_answers,
    put_asynchronous,
    put_backlog,
    put_component,
    put_invocations,
    put_plain_invocations,
    put_reserved,
    put_serverless,
    put_utilization,
)

Usage = Mapping[Instance, tuple[float, float]]  # CPU and memory in percent


def put(store: MetricStore, hosting: Hosting, now: datetime) -> None:
    """Empties all counters."""
    usage = {copy: copy.usage() for copy in hosting.components.copies()}
    for endpoint in list(hosting.endpoints.values()):
        for name in dict.fromkeys(variant.name for variant in endpoint.fleets):
            fleets = [variant for variant in endpoint.fleets if variant.name == name]
            _put_variant(store, endpoint, name, fleets, usage, now)
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
    for component in list(hosting.components.all.values()):
        _put_component(store, component, usage, now)


def _put_component(store: MetricStore, component: Component, usage: Usage, now: datetime) -> None:
    """By the component's name, and the requests also for its variant."""
    counters, failed = component.counters.take(), component.take_without_capacity()
    copies, required = component.copies, component.specification["ComputeResourceRequirements"]
    dimensions = {"InferenceComponentName": component.name}
    put_component(store, dimensions, counters, copies=len(copies), without_capacity=failed, at=now)
    put_plain_invocations(store, _dimensions(component.endpoint, component.variant), counters, now)
    put_reserved(
        store,
        dimensions,
        [(usage[copy][0], copy.memory_bytes() / 1024**2) for copy in copies if copy in usage],
        cpus=required.get("NumberOfCpuCoresRequired"),
        memory_mb=required["MinMemoryRequiredInMb"],
        at=now,
    )


def _put_variant(
    store: MetricStore, endpoint: Endpoint, name: str, fleets: list[Variant], copies: Usage, now: datetime
) -> None:
    """`fleets`: the variant's own, and an update's new one; `copies`: what those of inference components use."""
    dimensions = _dimensions(endpoint, name)
    for fleet in fleets:
        if fleet.machines is not None:
            put_utilization(store, endpoint.name, name, fleet.machines.usage(copies), now)
            return  # its requests are its components'
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
        put_plain_invocations(store, dimensions, counters, now)
    else:
        instances = sum(len(fleet.fleet) for fleet in fleets)
        put_invocations(store, dimensions, counters, instances=instances, at=now)


def _dimensions(endpoint: Endpoint, variant: str) -> dict[str, str]:
    return {"EndpointName": endpoint.name, "VariantName": variant}
