"""What an endpoint serves and runs on, whatever its kind of hosting: as the platform itself reads it."""

from __future__ import annotations

from typing import Any

from cli.connection import Connection
from mlplatform import names
from mlplatform.app import App
from mlplatform.aws import Aws
from mlplatform.facts import Endpoint, HostingKind
from mlplatform.settings import Settings


class PersonsAws(Aws):
    """The platform's own calls, with a person's rights."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        super().__init__(settings)
        self._connection = connection

    def _client(self, service: str) -> Any:
        return self._connection.client(service)


def app_of(connection: Connection) -> App:
    """What the functions work with, with the rights of the person at the terminal."""
    return App(connection.settings, PersonsAws(connection, connection.settings))


def size(connection: Connection, endpoint: Endpoint) -> str:
    """What it runs on, such as "1 of 1..5" instances; of an A/B test both models' instances, the live one's first."""
    if endpoint.kind is HostingKind.SERVERLESS:
        return f"serverless, {endpoint.memory_gb} GB x {endpoint.max_concurrency}"
    if endpoint.kind is HostingKind.REAL_TIME:
        counts = "+".join("?" if one.instance_count is None else str(one.instance_count) for one in endpoint.variants)
        return f"{counts}{_bounds(connection, endpoint)}"
    count = endpoint.instance_count
    if endpoint.kind is HostingKind.SCALE_TO_ZERO:
        count = endpoint.component.copies if endpoint.component else 0
    return f"{endpoint.kind.value}, {count or 'asleep: 0'}{_bounds(connection, endpoint)}"


def _bounds(connection: Connection, endpoint: Endpoint) -> str:
    """As they are now: what an update took with its scaling is not there."""
    resource = names.scalable_target(endpoint.name, endpoint.variant_name, kind=endpoint.kind)["ResourceId"]
    targets = connection.autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])[
        "ScalableTargets"
    ]
    return f" of {targets[0]['MinCapacity']}..{targets[0]['MaxCapacity']}" if targets else ", not scaled"
