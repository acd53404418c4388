"""The scaling of endpoints and their alarms: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from mlplatform import names
from mlplatform.aws_calls import is_missing
from mlplatform.aws_endpoints import EndpointCalls
from mlplatform.decisions import ConfigureAutoscaling, Decision, Notify, RejectUpdate, Request, Skip
from mlplatform.endpoint_alarms import differing
from mlplatform.facts import Endpoint


class ScalingCalls(EndpointCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def scaling_bounds(self, endpoint: Endpoint) -> tuple[int, int] | None:
        """The fewest and the most instances that its scaling allows now; None where nothing scales it.

        A change of its instance type takes its scaling; what it allowed then still counts when it is to come back.
        """
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace="sagemaker",
            ResourceIds=[names.scalable_target(endpoint.name, kind=endpoint.kind)["ResourceId"]],
        )["ScalableTargets"]
        if found:
            return (found[0]["MinCapacity"], found[0]["MaxCapacity"])
        return names.tagged_bounds(endpoint.tags.get(names.TAKEN_TAG))

    def lacking(self, decision: ConfigureAutoscaling) -> tuple[str, ...]:
        """What applying it would change, in sentences; nothing is changed."""
        found = []
        if decision.target:
            targets, as_wanted, surplus = self._scaling_there(decision)
            if not targets:
                found.append("it does not scale: its scaling is not registered.")
            elif not as_wanted:
                found.append("its scaling is registered otherwise than the platform would, or lacks a policy.")
            elif surplus:
                found.append(f"it still scales by {', '.join(surplus)}, which nobody asks for any more.")
        alarms = (*decision.alarms, *self._waking(decision))
        if alarms:
            wanted = [one["AlarmName"] for one in alarms]
            there = self._call("cloudwatch", "describe_alarms", AlarmNames=wanted)["MetricAlarms"]
            kept = {one["AlarmName"] for one in there}
            for alarm in differing(alarms, there):
                wrong = "watches something else than it should" if alarm["AlarmName"] in kept else "is missing"
                found.append(f"its alarm {alarm['AlarmName']} {wrong}.")
        return tuple(found)

    def _scaling_there(self, decision: ConfigureAutoscaling) -> tuple[list[dict[str, Any]], bool, list[str]]:
        """The scalable target, if any, whether it and its policies are as they are wanted, and unwanted policies."""
        target = {key: value for key, value in decision.target.items() if key != "Tags"}
        resource = {"ServiceNamespace": target["ServiceNamespace"], "ResourceId": target["ResourceId"]}
        service = "application-autoscaling"
        targets = self._call(
            service,
            "describe_scalable_targets",
            ServiceNamespace=resource["ServiceNamespace"],
            ResourceIds=[resource["ResourceId"]],
        )["ScalableTargets"]
        policies = self._call(service, "describe_scaling_policies", **resource)["ScalingPolicies"]
        as_wanted = bool(targets) and _holds(targets[0], target)
        as_wanted = as_wanted and all(any(_holds(one, wanted) for one in policies) for wanted in decision.policies)
        surplus = [one["PolicyName"] for one in policies if one["PolicyName"] in decision.unwanted]
        return targets, as_wanted, surplus

    # ---- decisions ----

    def _configure_autoscaling(self, decision: ConfigureAutoscaling) -> Decision:
        """Every scaling action ends with another event of an endpoint in service, so what is there is left alone.

        People are told before the first change: an event that comes again after the last would find nothing to tell.
        """
        tell = cache(lambda: self._announce(decision))
        changed = bool(decision.target) and self._scale(decision, tell)
        watched = self._put_alarms(decision.alarms, decision.ended, tell)
        if decision.last_tags:
            self._tag_endpoint(decision.endpoint_name, decision.last_tags)
        return decision if changed or watched else Skip(f"As it is already: {decision.reason}")

    def clamp(self, endpoint_name: str) -> str:
        """Brings an endpoint's instances inside its scaling's bounds; says within which.

        Registering a target does so at once, with the bounds that it has already (RegisterScalableTarget, API
        reference).
        """
        variant = names.scalable_target(endpoint_name)
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace=variant["ServiceNamespace"],
            ResourceIds=[variant["ResourceId"]],
        )["ScalableTargets"][0]
        bounds = {key: found[key] for key in ("MinCapacity", "MaxCapacity")}
        self._call("application-autoscaling", "register_scalable_target", **variant, **bounds)
        return f"it goes to {bounds['MinCapacity']} to {bounds['MaxCapacity']} instances"

    def _scale(self, decision: ConfigureAutoscaling, tell: Callable[[], None]) -> bool:
        """Whether there was anything to change, of which people are then told."""
        targets, as_wanted, surplus = self._scaling_there(decision)
        if surplus or not as_wanted:
            tell()
        target = dict(decision.target)
        resource = {key: target[key] for key in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
        for policy in surplus:
            self._unless(is_missing, "application-autoscaling", "delete_scaling_policy", PolicyName=policy, **resource)
        if as_wanted:
            self._remember_bounds(decision)
            return self._put_alarms(self._waking(decision), (), tell) or bool(surplus)
        # RegisterScalableTarget, API reference: Tags are for a new target only
        tags = target.pop("Tags")
        service = "application-autoscaling"
        self._call(service, "register_scalable_target", **target, **({} if targets else {"Tags": tags}))
        self._remember_bounds(decision)
        for wanted in decision.policies:
            self._call(service, "put_scaling_policy", **wanted)
        self._put_alarms(self._waking(decision), (), tell)
        return True

    def _waking(self, decision: ConfigureAutoscaling) -> tuple[Request, ...]:
        """The alarm that wakes a sleeper, with its action, which AWS names when there is the policy."""
        if decision.wake is None:
            return ()
        policy = decision.policies[-1]
        found = self._call(
            "application-autoscaling",
            "describe_scaling_policies",
            ServiceNamespace=policy["ServiceNamespace"],
            ResourceId=policy["ResourceId"],
            PolicyNames=[policy["PolicyName"]],
        )["ScalingPolicies"]
        actions = [one["PolicyARN"] for one in found if one["PolicyName"] == policy["PolicyName"]]
        return ({**decision.wake, "AlarmActions": actions},)

    def _put_alarms(self, alarms: tuple[Request, ...], ended: tuple[str, ...], tell: Callable[[], None]) -> bool:
        """Whether there was anything to put, of which people are then told; those that ended are deleted."""
        wanted = [one["AlarmName"] for one in alarms]
        if not wanted and not ended:
            return False
        there = self._call("cloudwatch", "describe_alarms", AlarmNames=[*wanted, *ended])["MetricAlarms"]
        left = [one["AlarmName"] for one in there if one["AlarmName"] in ended]
        if left:
            self._unless(is_missing, "cloudwatch", "delete_alarms", AlarmNames=left)
        new = differing(alarms, there)
        if new:
            tell()
        for alarm in new:
            self._call("cloudwatch", "put_metric_alarm", **alarm)
        return bool(new)

    def _remember_bounds(self, decision: ConfigureAutoscaling) -> None:
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)

    def _reject_update(self, decision: RejectUpdate) -> Decision:
        """The metric again with each event: an alarm that saw it once may have passed it."""
        self._call("cloudwatch", "put_metric_data", **decision.metric)
        subject = f"Update of endpoint {decision.endpoint_name} answers wrongly"
        told = self._notify(Notify(decision.reason, subject, decision.once))
        return decision if isinstance(told, Notify) else told


def _holds(actual: Any, wanted: Any) -> bool:
    """Whether what AWS describes has everything that was asked for; it may have more."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and _holds(actual[key], value) for key, value in wanted.items())
    return bool(actual == wanted)
