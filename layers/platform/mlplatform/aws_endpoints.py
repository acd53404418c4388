"""Endpoints and their inference components, as they are, made and deleted: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from mlplatform import capacity, names
from mlplatform.aws_calls import is_missing, is_there, is_under_way
from mlplatform.aws_hours import OfficeHoursCalls
from mlplatform.decisions import Request
from mlplatform.errors import AwsError, NotAsPlanned, TryAgain
from mlplatform.facts import Component, Endpoint, HostingKind, Serving, Variant
from mlplatform.kinds import kind_of

_CONFIG_ATTEMPTS = 6
_UNDER_WAY = frozenset({"Creating", "Updating"})  # of InferenceComponentStatus
_GONE_ATTEMPTS = 40  # a second each


class EndpointCalls(OfficeHoursCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def endpoint(self, name: str) -> Endpoint | None:
        found = self._found("sagemaker", "describe_endpoint", EndpointName=name)
        if found is None:
            return None
        config_name = found.get("EndpointConfigName")
        config: Mapping[str, Any] = {}
        if config_name:
            config = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=config_name) or {}
        variant = _live_variant(config)
        kind = kind_of(config)
        component = self._component(name) if kind is HostingKind.SCALE_TO_ZERO else None
        model_name = component.model_name if component else variant.get("ModelName")
        model: Mapping[str, Any] = {}
        if model_name:
            model = self._found("sagemaker", "describe_model", ModelName=model_name) or {}
        running = _live_variant(found)
        fleets = {one["VariantName"]: one for one in found.get("ProductionVariants", [])}
        serverless = variant.get("ServerlessConfig", {})
        return Endpoint(
            name=found["EndpointName"],
            arn=found["EndpointArn"],
            status=found["EndpointStatus"],
            config_name=config_name,
            failure_reason=found.get("FailureReason"),
            variant_name=variant.get("VariantName"),
            instance_type=capacity.wanted_type(variant),
            instance_count=running.get("CurrentInstanceCount", variant.get("InitialInstanceCount")),
            model_name=model_name,
            artifact_uri=model.get("PrimaryContainer", {}).get("ModelDataUrl"),
            tags=self._tags(found["EndpointArn"]),
            created=found["CreationTime"].astimezone(UTC),
            modified=found["LastModifiedTime"].astimezone(UTC),
            pending_config=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName"),
            running_types=capacity.types_of(running),
            counts={name: one.get("DesiredInstanceCount") for name, one in fleets.items()},
            variants=tuple(
                Variant(
                    name=one["VariantName"],
                    model_name=one.get("ModelName"),
                    instance_type=capacity.wanted_type(one),
                    instance_count=fleets.get(one["VariantName"], {}).get(
                        "CurrentInstanceCount", one.get("InitialInstanceCount")
                    ),
                    weight=fleets.get(one["VariantName"], {}).get("DesiredWeight", one.get("InitialVariantWeight")),
                )
                for one in config.get("ProductionVariants", [])
            ),
            kind=kind,
            memory_gb=serverless["MemorySizeInMB"] // 1024 if serverless else None,
            max_concurrency=serverless.get("MaxConcurrency"),
            component=component,
        )

    def serving(self, dataset: str) -> Serving | None:
        """What serves a dataset, is parked for the morning, or stands in for what is being made anew."""
        if not names.is_dataset(self._settings.stack_name, dataset):
            return None  # it is no endpoint's name either; who plans says so better than SageMaker would
        name = names.endpoint(self._settings.stack_name, dataset)
        endpoint = self.endpoint(name)
        if endpoint is not None:
            return Serving(endpoint)
        found = self.parked_endpoint(name)
        if found is not None:
            return Serving(found[0], parked=found[1])
        stand_in = self.endpoint(names.stand_in(name))
        return Serving(stand_in, standing_in=True) if stand_in is not None else None

    def _component(self, name: str) -> Component | None:
        found = self._found("sagemaker", "describe_inference_component", InferenceComponentName=name)
        if found is None:
            return None
        return Component(
            found["InferenceComponentStatus"],
            found.get("Specification", {}).get("ModelName"),
            found.get("RuntimeConfig", {}).get("CurrentCopyCount", 0),
            found["InferenceComponentArn"],
            found.get("FailureReason"),
        )

    def live_variant(self, endpoint: Endpoint) -> Mapping[str, Any]:
        """The live model's variant as its config has it."""
        name = endpoint.config_name or ""
        config = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=name) if name else None
        return _live_variant(config or {})

    # ---- decisions ----

    def _create_model(self, request: Request) -> None:
        """Two packages that say that they come from one training job, but have other artifacts, have the same name."""
        if self._unless(is_there, "sagemaker", "create_model", **request):
            return
        name, wanted = request["ModelName"], request["PrimaryContainer"]["ModelDataUrl"]
        found = self._call("sagemaker", "describe_model", ModelName=name)["PrimaryContainer"].get("ModelDataUrl")
        if found != wanted:
            raise NotAsPlanned(
                f"There is a model {name} already, with {found} and not with {wanted}; delete it, or register the "
                "package with another training_job, or with none, among its CustomerMetadataProperties."
            )

    def _create_endpoint(self, request: Request) -> None:
        for attempt in range(1, _CONFIG_ATTEMPTS + 1):
            try:
                self._unless(is_there, "sagemaker", "create_endpoint", **request)
                return
            except AwsError as error:
                # CreateEndpoint reads the config with eventual consistency (SageMaker API reference, CreateEndpoint)
                if attempt == _CONFIG_ATTEMPTS or not is_missing(error):
                    raise
                self._sleep(float(attempt))

    def _tag_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        arn = self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointArn"]
        self._call("sagemaker", "add_tags", ResourceArn=arn, Tags=names.tag_list(tags))

    @contextmanager
    def _wished(self, name: str, tags: Mapping[str, str]) -> Iterator[None]:
        """The wish first, for an endpoint that is busy; taken back where SageMaker refuses the instances for it."""
        before = self._tags(self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointArn"])
        self._tag_endpoint(name, tags)
        try:
            yield
        except AwsError as error:
            if error.limit_reached:
                self._tag_endpoint(name, {key: before.get(key, "") for key in tags})
            raise

    def _delete_endpoint(self, name: str, *, has_component: bool) -> None:
        """Its inference component first. Raises TryAgain, as _delete_component does.

        The scaling of an endpoint's variants goes with it (DeleteEndpoint, SageMaker API reference).
        """
        if has_component:
            self._delete_component(name)
        self._unless(is_missing, "sagemaker", "delete_endpoint", EndpointName=name)

    def _delete_component(self, name: str) -> None:
        """Its scaling first, or that would start copies while it goes. Raises TryAgain, before anything is done, while
        it is made or changed, which SageMaker lets nobody interrupt; and where it takes too long to go."""
        there = self._component(name)
        if there is None:
            return
        if there.status in _UNDER_WAY:
            raise TryAgain(
                f"The inference component of {name} is {there.status}; it can't be deleted before that is over."
            )
        target = names.scalable_target(name, kind=HostingKind.SCALE_TO_ZERO)
        self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **target)
        if there.status != "Deleting":
            try:
                self._unless(is_missing, "sagemaker", "delete_inference_component", InferenceComponentName=name)
            except AwsError as error:
                if not is_under_way(error):
                    raise
                raise TryAgain(f"The inference component of {name} is being changed, and goes after that.") from error
        for _ in range(_GONE_ATTEMPTS):
            if self._component(name) is None:
                return
            self._sleep(1.0)
        raise TryAgain(f"The inference component of {name} is being deleted; what follows waits for that.")


def _live_variant(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of an endpoint or a config, the live model's variant: ours by its name, another's is the first."""
    variants: list[dict[str, Any]] = described.get("ProductionVariants", [])
    return next((one for one in variants if one["VariantName"] == names.VARIANT), variants[0] if variants else {})
