"""Endpoints get another model, on instances or in their inference component: a part of Aws (aws.py)."""

from __future__ import annotations

from mlplatform import names
from mlplatform.aws_calls import is_in_progress, is_invalid, is_missing, is_there
from mlplatform.aws_endpoints import EndpointCalls
from mlplatform.decisions import FinishDeployment, MakeComponent, Request, Skip
from mlplatform.errors import AwsError

_COMPONENT_ATTEMPTS = 20  # a second each


class UpdateCalls(EndpointCalls):
    """Mixed into Aws."""

    def _finish_deployment(self, decision: FinishDeployment) -> FinishDeployment:
        if decision.component is not None:
            self._update_sleeper(decision.endpoint, decision.component)
        else:
            self._update_endpoint(decision.endpoint, decision.model, decision.deregister, decision.alarms)
        return decision

    def _update_endpoint(
        self, request: Request, model: str, deregister: Request | None, alarms: tuple[Request, ...]
    ) -> None:
        """Updates an endpoint that is free.

        A busy one has its wanted config in a tag already, which configure-autoscaling acts upon when it is free.
        """
        if not self._can_be_updated(request, model):
            return
        if alarms:
            # A new alarm has no state; put again over an old one, it would keep the state of an update that failed.
            old = [one["AlarmName"] for one in alarms]
            self._unless(is_missing, "cloudwatch", "delete_alarms", AlarmNames=old)
        for alarm in alarms:
            self._call("cloudwatch", "put_metric_alarm", **alarm)
        self._update(request, model, deregister)

    def _change_variants(self, request: Request, model: str, deregister: Request | None) -> None:
        """The same for an update that nothing can watch."""
        if self._can_be_updated(request, model):
            self._update(request, model, deregister)

    def _can_be_updated(self, request: Request, model: str) -> bool:
        """Whether it is free, and neither runs that config already nor is on its way to it."""
        found = self._call("sagemaker", "describe_endpoint", EndpointName=request["EndpointName"])
        pending = found.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        free = bool(found["EndpointStatus"] == "InService")
        if request["EndpointConfigName"] in {found.get("EndpointConfigName"), pending}:
            if self._tags(found["EndpointArn"]).get(names.ASKED_TAG) != model:
                self._remember_asked(request, model, under_way=not free)  # who asked for it ended right after that
            return False
        if not free:
            self._tag_endpoint(request["EndpointName"], {names.UNCHECKED_TAG: model})
        return free

    def _update(self, request: Request, model: str, deregister: Request | None) -> None:
        name = request["EndpointName"]
        if deregister is not None:
            self._remember_taken(name, deregister)
            self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **deregister)
        try:
            accepted = self._unless(is_in_progress, "sagemaker", "update_endpoint", **request)
        except AwsError as error:
            if deregister is not None or not _is_scaled(error):
                raise
            # Not the type but the types that take its place are others than before.
            variant = names.scalable_target(name)
            self._remember_taken(name, variant)
            self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **variant)
            accepted = self._unless(is_in_progress, "sagemaker", "update_endpoint", **request)
        if accepted:
            self._remember_asked(request, model, under_way=True)

    def _remember_asked(self, request: Request, model: str, *, under_way: bool) -> None:
        """What is under way has to be looked at when it is over, should no event tell of that."""
        tags = {names.ASKED_TAG: model, names.ASKED_AT_TAG: self.now().isoformat(timespec="seconds")}
        if under_way:
            tags[names.UNCHECKED_TAG] = model
        self._tag_endpoint(request["EndpointName"], tags)

    def _remember_taken(self, endpoint_name: str, deregister: Request) -> None:
        """Deregistering forgets the bounds, and people may have set them. A challenger's go with it."""
        if deregister["ResourceId"] != names.scalable_target(endpoint_name)["ResourceId"]:
            return
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace=deregister["ServiceNamespace"],
            ResourceIds=[deregister["ResourceId"]],
        )["ScalableTargets"]
        if found:
            bounds = names.bounds_tag((found[0]["MinCapacity"], found[0]["MaxCapacity"]))
            self._tag_endpoint(endpoint_name, {names.TAKEN_TAG: bounds[names.BOUNDS_TAG]})

    def _update_sleeper(self, endpoint: Request, component: Request) -> None:
        """An endpoint that scales to zero has its model in its component. Where it changes as well, it does so first:
        the component follows when the endpoint is looked at again."""
        found = self._call("sagemaker", "describe_endpoint", EndpointName=endpoint["EndpointName"])
        self._tag_endpoint(endpoint["EndpointName"], {names.LOOK_TAG: "component"})
        if found["EndpointStatus"] == "InService" and found["EndpointConfigName"] != endpoint["EndpointConfigName"]:
            self._unless(is_in_progress, "sagemaker", "update_endpoint", **endpoint)
            return
        self._update_component(component)

    def _update_component(self, request: Request) -> None:
        """Gives the component of an endpoint that is free another model; a busy one gets it when it is looked at again.

        That has to come, so that it is asked for first: no event tells of a component ("Events that Amazon SageMaker AI
        sends to Amazon EventBridge", SageMaker developer guide).
        """
        name, model = request["InferenceComponentName"], request["Specification"]["ModelName"]
        there = self._component(name)
        if there is not None and there.status == "Failed":
            # It can't be updated. That nothing was asked of it since has it made anew when it is looked at.
            self._tag_endpoint(name, {names.ASKED_TAG: ""})
        if there is None or there.status != "InService" or there.model_name == model:
            return
        if self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointStatus"] != "InService":
            return
        self._call("sagemaker", "update_inference_component", **request)
        self._tag_endpoint(name, {names.ASKED_TAG: model, names.ASKED_AT_TAG: self.now().isoformat(timespec="seconds")})

    def _make_component(self, decision: MakeComponent) -> MakeComponent | Skip:
        name, model = decision.endpoint_name, decision.component["Specification"]["ModelName"]
        self._tag_endpoint(name, {names.LOOK_TAG: "component"})
        if decision.replaces:
            self._delete_component(name)
            self._tag_endpoint(name, {names.ASKED_TAG: model})  # it is tried once
        if not self._unless(is_there, "sagemaker", "create_inference_component", **decision.component):
            return Skip(f"{decision.endpoint_name} has its inference component already.")
        for _ in range(_COMPONENT_ATTEMPTS):  # a laptop's is there in seconds; AWS takes minutes, and a tick goes on
            made = self._component(decision.endpoint_name)
            if made is not None and made.status != "Creating":
                break
            self._sleep(1.0)
        return decision


def _is_scaled(error: AwsError) -> bool:
    """ "The variant(s) ... must be deregistered as a scalable target with AutoScaling before they can ... have their
    instance type updated" ("Update or delete endpoints that use automatic scaling", SageMaker developer guide)."""
    return is_invalid(error) and "must be deregistered" in error.aws_message.lower()
