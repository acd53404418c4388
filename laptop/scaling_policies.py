"""What a scaling policy wants, worked out from its configuration and a metric: no state, no effect.

Application Auto Scaling user guide, "Target tracking scaling policies" and "Step scaling policies"; the predefined
metrics are those of PredefinedMetricSpecification (API reference) as the SageMaker developer guide explains them
("Define a scaling policy").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laptop.errors import ServiceError

VARIANT_DIMENSION = "sagemaker:variant:DesiredInstanceCount"
COMPONENT_DIMENSION = "sagemaker:inference-component:DesiredCopyCount"
CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
# Periods of a minute over the target until it scales out. A high-resolution metric comes every ten seconds on AWS; here
# it comes with the minute, which is less than AWS's three periods of it take.
OUT_PERIODS, OUT_PERIODS_OF_HIGH_RESOLUTION = 3, 1
# Predefined metric -> the scalable dimension it is for, the metric's name and statistic: the average number of times
# per minute that each instance of a variant, or each copy of an inference component, is invoked; and how many requests
# a variant's model has at a time.
PREDEFINED = {
    "SageMakerVariantInvocationsPerInstance": (VARIANT_DIMENSION, "InvocationsPerInstance", "Sum"),
    CONCURRENCY: (VARIANT_DIMENSION, "ConcurrentRequestsPerModel", "Average"),
    "SageMakerInferenceComponentInvocationsPerCopy": (COMPONENT_DIMENSION, "InvocationsPerCopy", "Sum"),
}


@dataclass(frozen=True)
class TrackedMetric:
    """What a target tracking policy looks at."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    unit: str | None
    target: float
    out_periods: int = OUT_PERIODS

    def wanted(self, now: int, value: float) -> int:
        """The capacity at which the metric, spread over that much of it, meets its target."""
        return math.ceil(now * value / self.target)


def tracked_metric(policy: Any) -> TrackedMetric:
    """The metric of moto's policy object. Raises ServiceError for one that the laptop does not measure."""
    configuration = policy.target_tracking_scaling_policy_configuration or {}
    target = float(configuration["TargetValue"])
    if "PredefinedMetricSpecification" in configuration:
        kind = configuration["PredefinedMetricSpecification"]["PredefinedMetricType"]
        dimension, name, statistic = PREDEFINED.get(kind, ("", "", ""))
        if dimension != policy.scalable_dimension:
            raise ServiceError(
                "ValidationException", f"The laptop does not measure {kind} for {policy.scalable_dimension}."
            )
        periods = OUT_PERIODS_OF_HIGH_RESOLUTION if kind == CONCURRENCY else OUT_PERIODS
        return TrackedMetric("AWS/SageMaker", name, _dimensions(policy.resource_id), statistic, None, target, periods)
    custom = configuration.get("CustomizedMetricSpecification", {})
    if not {"MetricName", "Namespace", "Statistic"} <= custom.keys():
        raise ServiceError(
            "ValidationException",
            "The laptop tracks a predefined metric, or a customized one with Namespace, MetricName and Statistic.",
        )
    return TrackedMetric(
        custom["Namespace"],
        custom["MetricName"],
        tuple((one["Name"], one["Value"]) for one in custom.get("Dimensions", [])),
        custom["Statistic"],
        custom.get("Unit"),
        target,
    )


def _dimensions(resource_id: str) -> tuple[tuple[str, str], ...]:
    parts = resource_id.split("/")
    if parts[0] == "inference-component":
        return (("InferenceComponentName", parts[1]),)
    return (("EndpointName", parts[1]), ("VariantName", parts[3]))


def check_steps(configuration: Mapping[str, Any]) -> None:
    """Raises ServiceError for a StepScalingPolicyConfiguration that Application Auto Scaling refuses."""
    if not configuration.get("StepAdjustments"):
        raise ServiceError("ValidationException", "At least one step adjustment must be specified.")
    if not configuration.get("AdjustmentType"):
        raise ServiceError("ValidationException", "Adjustment type must be specified.")
    spans = sorted(
        (one.get("MetricIntervalLowerBound", -math.inf), one.get("MetricIntervalUpperBound", math.inf))
        for one in configuration["StepAdjustments"]
    )
    for (_, end), (begin, _) in itertools.pairwise(spans):
        if end != begin:
            problem = "overlap" if end > begin else "have a gap between them"
            raise ServiceError("ValidationException", f"The step adjustment intervals can't {problem}.")


def stepped(configuration: Mapping[str, Any], now: int, breach: float) -> int:
    """The capacity that the steps make of `now`, when the metric is `breach` above the alarm's threshold.

    The lower bound of a step belongs to it above the threshold, the upper one below it ("Step adjustments"). `now` if
    no step is meant.
    """
    for step in configuration["StepAdjustments"]:
        low = step.get("MetricIntervalLowerBound", -math.inf)
        high = step.get("MetricIntervalUpperBound", math.inf)
        if (low <= breach < high) if breach >= 0 else (low < breach <= high):
            return _adjusted(configuration, now, step["ScalingAdjustment"])
    return now


def _adjusted(configuration: Mapping[str, Any], now: int, adjustment: int) -> int:
    if configuration["AdjustmentType"] == "ExactCapacity":
        return adjustment
    if configuration["AdjustmentType"] == "ChangeInCapacity":
        return now + adjustment
    change = now * adjustment / 100
    # "values greater than 1 are rounded down, between 0 and 1 to 1", and so on with the other sign
    whole: int = math.floor(abs(change)) or (1 if change else 0)
    whole = max(whole, int(configuration.get("MinAdjustmentMagnitude", 0)))
    return now + (whole if adjustment > 0 else -whole)
