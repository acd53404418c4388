"""How an update moves traffic from the old fleet of an endpoint to the new one, as its DeploymentConfig says.

UpdateEndpoint (SageMaker API reference) and the developer guide ("Use canary traffic shifting", "Use all at once
traffic shifting", "Auto-Rollback Configuration and Monitoring"). The waits pass at the laptop's pace: 60 s are one
CloudWatch minute here (laptop/metrics.py), so that an alarm has as many minutes to ring in as on AWS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laptop.account import ACCOUNT_ID, REGION
from laptop.errors import ServiceError
from laptop.metrics import MINUTE_SECONDS

_LONGEST_CANARY = 0.5  # of the new fleet


@dataclass(frozen=True)
class Step:
    """One move of the traffic, and the watch that follows it."""

    share: float  # of the traffic that the new fleet gets, 0 to 1
    capacity: str  # as VariantStatus tells of it
    wait_seconds: int  # AWS's
    wait_name: str

    @property
    def laptop_seconds(self) -> float:
        return self.wait_seconds * MINUTE_SECONDS / 60


@dataclass(frozen=True)
class Deployment:
    """A DeploymentConfig: the moves, and the alarms that take them back."""

    steps: tuple[Step, ...]
    alarms: tuple[str, ...] = ()


# Of a serverless variant: the deployment guardrails are for real-time and asynchronous endpoints (developer guide).
ALL_AT_ONCE = Deployment((Step(1.0, "full capacity", 0, "TerminationWaitInSeconds"),))


def read_deployment(config: Mapping[str, Any] | None, instances: int) -> Deployment:
    """For a fleet of so many instances. Raises ServiceError for what SageMaker refuses, or the laptop does not run."""
    config = config or {}
    if "RollingUpdatePolicy" in config:
        raise ServiceError("ValidationException", "The laptop runs blue/green updates, not a RollingUpdatePolicy.")
    policy = config.get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE"})
    termination = policy.get("TerminationWaitInSeconds", 0)
    wait = routing.get("WaitIntervalInSeconds", 0)
    alarms = tuple(one["AlarmName"] for one in config.get("AutoRollbackConfiguration", {}).get("Alarms", ()))
    whole = Step(1.0, f"full capacity of {instances} instance(s)", termination, "TerminationWaitInSeconds")
    longest = policy.get("MaximumExecutionTimeoutInSeconds")
    if longest is not None and longest <= wait + termination:
        raise ServiceError(
            "ValidationException",
            f"MaximumExecutionTimeoutInSeconds {longest} must be larger than the waits of the deployment together.",
        )
    if routing["Type"] == "ALL_AT_ONCE":
        return Deployment((whole,), alarms)
    if routing["Type"] != "CANARY":
        raise ServiceError(
            "ValidationException", f"The laptop shifts traffic ALL_AT_ONCE or CANARY, not {routing['Type']}."
        )
    if "CanarySize" not in routing:
        raise ServiceError("ValidationException", "CanarySize is required for traffic routing of the type CANARY.")
    size = routing["CanarySize"]
    asked = size["Value"] / 100 if size["Type"] == "CAPACITY_PERCENT" else size["Value"] / instances
    canary = max(math.floor(asked * instances), 1)
    if asked > _LONGEST_CANARY or canary / instances > _LONGEST_CANARY:
        raise ServiceError(
            "ValidationException",
            f"CanarySize {size['Value']} ({size['Type']}) must be at most 50% of the fleet's {instances} instance(s).",
        )
    first = Step(canary / instances, f"canary capacity of {canary} instance(s)", wait, "WaitIntervalInSeconds")
    return Deployment((first, whole), alarms)


def missing_alarms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that CloudWatch does not have."""
    there = _alarms()
    return tuple(name for name in names if name not in there)


def ringing(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those in ALARM now."""
    there = _alarms()
    return tuple(name for name in names if name in there and there[name].state_value == "ALARM")


def _alarms() -> dict[str, Any]:
    from moto.cloudwatch.models import cloudwatch_backends

    return dict(cloudwatch_backends[ACCOUNT_ID][REGION].alarms)
