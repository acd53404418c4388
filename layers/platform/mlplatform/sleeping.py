"""Endpoints whose instances go while nobody asks, and come back: asynchronous ones, and scale to zero. Pure.

Asynchronous ("Autoscale an asynchronous endpoint", SageMaker developer guide): requests wait in a queue, so that the
backlog for each instance is tracked, and a step policy starts the first instance when there is a backlog and none. Its
alarm, its metrics' dimensions, its cool-downs and its target of 5 are that page's.

Scale to zero ("Scale an endpoint to zero instances", same guide): the model is an inference component, on an endpoint
whose instances SageMaker keeps to what its copies need, down to none. Copies track their invocations; a step policy
starts the first one when a call found none (NoCapacityInvocationFailures). That page's alarm rings above one such call
a minute, so that a single caller would wait in vain: here it rings at one.

Both pages wake by one more (ChangeInCapacity). Callers fail for minutes while the first one starts, and keep the alarm
ringing, so that each cool-down would start one more: here the policy asks for exactly one. Its metric is of what has
nothing that serves; where another policy wants more at the same time, Application Auto Scaling follows the one that
wants most ("Target tracking scaling policies", "Multiple scaling policies", user guide).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import instances, names
from mlplatform.decisions import Request
from mlplatform.facts import DATASET_TAG, Endpoint, HostingKind
from mlplatform.kinds import Hosting
from mlplatform.settings import Settings

BACKLOG_TARGET = 5.0
_BACKLOG_COOLDOWNS_SECONDS = (300, 600)  # out, in
_WAKE_COOLDOWN_SECONDS = {HostingKind.ASYNCHRONOUS: 300, HostingKind.SCALE_TO_ZERO: 60}
_AGGREGATED = {HostingKind.ASYNCHRONOUS: "Average", HostingKind.SCALE_TO_ZERO: "Maximum"}
WAKE = "wake"


def dimensions(endpoint: Endpoint) -> list[dict[str, str]]:
    """By which its own metrics are told from others'."""
    if endpoint.kind is HostingKind.SCALE_TO_ZERO:
        return [{"Name": "InferenceComponentName", "Value": endpoint.name}]
    return [{"Name": "EndpointName", "Value": endpoint.name}]


def policies(endpoint: Endpoint, settings: Settings) -> tuple[Request, ...]:
    """PutScalingPolicy; the last of them is the step policy that wakes it."""
    target = names.scalable_target(endpoint.name, kind=endpoint.kind)
    cooldowns = _BACKLOG_COOLDOWNS_SECONDS
    if endpoint.kind is HostingKind.SCALE_TO_ZERO:
        wishes = names.hosting_wishes(endpoint.tags)
        tracked: Mapping[str, Any] = {
            "TargetValue": float(wishes.get("invocations_per_instance", settings.invocations_per_instance)),
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerInferenceComponentInvocationsPerCopy",
            },
        }
        cooldowns = (settings.scale_out_cooldown_seconds, settings.scale_in_cooldown_seconds)
    else:
        tracked = {
            "TargetValue": BACKLOG_TARGET,
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": dimensions(endpoint),
                "Statistic": "Average",
            },
        }
    return (
        {
            **target,
            "PolicyName": f"{endpoint.name}-load",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": {
                **tracked,
                "ScaleOutCooldown": cooldowns[0],
                "ScaleInCooldown": cooldowns[1],
            },
        },
        {
            **target,
            "PolicyName": wake_policy(endpoint.name),
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ExactCapacity",
                "MetricAggregationType": _AGGREGATED[endpoint.kind],
                "Cooldown": _WAKE_COOLDOWN_SECONDS[endpoint.kind],
                "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
            },
        },
    )


def wake_policy(endpoint_name: str) -> str:
    return f"{endpoint_name}-{WAKE}"


def wake_alarm(endpoint: Endpoint, settings: Settings) -> Request:
    """PutMetricAlarm for the alarm that the step policy acts on. Its AlarmActions are the policy's ARN, once there is
    one: it tells nobody, because a sleeper that wakes is as it should be."""
    queued = endpoint.kind is HostingKind.ASYNCHRONOUS
    minutes = 2 if queued else 1
    dataset = endpoint.tags[DATASET_TAG]
    return {
        "AlarmName": names.alarm(endpoint.name, WAKE),
        "AlarmDescription": (
            f"{endpoint.name} sleeps, and {'requests wait in its queue' if queued else 'was asked'}: it starts."
        ),
        "Namespace": "AWS/SageMaker",
        "MetricName": "HasBacklogWithoutCapacity" if queued else "NoCapacityInvocationFailures",
        "Dimensions": dimensions(endpoint),
        "Statistic": "Average" if queued else "Sum",
        "Period": 60,
        "EvaluationPeriods": minutes,
        "DatapointsToAlarm": minutes,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": names.tag_list(names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset)),
    }


# ---- inference components ----


def component_request(endpoint: Endpoint, model: str, wanted: Hosting, settings: Settings) -> dict[str, Any]:
    """CreateInferenceComponent: it has the endpoint's name, so that whoever calls the one knows the other.

    One copy at first, since SageMaker refuses none (seen in July 2026; the service model allows it).
    """
    dataset = endpoint.tags[DATASET_TAG]
    return {
        "InferenceComponentName": endpoint.name,
        "EndpointName": endpoint.name,
        "VariantName": names.VARIANT,
        "Specification": specification(model, wanted),
        "RuntimeConfig": {"CopyCount": 1},
        "Tags": names.tag_list(names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset)),
    }


def component_update(endpoint: Endpoint, model: str, wanted: Hosting) -> dict[str, Any]:
    """UpdateInferenceComponent: another model in the same place. Its copies, or that it sleeps, stay as they are."""
    return {"InferenceComponentName": endpoint.name, "Specification": specification(model, wanted)}


def specification(model: str, wanted: Hosting) -> dict[str, Any]:
    """What a copy is and needs. The memory is reserved: what an instance has left decides how many copies it takes."""
    need: dict[str, Any] = {"NumberOfCpuCoresRequired": 1.0, "MinMemoryRequiredInMb": wanted.reserved_mib}
    if instances.is_gpu(wanted.instance_type):
        need["NumberOfAcceleratorDevicesRequired"] = 1.0
    return {"ModelName": model, "ComputeResourceRequirements": need}


def asleep(endpoint: Endpoint) -> str:
    """A clause on what callers see of an endpoint that sleeps; empty where it is awake."""
    if endpoint.kind is HostingKind.ASYNCHRONOUS and endpoint.instance_count == 0:
        return "it sleeps: requests wait in its queue for the minutes in which an instance starts, and none is lost"
    component = endpoint.component
    if component is not None and component.copies == 0 and component.status == "InService":
        return "it sleeps: the first call wakes it, and calls fail for the minutes in which an instance starts"
    return ""
