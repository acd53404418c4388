"""The record of a parked endpoint: from what AWS describes, into tags of its config, and back.

A config outlives its endpoint, and has at most 50 tags with values of at most 256 characters ("Tag naming limits and
requirements", AWS tagging reference). So the record is JSON, deflated, in base64, and cut in pieces; the first says how
many there are, and deflate's own checksum tells a damaged record.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from mlplatform.capacity import wanted_type
from mlplatform.errors import PlatformError
from mlplatform.facts import Parked
from mlplatform.names import HOURS_TAG, KEEP_ON_TAG, PARKED_TAG, scalable_target

_TAG_VALUE_LIMIT = 256
_TAG_LIMIT = 50
# What each description has beyond what its request takes (DescribeScalableTargets, DescribeScalingPolicies and
# DescribeScheduledActions, Application Auto Scaling API reference). The role is the service's own, and not passed on.
_NOT_ASKED_FOR = {
    *("CreationTime", "ScalableTargetARN", "PolicyARN", "Alarms", "ScheduledActionARN", "RoleARN", "PredictedCapacity"),
}


class BadRecord(PlatformError):
    """A parked endpoint's record is damaged, or too large to be written; the message says which."""


def parking_record(
    endpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    scaling: Mapping[str, Iterable[Mapping[str, Any]]],
    alarms: Iterable[str],
    at: datetime,
) -> Parked:
    """From DescribeEndpoint, DescribeEndpointConfig, the endpoint's tags and its scaling.

    `scaling` has "targets", "policies" and "scheduled_actions" as Application Auto Scaling describes them.
    """
    types = {variant["VariantName"]: wanted_type(variant) for variant in config["ProductionVariants"]}
    return Parked(
        endpoint=endpoint["EndpointName"],
        config=config["EndpointConfigName"],
        since=at,
        tags={key: value for key, value in tags.items() if not key.startswith("aws:")},  # AWS's own can't be set
        variants=tuple(
            {
                "VariantName": variant["VariantName"],
                "InstanceType": types.get(variant["VariantName"]),
                **{
                    # The desired count is where scaling was heading when the two differ.
                    name: variant[name]
                    for name in ("DesiredInstanceCount", "DesiredWeight")
                    if name in variant
                },
            }
            for variant in endpoint.get("ProductionVariants", [])
        ),
        targets=_requests(scaling["targets"]),
        policies=_requests(scaling["policies"]),
        scheduled_actions=_requests(scaling["scheduled_actions"]),
        alarms=tuple(alarms),
    )


def _requests(described: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple({key: one[key] for key in one if key not in _NOT_ASKED_FOR} for one in described)


def record_tags(parked: Parked, config_tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that a config gets when its endpoint is parked. Raises BadRecord if there is no room for them.

    People's wishes about hours are put beside the record, where they can be seen and changed while it is parked.
    """
    text = json.dumps(asdict(parked), separators=(",", ":"), default=_spelled)
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    count = -(-(len(packed) + 3) // _TAG_VALUE_LIMIT)
    packed = f"{count:02}:{packed}"
    pieces = [packed[at : at + _TAG_VALUE_LIMIT] for at in range(0, len(packed), _TAG_VALUE_LIMIT)]
    made = {f"{PARKED_TAG}{number}": piece for number, piece in enumerate(pieces)}
    made |= {key: parked.tags[key] for key in (HOURS_TAG, KEEP_ON_TAG) if key in parked.tags}
    if len(set(made) | set(config_tags)) > _TAG_LIMIT:
        raise BadRecord(
            f"{parked.endpoint} can't be stopped: what it needs to come back takes {len(pieces)} tags, and with the "
            f"{len(config_tags)} that its config {parked.config} has there would be more than {_TAG_LIMIT}."
        )
    return made


def without_variant(parked: Parked, variant: str) -> Parked:
    """The record of an endpoint that is to come back without one of its variants."""
    resource = scalable_target(parked.endpoint, variant)["ResourceId"]

    def kept(described: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
        return tuple(one for one in described if one.get("ResourceId") != resource)

    return replace(
        parked,
        variants=tuple(one for one in parked.variants if one["VariantName"] != variant),
        targets=kept(parked.targets),
        policies=kept(parked.policies),
        scheduled_actions=kept(parked.scheduled_actions),
    )


def parking_tags(config_tags: Mapping[str, str]) -> list[str]:
    """The keys that a config loses when its endpoint is back."""
    return sorted(key for key in config_tags if key.startswith(PARKED_TAG) or key in (HOURS_TAG, KEEP_ON_TAG))


def read_record(config_tags: Mapping[str, str]) -> Parked | None:
    """The record in a config's tags; None where there is none. Raises BadRecord.

    What the config says about hours goes before what the endpoint had: it was changed while it was parked.
    """
    first = config_tags.get(f"{PARKED_TAG}0")
    if first is None:
        return None
    try:
        count = int(first.partition(":")[0])
        packed = "".join(config_tags[f"{PARKED_TAG}{number}"] for number in range(count)).partition(":")[2]
        content = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
        tags = {key: value for key, value in content["tags"].items() if key not in (HOURS_TAG, KEEP_ON_TAG)}
        tags |= {key: config_tags[key] for key in (HOURS_TAG, KEEP_ON_TAG) if key in config_tags}
        return Parked(
            endpoint=content["endpoint"],
            config=content["config"],
            since=datetime.fromisoformat(content["since"]),
            tags=tags,
            **{
                name: tuple(content[name])
                for name in ("variants", "targets", "policies", "scheduled_actions", "alarms")
            },
        )
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise BadRecord(f"The record of a parked endpoint is damaged ({type(error).__name__}: {error})") from error


def _spelled(value: Any) -> str:
    """Times, which JSON does not have; AWS takes them back as ISO 8601 text."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not belong in a record")
