"""What Application Auto Scaling scales on SageMaker, behind one face: its capacity, its bounds, and how to set it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from laptop.errors import ServiceError
from laptop.hosting import Endpoint, Hosting, Variant
from laptop.inference_components import Component
from laptop.scaling_policies import COMPONENT_DIMENSION, VARIANT_DIMENSION


@dataclass(frozen=True)
class Scalable:
    """A variant or an inference component, as it is now."""

    desired: int
    settled: bool  # in service, and not being changed
    lowest: int  # capacity
    what: str  # of the capacity: "instance count"
    told: Mapping[str, str]  # its names in the event log
    set: Callable[[int], None]  # raises ServiceError
    changing: Callable[[], bool]
    failure: Callable[[], str | None]  # of the last change
    refused: str | None = None  # why it can't be registered


def find(hosting: Hosting, resource: str, dimension: str) -> Scalable | None:
    """None if there is none of that name. Raises ServiceError for a resource or dimension that the laptop lacks."""
    parts = resource.split("/")
    if dimension == COMPONENT_DIMENSION:
        if len(parts) != 2 or parts[0] != "inference-component":
            raise ServiceError("ValidationException", f"Unsupported resource ID: {resource}")
        component = hosting.components.all.get(parts[1])
        return _component(hosting, component) if component is not None else None
    if dimension != VARIANT_DIMENSION:
        raise ServiceError("ValidationException", f"The laptop does not scale {dimension}.")
    if len(parts) != 4 or parts[0] != "endpoint" or parts[2] != "variant":
        raise ServiceError("ValidationException", f"Unsupported resource ID: {resource}")
    endpoint = hosting.endpoints.get(parts[1])
    for variant in endpoint.variants if endpoint else ():
        if variant.name == parts[3] and endpoint is not None:
            return _variant(hosting, endpoint, variant)
    return None


def _variant(hosting: Hosting, endpoint: Endpoint, variant: Variant) -> Scalable:
    def change(wanted: int) -> None:
        desired = {"VariantName": variant.name, "DesiredInstanceCount": wanted}
        hosting.update_weights_and_capacities({"EndpointName": endpoint.name, "DesiredWeightsAndCapacities": [desired]})

    return Scalable(
        desired=variant.desired_count,
        settled=endpoint.status == "InService",
        lowest=endpoint.fewest_instances,
        what="instance count",
        told={"endpoint": endpoint.name, "variant": variant.name},
        set=change,
        changing=lambda: endpoint.status == "Updating",
        failure=lambda: endpoint.failure_reason,
        refused=_why_not(variant),
    )


def _component(hosting: Hosting, component: Component) -> Scalable:
    def change(wanted: int) -> None:
        desired = {"InferenceComponentName": component.name, "DesiredRuntimeConfig": {"CopyCount": wanted}}
        hosting.components.update_runtime_config(desired)

    return Scalable(
        desired=component.desired,
        settled=component.status == "InService" and component.machines is not None,
        lowest=0,
        what="copy count",
        told={"endpoint": component.endpoint.name, "component": component.name},
        set=change,
        changing=lambda: component.status == "Updating",
        failure=lambda: component.failure_reason,
    )


def _why_not(variant: Variant) -> str | None:
    if variant.serverless is not None:
        return "A serverless variant has no instances to scale."
    if variant.machines is not None:
        return f"Variant {variant.name} hosts inference components: their copies are scaled, and its instances follow."
    if variant.instance_type.startswith("ml.t2."):
        return f"Autoscaling is not supported for burstable instances: {variant.instance_type}."
    return None
