"""Machines of the same size, for when SageMaker has none of the wanted type: of a config's instance pools it takes the
first whose type it has.

SageMaker begins with the pool of the highest priority and falls back to the next when it meets an insufficient capacity
error: when an endpoint is made, updated and scaled out ("Deploy to multiple instance types with instance pools",
SageMaker developer guide). Where no pool has capacity the endpoint fails, and says "Unable to provision requested ML
compute capacity due to InsufficientInstanceCapacity error ..."; a training job says "CapacityError: Unable to provision
requested ML compute capacity ..." (github.com/DIAGNijmegen/rse-grand-challenge issue 2631,
github.com/aws/deep-learning-containers pull request 6673).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mlplatform import instances, prices
from mlplatform.errors import UnknownPrice

PROVISION_SECONDS = 900  # VariantInstanceProvisionTimeoutInSeconds: 300 to 3600, for all pools together
_MOST_INSTEAD = 3  # a variant has 5 pools at most (InstancePoolList, service model)
_DEARER = Decimal("1.25")  # what takes another's place may cost so much more of its price
_LACKING = ("insufficientinstancecapacity", "unable to provision requested ml compute capacity", "capacityerror")


def lacks_capacity(failure_reason: str | None) -> bool:
    """Whether a FailureReason says that SageMaker had no such machines."""
    return any(sign in (failure_reason or "").lower() for sign in _LACKING)


def same_size(instance_type: str, use: prices.Use, region: str) -> tuple[str, ...]:
    """Types with as many processors and as much memory, that cost about the same; the cheapest first.

    Only what has a price: a type whose cost nobody can tell takes nobody's place.
    """
    known = instances.HOSTING if use == "hosting" else instances.TRAINING
    memory = instances.memory_gib(instance_type)
    if memory is None or instances.is_gpu(instance_type):
        return ()
    try:
        most = _DEARER * prices.usd_per_hour(instance_type, use, region)
    except UnknownPrice:
        return ()
    found = []
    for one in known - {instance_type}:
        if (instances.vcpus(one), instances.memory_gib(one)) != (instances.vcpus(instance_type), memory):
            continue
        try:
            price = prices.usd_per_hour(one, use, region)
        except UnknownPrice:
            continue
        if price <= most:
            found.append((price, one))
    return tuple(one for _, one in sorted(found)[:_MOST_INSTEAD])


def pooled(variant: Mapping[str, Any], instead: Sequence[str]) -> dict[str, Any]:
    """A ProductionVariant that falls back to other types, in this order, where its own is not to be had."""
    kept = {key: value for key, value in variant.items() if key != "InstanceType"}
    return {
        **kept,
        "InstancePools": [
            {"InstanceType": one, "Priority": priority}
            for priority, one in enumerate([variant["InstanceType"], *instead], start=1)
        ],
        "VariantInstanceProvisionTimeoutInSeconds": PROVISION_SECONDS,
    }


def types_of(variant: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that a ProductionVariant may run on, the wanted one first; none where it has no instances of its own.

    Of a described endpoint's variant (ProductionVariantSummary), those that it runs on, most of them first.
    """
    pools = variant.get("InstancePools", ())
    if not pools:
        return (variant["InstanceType"],) if variant.get("InstanceType") else ()
    running = [one for one in pools if one.get("CurrentInstanceCount", 1)]
    ordered = sorted(running, key=lambda one: (one.get("Priority", 0), -one.get("CurrentInstanceCount", 0)))
    return tuple(one["InstanceType"] for one in ordered)


def wanted_type(variant: Mapping[str, Any]) -> str | None:
    """The type that a ProductionVariant is meant to run on; None where it has no instances of its own."""
    return next(iter(types_of(variant)), None)
