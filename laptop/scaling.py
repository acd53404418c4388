"""Application Auto Scaling of SageMaker variants, and the heartbeat that metrics and alarms run on.

Follows the Application Auto Scaling user guide ("Target tracking scaling policies") and the SageMaker developer guide
("Automatically scale Amazon SageMaker AI models"): a target tracking policy owns two alarms, three periods over the
target to scale out and fifteen periods under 90 % of it to scale in; scale-out takes the largest capacity that any
policy wants, scale-in waits until all policies agree; nothing leaves the bounds of the scalable target.

`MINUTE_SECONDS`, from laptop/metrics.py: a CloudWatch minute takes 2 s here, so "three minutes" are 6 s and a
cooldown of 60 s is 2 s. A target of 1,000 invocations per minute is met by 1,000 requests in such a minute.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from laptop import dashboard
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.alarms import Alarms
from laptop.errors import ServiceError
from laptop.hosting import Endpoint, Hosting, Variant
from laptop.metrics import (
    MINUTE_SECONDS,
    MetricStore,
    key,
    merged,
    put_invocations,
    put_queues,
    put_serverless,
    put_utilization,
)

__all__ = ["MINUTE_SECONDS", "Scaling", "install"]

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
OUT_PERIODS, IN_PERIODS = 3, 15
SCALE_IN_SHARE = 0.9  # the low alarm's threshold, as a share of the target
DEFAULT_COOLDOWN_SECONDS = 300
KEPT_ACTIVITIES = 500
# Predefined metric -> metric name and statistic (PredefinedMetricSpecification, and the developer guide's
# "Target metric": average number of times per minute that each instance for a variant is invoked).
PREDEFINED = {"SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum")}


@dataclass(frozen=True)
class TrackedMetric:
    """What a target tracking policy looks at."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    unit: str | None
    target: float


def tracked_metric(policy: Any) -> TrackedMetric:
    """The metric of moto's policy object. Raises ServiceError for one that the laptop does not measure."""
    configuration = policy.target_tracking_scaling_policy_configuration or {}
    target = float(configuration["TargetValue"])
    _, endpoint, _, variant = policy.resource_id.split("/")
    if "PredefinedMetricSpecification" in configuration:
        kind = configuration["PredefinedMetricSpecification"]["PredefinedMetricType"]
        if kind not in PREDEFINED:
            raise ServiceError("ValidationException", f"The laptop does not measure {kind}.")
        name, statistic = PREDEFINED[kind]
        dimensions = (("EndpointName", endpoint), ("VariantName", variant))
        return TrackedMetric("AWS/SageMaker", name, dimensions, statistic, None, target)
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


class Scaling:
    """The scalable targets' operations and the thread that acts on the policies."""

    def __init__(self, account: Account, hosting: Hosting) -> None:
        self.account = account
        self.hosting = hosting
        self.store = MetricStore()
        self.alarms = Alarms(account, self.store)
        self.activities: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        # resource id -> monotonic time of the last change in that direction
        self._last_out: dict[str, float] = {}
        self._last_change: dict[str, float] = {}
        self._closed = threading.Event()
        hosting.scaled_variants = self.scaled_variants
        hosting.forget_scaling = self.forget
        account.operations.setdefault("application-autoscaling", {}).update(
            {
                "RegisterScalableTarget": self.register_scalable_target,
                "DeregisterScalableTarget": self.deregister_scalable_target,
                "PutScalingPolicy": self.put_scaling_policy,
                "DeleteScalingPolicy": self.delete_scaling_policy,
                "DescribeScalingActivities": self.describe_scaling_activities,
                "TagResource": self.tag_resource,
                "UntagResource": self.untag_resource,
                "ListTagsForResource": self.list_tags,
            }
        )

    @property
    def backend(self) -> Any:
        """moto's store of scalable targets and policies; its Describe operations serve them."""
        from moto.applicationautoscaling.models import applicationautoscaling_backends

        return applicationautoscaling_backends[ACCOUNT_ID][REGION]

    def _targets(self) -> dict[str, Any]:
        return dict(self.backend.targets.get(DIMENSION, {}))

    def _policies(self, resource: str) -> list[Any]:
        return [
            policy
            for policy in list(self.backend.policies.values())
            if policy.resource_id == resource
            and policy.scalable_dimension == DIMENSION
            and policy.policy_type == "TargetTrackingScaling"
        ]

    # --- operations -----------------------------------------------------------------------------------------------

    def register_scalable_target(self, request: dict[str, Any]) -> dict[str, Any]:
        namespace, resource = request["ServiceNamespace"], request["ResourceId"]
        dimension = request["ScalableDimension"]
        low, high = request.get("MinCapacity"), request.get("MaxCapacity")
        known = self.backend.targets.get(dimension, {}).get(resource)
        if known is None and (low is None or high is None):
            raise ServiceError("ValidationException", "MinCapacity and MaxCapacity are required to register a target.")
        low = known.min_capacity if low is None else low
        high = known.max_capacity if high is None else high
        if low > high:
            raise ServiceError("ValidationException", "Maximum capacity cannot be less than minimum capacity.")
        if namespace == "sagemaker":
            self._check_variant(resource, dimension, low)
        target = self.backend.register_scalable_target(
            namespace,
            resource,
            dimension,
            low,
            high,
            request.get("RoleARN") or _service_role(),
            _suspended(request, known),
        )
        self.account.tags.setdefault(target.arn, dict(request.get("Tags") or {}))
        if namespace == "sagemaker":
            self._clamp(resource, low, high)
        return {"ScalableTargetARN": target.arn}

    def _check_variant(self, resource: str, dimension: str, low: int) -> None:
        if dimension != DIMENSION:
            raise ServiceError("ValidationException", f"The laptop scales {DIMENSION} only, not {dimension}.")
        found = self._variant(resource)
        if found is None:
            # a variant that does not exist can't be described by the scaling service's role
            raise ServiceError("ValidationException", f"SageMaker variant not found: {resource}.")
        if found[1].serverless is not None:
            raise ServiceError("ValidationException", "A serverless variant has no instances to scale.")
        if found[1].instance_type.startswith("ml.t2."):
            raise ServiceError(
                "ValidationException",
                f"Autoscaling is not supported for burstable instances: {found[1].instance_type}.",
            )
        if low < 1:
            raise ServiceError("ValidationException", "The minimum capacity of a real-time variant is 1.")

    def _variant(self, resource: str) -> tuple[Endpoint, Variant] | None:
        parts = resource.split("/")
        if len(parts) != 4 or parts[0] != "endpoint" or parts[2] != "variant":
            raise ServiceError("ValidationException", f"Unsupported resource ID: {resource}")
        endpoint = self.hosting.endpoints.get(parts[1])
        for variant in endpoint.variants if endpoint else ():
            if variant.name == parts[3] and endpoint is not None:
                return endpoint, variant
        return None

    def _clamp(self, resource: str, low: int, high: int) -> None:
        """RegisterScalableTarget: a current capacity outside the new bounds is brought inside at once."""
        found = self._variant(resource)
        if found is None or found[0].status != "InService":
            return
        now = found[1].desired_count
        wanted = min(max(now, low), high)
        if wanted != now:
            bound = f"minimum capacity was set to {low}" if wanted > now else f"maximum capacity was set to {high}"
            self._set(resource, found, wanted, cause=bound)

    def deregister_scalable_target(self, request: dict[str, Any]) -> dict[str, Any]:
        namespace, resource = request["ServiceNamespace"], request["ResourceId"]
        dimension = request["ScalableDimension"]
        if resource not in self.backend.targets.get(dimension, {}):
            raise ServiceError(
                "ObjectNotFoundException",
                f"No scalable target found for service namespace: {namespace}, resource ID: {resource}, "
                f"scalable dimension: {dimension}",
            )
        self._deregister(resource, dimension)
        return {}

    def _deregister(self, resource: str, dimension: str) -> None:
        """ "Deregistering a scalable target deletes the scaling policies that are associated with it"."""
        for name, policy in list(self.backend.policies.items()):
            if policy.resource_id == resource and policy.scalable_dimension == dimension:
                policy.delete_alarms(ACCOUNT_ID, REGION)
                self.backend.policies.pop(name, None)
        self.backend.scheduled_actions = [
            action
            for action in self.backend.scheduled_actions
            if (action.resource_id, action.scalable_dimension) != (resource, dimension)
        ]
        target = self.backend.targets.get(dimension, {}).pop(resource, None)
        if target is not None:
            self.account.tags.pop(target.arn, None)
        self._last_out.pop(resource, None)
        self._last_change.pop(resource, None)

    def put_scaling_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        namespace, resource = request["ServiceNamespace"], request["ResourceId"]
        dimension = request["ScalableDimension"]
        if resource not in self.backend.targets.get(dimension, {}):
            raise ServiceError(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {namespace}, resource ID: {resource}, "
                f"scalable dimension: {dimension}",
            )
        if namespace == "sagemaker" and request.get("PolicyType") != "TargetTrackingScaling":
            raise ServiceError("ValidationException", "The laptop runs target tracking policies only.")
        with self._lock:
            known = next((one for one in self._policies(resource) if one.policy_name == request["PolicyName"]), None)
            body = request.get("TargetTrackingScalingPolicyConfiguration") or request.get(
                "StepScalingPolicyConfiguration"
            )
            policy = self.backend.put_scaling_policy(
                request["PolicyName"], namespace, resource, dimension, body, request.get("PolicyType")
            )
            same = known is not None and known.target_tracking_scaling_policy_configuration == body
            if known is not None:
                policy.policy_arn = known.policy_arn  # a policy that is put again stays the same policy
                if not same:
                    known.delete_alarms(ACCOUNT_ID, REGION)
            if same and known is not None:
                policy.alarms = known.alarms
            elif namespace == "sagemaker":
                try:
                    policy.alarms = self._make_alarms(policy)
                except ServiceError:
                    self.backend.delete_scaling_policy(request["PolicyName"], namespace, resource, dimension)
                    raise
        alarms = [{"AlarmName": alarm.name, "AlarmARN": alarm.alarm_arn} for alarm in policy.alarms]
        return {"PolicyARN": policy.policy_arn, "Alarms": alarms}

    def _make_alarms(self, policy: Any) -> list[Any]:
        from moto.cloudwatch.models import cloudwatch_backends

        metric = tracked_metric(policy)
        alarms = []
        configuration = policy.target_tracking_scaling_policy_configuration
        for side, periods, operator, threshold in (
            ("AlarmHigh", OUT_PERIODS, "GreaterThanThreshold", metric.target),
            ("AlarmLow", IN_PERIODS, "LessThanThreshold", metric.target * SCALE_IN_SHARE),
        ):
            if side == "AlarmLow" and configuration.get("DisableScaleIn"):
                continue
            alarms.append(
                cloudwatch_backends[ACCOUNT_ID][REGION].put_metric_alarm(
                    name=f"TargetTracking-{policy.resource_id}-{side}-{uuid.uuid4()}",
                    namespace=metric.namespace,
                    metric_name=metric.name,
                    metric_data_queries=[],
                    comparison_operator=operator,
                    evaluation_periods=periods,
                    period=60,
                    threshold=threshold,
                    statistic=metric.statistic,
                    unit=metric.unit,
                    description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.policy_arn}.",
                    dimensions=[{"Name": name, "Value": value} for name, value in metric.dimensions],
                    alarm_actions=[policy.policy_arn],
                )
            )
        return alarms

    def delete_scaling_policy(self, request: dict[str, Any]) -> dict[str, Any]:
        names = ("PolicyName", "ServiceNamespace", "ResourceId", "ScalableDimension")
        name, namespace, resource, dimension = (request[one] for one in names)
        keyed = f"{namespace}\t{resource}\t{dimension}\t{name}"
        if keyed not in self.backend.policies:
            raise ServiceError(
                "ObjectNotFoundException",
                f"No scaling policy found for service namespace: {namespace}, resource ID: {resource}, "
                f"scalable dimension: {dimension}, policy name: {name}",
            )
        self.backend.delete_scaling_policy(name, namespace, resource, dimension)
        return {}

    def describe_scaling_activities(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = [
                dict(activity)
                for activity in reversed(self.activities)
                if activity["ServiceNamespace"] == request["ServiceNamespace"]
                and request.get("ResourceId") in (None, activity["ResourceId"])
                and request.get("ScalableDimension") in (None, activity["ScalableDimension"])
            ]
        begin = int(request.get("NextToken") or 0)
        end = begin + (request.get("MaxResults") or 50)
        page: dict[str, Any] = {"ScalingActivities": found[begin:end]}
        if end < len(found):
            page["NextToken"] = str(end)
        return page

    def _tags(self, request: Mapping[str, Any]) -> dict[str, str]:
        where = request["ResourceARN"]
        if where not in self.account.tags:
            raise ServiceError("ResourceNotFoundException", f"No scalable target found for ARN: {where}")
        return self.account.tags[where]

    def tag_resource(self, request: dict[str, Any]) -> dict[str, Any]:
        self._tags(request).update(request["Tags"])
        return {}

    def untag_resource(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self._tags(request)
        for name in request["TagKeys"]:
            tags.pop(name, None)
        return {}

    def list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": dict(self._tags(request))}

    # --- what hosting asks ----------------------------------------------------------------------------------------

    def scaled_variants(self, endpoint: str) -> set[str]:
        prefix = f"endpoint/{endpoint}/variant/"
        return {resource[len(prefix) :] for resource in self._targets() if resource.startswith(prefix)}

    def forget(self, endpoint: str) -> None:
        """DeleteEndpoint deregisters the scalable targets of the endpoint's variants."""
        for variant in self.scaled_variants(endpoint):
            self._deregister(f"endpoint/{endpoint}/variant/{variant}", DIMENSION)

    # --- the heartbeat --------------------------------------------------------------------------------------------

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="cloudwatch-minutes").start()
        self.account.closers.append(self._closed.set)

    def _run(self) -> None:
        due = time.monotonic() + MINUTE_SECONDS
        while not self._closed.wait(max(due - time.monotonic(), 0.0)):
            due = max(due + MINUTE_SECONDS, time.monotonic())
            try:
                self.minute()
            except Exception as error:  # the heartbeat must go on
                print(f"scaling: {type(error).__name__}: {error}", file=sys.stderr)

    def minute(self) -> None:
        """Ends a CloudWatch minute: writes its metrics, evaluates the alarms, scales."""
        now = self.account.clock.now()
        for endpoint in list(self.hosting.endpoints.values()):
            for name in dict.fromkeys(variant.name for variant in endpoint.fleets):
                fleets = [variant for variant in endpoint.fleets if variant.name == name]
                on_instances = [fleet for fleet in fleets if fleet.serverless is None]
                for fleet in fleets:
                    if fleet.serverless is not None:
                        dimensions = {"EndpointName": endpoint.name, "VariantName": name}
                        put_serverless(self.store, dimensions, fleet.serverless.take_counters(), now)
                taken = [(fleet, fleet.counters.take()) for fleet in fleets]
                for fleet, counters in taken:
                    # "after the new fleet starts receiving traffic" (Auto-Rollback Configuration, developer guide)
                    if counters.invocations and fleet.config:
                        put_invocations(
                            self.store,
                            {"EndpointName": endpoint.name, "VariantName": name, "EndpointConfigName": fleet.config},
                            counters,
                            instances=len(fleet.fleet) if fleet.serverless is None else None,
                            at=now,
                        )
                put_invocations(
                    self.store,
                    {"EndpointName": endpoint.name, "VariantName": name},
                    merged(counters for _, counters in taken),
                    instances=sum(len(fleet.fleet) for fleet in on_instances) if on_instances else None,
                    at=now,
                )
                usage = [instance.usage() for fleet in fleets for instance in fleet.fleet]
                put_utilization(self.store, endpoint.name, name, usage, now)
        put_queues(self.store, now)
        self.store.advance()
        self.alarms.evaluate()
        for resource, target in self._targets().items():
            if resource.startswith("endpoint/"):
                self._scale(resource, target)

    def _scale(self, resource: str, target: Any) -> None:
        found = self._variant(resource)
        if found is None or found[0].status != "InService":
            return
        now = found[1].desired_count
        policies = self._policies(resource)
        suspended: Mapping[str, Any] = target.suspended_state or {}
        out, into = [], []
        for policy in policies:
            states = {"High" if "-AlarmHigh-" in a.name else "Low": a for a in policy.alarms}
            if states["High"].state_value == "ALARM":
                out.append((self._wanted(policy, now), policy, states["High"]))
            if "Low" in states:
                low = states["Low"].state_value == "ALARM"
                into.append((self._wanted(policy, now) if low else now, policy, states["Low"]))
        if out and not suspended.get("DynamicScalingOutSuspended"):
            wanted, policy, alarm = max(out, key=lambda one: one[0])
            wanted = min(wanted, target.max_capacity)
            if wanted > now and self._cooled(self._last_out, resource, policy, "ScaleOutCooldown"):
                self._set(resource, found, wanted, cause=_cause(alarm, policy))
        elif into and not out and not suspended.get("DynamicScalingInSuspended"):
            wanted, policy, alarm = max(into, key=lambda one: one[0])
            wanted = max(wanted, target.min_capacity)
            if wanted < now and self._cooled(self._last_change, resource, policy, "ScaleInCooldown"):
                self._set(resource, found, wanted, cause=_cause(alarm, policy))

    def _wanted(self, policy: Any, now: int) -> int:
        """The count at which the metric, spread over that many instances, meets its target."""
        metric = tracked_metric(policy)
        (newest,) = self.store.periods(key(metric.namespace, metric.name, metric.dimensions), 1, 1)
        if newest is None:
            return now
        return max(math.ceil(now * newest.value(metric.statistic) / metric.target), 1)

    @staticmethod
    def _cooled(last: Mapping[str, float], resource: str, policy: Any, name: str) -> bool:
        configuration = policy.target_tracking_scaling_policy_configuration
        cooldown_seconds = configuration.get(name, DEFAULT_COOLDOWN_SECONDS) * MINUTE_SECONDS / 60
        return bool(time.monotonic() - last.get(resource, -math.inf) >= cooldown_seconds)

    def _set(self, resource: str, found: tuple[Endpoint, Variant], wanted: int, *, cause: str) -> None:
        endpoint, variant = found
        before, began = variant.desired_count, self.account.clock.now()
        change = {"VariantName": variant.name, "DesiredInstanceCount": wanted}
        try:
            self.hosting.update_weights_and_capacities(
                {"EndpointName": endpoint.name, "DesiredWeightsAndCapacities": [change]}
            )
        except ServiceError:
            return  # an update has just begun; the next minute looks again
        self._last_change[resource] = time.monotonic()
        if wanted > before:
            self._last_out[resource] = self._last_change[resource]
        self.account.journal.record(
            "scaling", endpoint=endpoint.name, variant=variant.name, before=before, after=wanted, reason=cause
        )
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": DIMENSION,
            "Description": f"Setting desired instance count to {wanted}.",
            "Cause": cause,
            "StartTime": began,
            "StatusCode": "InProgress",
            "StatusMessage": f"Successfully set desired instance count to {wanted}. Waiting for change to be fulfilled "
            "by sagemaker.",
        }
        with self._lock:
            self.activities.append(activity)
            del self.activities[:-KEPT_ACTIVITIES]
        threading.Thread(target=self._finish, args=(activity, endpoint, wanted), daemon=True).start()

    def _finish(self, activity: dict[str, Any], endpoint: Endpoint, wanted: int) -> None:
        while endpoint.status == "Updating" and not self._closed.wait(0.05):
            pass
        ended: datetime = self.account.clock.now()
        with self._lock:
            if endpoint.failure_reason:
                activity.update(StatusCode="Failed", StatusMessage=endpoint.failure_reason, EndTime=ended)
            else:
                told = (
                    f"Successfully set desired instance count to {wanted}. Change successfully fulfilled by sagemaker."
                )
                activity.update(StatusCode="Successful", StatusMessage=told, EndTime=ended)


def _cause(alarm: Any, policy: Any) -> str:
    return f"monitor alarm {alarm.name} in state ALARM triggered policy {policy.policy_name}"


def _service_role() -> str:
    name = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    return f"arn:aws:iam::{ACCOUNT_ID}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/{name}"


def _suspended(request: Mapping[str, Any], known: Any) -> dict[str, bool]:
    off = {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": False,
    }
    before = (known.suspended_state or {}) if known is not None else {}
    return {**off, **before, **(request.get("SuspendedState") or {})}


def install(account: Account) -> Scaling:
    """Registers the scaling operations and starts the heartbeat. Needs laptop/hosting.py installed before."""
    hosting = account.operations["sagemaker"]["CreateEndpoint"].__self__  # type: ignore[attr-defined]
    assert isinstance(hosting, Hosting)
    scaling = Scaling(account, hosting)
    scaling.start()
    account.dashboard = lambda name: dashboard.page(account, scaling.store, name)
    return scaling
