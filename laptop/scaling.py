"""Application Auto Scaling of what SageMaker hosts, and the heartbeat that metrics and alarms run on.

Follows the Application Auto Scaling user guide ("Target tracking scaling policies", "Step scaling policies") and the
SageMaker developer guide ("Automatically scale Amazon SageMaker AI models"): a target tracking policy owns two alarms,
three periods over the target to scale out and fifteen periods under 90 % of it to scale in; a step scaling policy acts
in each minute in which an alarm with its ARN among the actions is in ALARM; scale-out takes the largest capacity that
any policy wants, scale-in waits until all target tracking policies agree; nothing leaves the bounds of the target.

`MINUTE_SECONDS`, from laptop/metrics.py: a CloudWatch minute takes 2 s here, so "three minutes" are 6 s and a
cooldown of 60 s is 2 s. A target of 1,000 invocations per minute is met by 1,000 requests in such a minute.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from laptop import dashboard, endpoint_metrics, moto_app, scalable
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.alarms import Alarms
from laptop.errors import ServiceError
from laptop.hosting import Hosting
from laptop.metrics import MINUTE_SECONDS, MetricStore, key, put_queues
from laptop.scaling_policies import COMPONENT_DIMENSION, VARIANT_DIMENSION, check_steps, stepped, tracked_metric

__all__ = ["MINUTE_SECONDS", "Scaling", "install"]

_DIMENSIONS = (VARIANT_DIMENSION, COMPONENT_DIMENSION)
IN_PERIODS = 15
SCALE_IN_SHARE = 0.9  # the low alarm's threshold, as a share of the target
DEFAULT_COOLDOWN_SECONDS = 300
KEPT_ACTIVITIES = 500
# What a policy wants: the capacity, why, and the seconds that it waits after a change (None: the default cooldown).
_Wish = tuple[int, str, int | None]


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

    def _targets(self) -> list[Any]:
        """All scalable targets of SageMaker, moto's objects."""
        return [
            target for dimension in _DIMENSIONS for target in list(self.backend.targets.get(dimension, {}).values())
        ]

    def _policies(self, resource: str, kind: str) -> list[Any]:
        return [
            policy
            for policy in list(self.backend.policies.values())
            if policy.resource_id == resource
            and policy.scalable_dimension in _DIMENSIONS
            and policy.policy_type == kind
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
            self._check(resource, dimension, low)
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
            self._clamp(target)
        return {"ScalableTargetARN": target.arn}

    def _check(self, resource: str, dimension: str, low: int) -> None:
        found = scalable.find(self.hosting, resource, dimension)
        if found is None:
            # what does not exist can't be described by the scaling service's role
            kind = "variant" if dimension == VARIANT_DIMENSION else "inference component"
            raise ServiceError("ValidationException", f"SageMaker {kind} not found: {resource}.")
        if found.refused:
            raise ServiceError("ValidationException", found.refused)
        if low < found.lowest:
            raise ServiceError("ValidationException", "The minimum capacity of a real-time variant is 1.")

    def _clamp(self, target: Any) -> None:
        """RegisterScalableTarget: a current capacity outside the new bounds is brought inside at once."""
        found = scalable.find(self.hosting, target.resource_id, target.scalable_dimension)
        if found is None or not found.settled:
            return
        low, high = target.min_capacity, target.max_capacity
        wanted = min(max(found.desired, low), high)
        if wanted != found.desired:
            bound = (
                f"minimum capacity was set to {low}"
                if wanted > found.desired
                else f"maximum capacity was set to {high}"
            )
            self._set(target, found, wanted, cause=bound)

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
        kind = request.get("PolicyType") or "StepScaling"  # the API reference's default
        if namespace == "sagemaker" and kind == "StepScaling":
            check_steps(request.get("StepScalingPolicyConfiguration") or {})
        elif namespace == "sagemaker" and kind != "TargetTrackingScaling":
            raise ServiceError("ValidationException", f"The laptop does not run {kind} policies.")
        with self._lock:
            known = next(
                (one for one in self._policies(resource, kind) if one.policy_name == request["PolicyName"]), None
            )
            body = request.get("TargetTrackingScalingPolicyConfiguration") or request.get(
                "StepScalingPolicyConfiguration"
            )
            policy = self.backend.put_scaling_policy(request["PolicyName"], namespace, resource, dimension, body, kind)
            same = known is not None and known.target_tracking_scaling_policy_configuration == body
            if known is not None:
                policy.policy_arn = known.policy_arn  # a policy that is put again stays the same policy
                if not same:
                    known.delete_alarms(ACCOUNT_ID, REGION)
            if same and known is not None:
                policy.alarms = known.alarms
            elif namespace == "sagemaker" and kind == "TargetTrackingScaling":
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
            ("AlarmHigh", metric.out_periods, "GreaterThanThreshold", metric.target),
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
        resources = (target.resource_id for target in self._targets())
        return {resource[len(prefix) :] for resource in resources if resource.startswith(prefix)}

    def forget(self, endpoint: str) -> None:
        """DeleteEndpoint deregisters the scalable targets of the endpoint's variants."""
        for variant in self.scaled_variants(endpoint):
            self._deregister(f"endpoint/{endpoint}/variant/{variant}", VARIANT_DIMENSION)

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
        endpoint_metrics.put(self.store, self.hosting, now)
        put_queues(self.store, now)
        self.store.advance()
        self.alarms.evaluate()
        for target in self._targets():
            self._scale(target)

    def _scale(self, target: Any) -> None:
        resource = target.resource_id
        found = scalable.find(self.hosting, resource, target.scalable_dimension)
        if found is None or not found.settled:
            return
        now = found.desired
        suspended: Mapping[str, Any] = target.suspended_state or {}
        out: list[_Wish] = []
        into: list[_Wish] = []
        agreed: list[_Wish] = []
        for policy in self._policies(resource, "TargetTrackingScaling"):
            states = {"High" if "-AlarmHigh-" in a.name else "Low": a for a in policy.alarms}
            configuration = policy.target_tracking_scaling_policy_configuration
            if states["High"].state_value == "ALARM":
                wanted = self._wanted(policy, now)
                out.append((wanted, _cause(states["High"], policy), configuration.get("ScaleOutCooldown")))
            if "Low" in states:
                low = states["Low"].state_value == "ALARM"
                wanted = max(self._wanted(policy, now), found.lowest) if low else now
                agreed.append((wanted, _cause(states["Low"], policy), configuration.get("ScaleInCooldown")))
        for policy in self._policies(resource, "StepScaling"):
            configuration = policy.step_scaling_policy_configuration
            for alarm, breach in self._breaches(policy):
                wanted = stepped(configuration, now, breach)
                where = out if wanted > now else into
                where.append((wanted, _cause(alarm, policy), configuration.get("Cooldown")))
        if agreed:
            into.append(max(agreed, key=lambda one: one[0]))
        if out and not suspended.get("DynamicScalingOutSuspended"):
            wanted, cause, cooldown = max(out, key=lambda one: one[0])
            wanted = min(wanted, target.max_capacity)
            if wanted > now and self._cooled(self._last_out, resource, cooldown):
                self._set(target, found, wanted, cause=cause)
        elif into and not out and not suspended.get("DynamicScalingInSuspended"):
            wanted, cause, cooldown = min(into, key=lambda one: one[0])
            wanted = max(wanted, target.min_capacity)
            if wanted < now and self._cooled(self._last_change, resource, cooldown):
                self._set(target, found, wanted, cause=cause)

    def _wanted(self, policy: Any, now: int) -> int:
        metric = tracked_metric(policy)
        (newest,) = self.store.periods(key(metric.namespace, metric.name, metric.dimensions), 1, 1)
        return now if newest is None else metric.wanted(now, newest.value(metric.statistic))

    def _breaches(self, policy: Any) -> list[tuple[Any, float]]:
        """The alarms in ALARM that call a step scaling policy, each with how far the metric is above its threshold."""
        found = []
        for alarm in self.alarms.ringing(policy.policy_arn):
            value = self.alarms.newest(alarm)
            if value is not None:
                found.append((alarm, value - float(alarm.threshold)))
        return found

    @staticmethod
    def _cooled(last: Mapping[str, float], resource: str, seconds: int | None) -> bool:
        wait = (DEFAULT_COOLDOWN_SECONDS if seconds is None else seconds) * MINUTE_SECONDS / 60
        return resource not in last or time.monotonic() - last[resource] >= wait

    def _set(self, target: Any, found: scalable.Scalable, wanted: int, *, cause: str) -> None:
        resource, before, began = target.resource_id, found.desired, self.account.clock.now()
        try:
            found.set(wanted)
        except ServiceError:
            return  # an update has just begun; the next minute looks again
        self._last_change[resource] = time.monotonic()
        if wanted > before:
            self._last_out[resource] = self._last_change[resource]
        self.account.journal.record("scaling", **found.told, before=before, after=wanted, reason=cause)
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": target.scalable_dimension,
            "Description": f"Setting desired {found.what} to {wanted}.",
            "Cause": cause,
            "StartTime": began,
            "StatusCode": "InProgress",
            "StatusMessage": f"Successfully set desired {found.what} to {wanted}. Waiting for change to be fulfilled "
            "by sagemaker.",
        }
        with self._lock:
            self.activities.append(activity)
            del self.activities[:-KEPT_ACTIVITIES]
        threading.Thread(target=self._finish, args=(activity, found, wanted), daemon=True).start()

    def _finish(self, activity: dict[str, Any], found: scalable.Scalable, wanted: int) -> None:
        while found.changing() and not self._closed.wait(0.05):
            pass
        ended, failure = self.account.clock.now(), found.failure()
        told = f"Successfully set desired {found.what} to {wanted}. Change successfully fulfilled by sagemaker."
        with self._lock:
            activity.update(
                StatusCode="Failed" if failure else "Successful", StatusMessage=failure or told, EndTime=ended
            )


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


def _teach_moto() -> None:
    """moto's list of scalable dimensions lacks the one of inference components, and it refuses what is not on it."""
    import enum

    moto_app.import_without("moto.ecs", "moto.applicationautoscaling.models")
    from moto.applicationautoscaling import models, responses

    known = {one.name: one.value for one in models.ScalableDimensionValueSet}
    if COMPONENT_DIMENSION not in known.values():
        named = {**known, "SAGEMAKER_INFERENCE_COMPONENT_DESIRED_COPY_COUNT": COMPONENT_DIMENSION}
        for module in (models, responses):
            setattr(module, "ScalableDimensionValueSet", enum.Enum("ScalableDimensionValueSet", named))  # noqa: B010


def install(account: Account) -> Scaling:
    """Registers the scaling operations and starts the heartbeat. Needs laptop/hosting.py installed before."""
    hosting = account.operations["sagemaker"]["CreateEndpoint"].__self__  # type: ignore[attr-defined]
    assert isinstance(hosting, Hosting)
    _teach_moto()
    scaling = Scaling(account, hosting)
    scaling.start()
    account.dashboard = lambda name: dashboard.page(account, scaling.store, name)
    return scaling
