"""A parked endpoint is in service again: what it lacks to be what it was, and what the time off saved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from mlplatform import ledger, names, prices
from mlplatform.decisions import ForgetParking, RestoreCapacity, RestoreEndpoint
from mlplatform.errors import UnknownPrice
from mlplatform.facts import DATASET_TAG, Endpoint, Parked, Prediction, Saving
from mlplatform.settings import Settings


def plan_recheck(endpoint: Endpoint, parked: Parked, settings: Settings) -> ForgetParking | None:
    """For an endpoint that serves while parked: None where it runs the parked config, and only has to be restored."""
    running = names.running_config(endpoint, settings.stack_name) or endpoint.config_name
    if running in (None, parked.config):
        return None
    wishes = {key: value for key, value in parked.tags.items() if key not in endpoint.tags}
    return ForgetParking(
        reason=(
            f"{endpoint.name} was deployed with {running} while it was parked with {parked.config}; "
            "the newer one stays, and keeps the tags that people gave the older one."
        ),
        endpoint_arn=endpoint.arn,
        endpoint_tags=wishes,
        config_arn=names.config_arn(endpoint.arn, parked.config),
        alarms=parked.alarms,
    )


def plan_capacity(endpoint: Endpoint, parked: Parked) -> RestoreCapacity | None:
    """The instances and the weights that it had; None where it has them, or where SageMaker just failed to give them.

    A call changes "variant weight of one or more variants", or "capacity of one variant"
    (UpdateEndpointWeightsAndCapacities, SageMaker API reference), so that several variants get their instances one
    after the other, each with the event that the one before ends with, and their shares of the traffic after that.
    """
    wanted = {one["VariantName"]: one for one in parked.variants if "DesiredInstanceCount" in one}
    short = [name for name, one in wanted.items() if endpoint.counts.get(name) != one["DesiredInstanceCount"]]
    weights = {one.name: one.weight for one in endpoint.variants if len(endpoint.variants) > 1}
    skewed = [
        name
        for name, one in wanted.items()
        if weights.get(name) is not None and not same_weight(weights[name], one.get("DesiredWeight"))
    ]
    if not (short or skewed) or endpoint.failure_reason:
        return None
    if not short:
        shares = " and ".join(f"{wanted[name]['DesiredWeight']:g} for {name}" for name in skewed)
        keys: tuple[str, ...] = ("VariantName", "DesiredWeight")
        changed = list(wanted)
        reason = f"{endpoint.name} is back with its instances; its traffic is shared as it was, {shares}."
    else:
        counts = " and ".join(f"{wanted[name]['DesiredInstanceCount']} of {name}" for name in short)
        keys, changed = ("VariantName", "DesiredInstanceCount"), short[:1]
        if len(wanted) == 1:
            keys = ("VariantName", "DesiredWeight", "DesiredInstanceCount")
        reason = f"{endpoint.name} is back with its config's instances; it gets the {counts} that it had."
    return RestoreCapacity(
        reason=reason,
        endpoint_name=endpoint.name,
        capacity={
            "EndpointName": endpoint.name,
            "DesiredWeightsAndCapacities": [
                {key: wanted[name][key] for key in keys if key in wanted[name]} for name in changed
            ],
        },
    )


def same_weight(one: float | None, other: float | None) -> bool:
    """SageMaker keeps weights in single precision."""
    return one is None or other is None or math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)


def plan_restore(
    endpoint: Endpoint, parked: Parked, prediction: Prediction | None, settings: Settings
) -> RestoreEndpoint:
    """What is left when it serves with the instances that it had; `prediction` is what its smoke test said, if any."""
    problems = []
    if endpoint.failure_reason:
        problems.append(f"it could not get all the instances that it had: {endpoint.failure_reason.rstrip('.')}")
    if prediction is not None and not prediction.correct:
        problems.append(f"its smoke test failed: {prediction.explanation}")
    took = "an unknown time"
    if endpoint.created and endpoint.modified:
        took = duration(endpoint.modified - endpoint.created)
    away = duration(endpoint.created - parked.since) if endpoint.created else "an unknown time"
    state = f"but {' and '.join(problems)}" if problems else "and answers as expected" if prediction else "unasked"
    saving = night_saving(endpoint, parked, settings.aws_region)
    return RestoreEndpoint(
        reason=(
            f"{endpoint.name} is back after {away} off, {state}; it took {took} to start, and has the scaling and the "
            f"alarms that it had. {_saved(saving)}"
        ),
        endpoint_name=endpoint.name,
        config_arn=names.config_arn(endpoint.arn, parked.config),
        parked=parked,
        good=not problems,
        saving=saving,
    )


def night_saving(endpoint: Endpoint, parked: Parked, region: str) -> Saving | None:
    """What the time off saved: the hours, times the instances that it had, at the list price.

    None where something has no price, or where it is not known when it came back.
    """
    try:
        usd_per_hour, parts = hourly(parked.variants, region)
    except UnknownPrice:
        return None
    if endpoint.created is None or endpoint.created <= parked.since:
        return None
    hours = Decimal(str((endpoint.created - parked.since).total_seconds())) / prices.SECONDS_PER_HOUR
    return ledger.entry(
        "night",
        f"{endpoint.arn} {parked.since.isoformat()}",
        hours * usd_per_hour,
        f"{hours:.2f} hours off x ({parts}) = {hours * usd_per_hour:.4f} USD (list price in {region})",
        endpoint.created,
        endpoint.tags.get(DATASET_TAG),
    )


def hourly(variants: Iterable[Mapping[str, Any]], region: str) -> tuple[Decimal, str]:
    """US dollars an hour for variants as a record has them, and how that comes about. Raises UnknownPrice."""
    total, parts = Decimal(0), []
    for variant in variants:
        if variant.get("InstanceType"):
            price = prices.usd_per_hour(variant["InstanceType"], "hosting", region)
            count = int(variant.get("DesiredInstanceCount", 1))
            total += count * price
            parts.append(f"{count} x {price} USD/hour for {variant['InstanceType']}")
    return total, " + ".join(parts)


def _saved(saving: Saving | None) -> str:
    return f"The time off saved {saving.usd:.2f} USD." if saving else "What that saved is not known: there is no price."


def duration(length: timedelta) -> str:
    """As people say it: `14 h 5 min`, `6 min 3 s`, `2.4 s`."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
