"""SageMaker hosting: endpoint configs, and endpoints whose instances are real processes.

Behaviour and messages follow the SageMaker API reference (CreateEndpoint, UpdateEndpoint, DeleteEndpoint,
DeleteEndpointConfig, UpdateEndpointWeightsAndCapacities) and the developer guide ("Deploy models for real-time
inference", "Update models in production", "Events that Amazon SageMaker AI sends to Amazon EventBridge"). Beside this
module: models.py, hosting_process.py (one instance), invocation.py (InvokeEndpoint), serverless.py.
An update starts a whole new fleet, lets it pass its health checks, shifts the traffic as its DeploymentConfig says
(deployments.py), then drains and stops the old fleet; an alarm that rings meanwhile moves it all back. A config in use
can't be deleted here: the reference says "you must not", and the laptop holds you to it.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from laptop import asynchronous, deployments, serverless
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.hosting_process import CapacityError, Instance, LaunchError, stop_all
from laptop.invocation import Invocations
from laptop.metrics import InvocationCounters
from laptop.models import Models, arn
from laptop.sagemaker_common import read_tags, rows_page
from mlplatform.capacity import types_of

HEALTH_CHECK_TIMEOUT_SECONDS = 60.0  # SageMaker waits minutes; a process is up in a second unless the machine is busy
PING_PAUSE_SECONDS = 2.0  # between two health checks of what is in service
EVENT_STATUS = {
    "Creating": "CREATING",
    "InService": "IN_SERVICE",
    "Updating": "UPDATING",
    "RollingBack": "ROLLING_BACK",
    "Deleting": "DELETING",
    "Failed": "FAILED",
}
# As real endpoints say it (mlplatform/capacity.py)
NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time."
)
PING_FAILURE = (
    "The primary container for production variant {variant} did not pass the ping health check. "
    "Please check CloudWatch logs for this endpoint."
)


@dataclass(eq=False)
class Variant:
    """A production variant in service. `fleet` is replaced as a whole, never changed, so that readers need no lock."""

    name: str
    model_name: str
    instance_type: str
    weight: float
    desired_count: int
    environment: dict[str, str]
    model_dir: Path
    fleet: tuple[Instance, ...]
    counters: InvocationCounters = field(default_factory=InvocationCounters)
    config: str = ""  # whose fleet it is
    pools: tuple[str, ...] = ()  # the types that it may run on; of those it runs on `instance_type`
    serverless: serverless.Containers | None = None  # in place of a fleet, which is then empty

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Everything of it that has a process."""
        return (*self.fleet, *(self.serverless.running if self.serverless else ()))

    def stop(self, *, drain: bool) -> None:
        """Ends everything of it, with `drain` after the requests under way."""
        if self.serverless is not None:
            self.serverless.close(drain=drain)
        stop_all(self.fleet, drain=drain)

    def summary(self) -> dict[str, Any]:
        weights = {"VariantName": self.name, "CurrentWeight": self.weight, "DesiredWeight": self.weight}
        if self.serverless is not None:
            return {
                **weights,
                "CurrentInstanceCount": 0,
                "CurrentServerlessConfig": self.serverless.config.described(),
            }
        return {
            **weights,
            "CurrentInstanceCount": len(self.fleet),
            "DesiredInstanceCount": self.desired_count,
            **({"InstancePools": self._pools()} if len(self.pools) > 1 else {}),
        }

    def _pools(self) -> list[dict[str, Any]]:
        counts = {self.instance_type: len(self.fleet)}
        return [{"InstanceType": one, "CurrentInstanceCount": counts.get(one, 0)} for one in self.pools]


@dataclass(eq=False)
class Endpoint:
    """An endpoint; `variants` is replaced as a whole when an update ends.

    While one is under way, `pending` is its new fleet, and gets `share` of the traffic, 0 to 1.
    """

    name: str
    config_name: str
    created: datetime
    modified: datetime
    status: str = "Creating"
    failure_reason: str | None = None
    pending_config: str | None = None
    variants: tuple[Variant, ...] = ()
    pending: tuple[Variant, ...] = ()
    share: float = 0.0
    stage: dict[str, Any] | None = None  # of the pending fleet: VariantStatus
    update_began: datetime | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    starting: list[Instance] = field(default_factory=list)
    queue: asynchronous.Queue | None = None  # of an asynchronous endpoint

    @property
    def arn(self) -> str:
        return arn("endpoint", self.name)

    @property
    def fewest_instances(self) -> int:
        """A real-time variant can't go below one; an asynchronous one keeps its requests while it has none."""
        return 1 if self.queue is None else 0

    @property
    def answers(self) -> bool:
        """Whether it can be called."""
        return bool(self.variants) and self.status not in ("Creating", "Failed", "Deleting")

    @property
    def fleets(self) -> tuple[Variant, ...]:
        """Everything that may answer: the old and the new."""
        return (*self.variants, *self.pending)


class Hosting:
    """All endpoint configs and endpoints of the account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.models = Models(account)
        self.workers = asynchronous.Workers(account, self)
        self.configs: dict[str, dict[str, Any]] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.lock = threading.RLock()
        # what laptop/scaling.py knows: the names of an endpoint's variants that are scalable targets, and how to
        # forget them when the endpoint goes
        self.scaled_variants: Callable[[str], set[str]] = lambda endpoint: set()
        self.forget_scaling: Callable[[str], None] = lambda endpoint: None
        self._closed = threading.Event()
        self._logs: deque[tuple[str, str, int, str]] = deque(maxlen=10_000)
        self._streams: set[tuple[str, str]] = set()
        self._logs_client: Any = None
        for work in (self._watch, self._check_health, self._ship_logs):
            threading.Thread(target=work, daemon=True, name=f"hosting{work.__name__}").start()

    # --- endpoint configs -----------------------------------------------------------------------------------------

    def create_endpoint_config(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        variants = request.get("ProductionVariants", [])
        with self.lock:
            if name in self.configs:
                raise ServiceError(
                    "ValidationException",
                    f'Cannot create already existing endpoint configuration "{arn("endpoint-config", name)}".',
                )
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) != len(names):
            raise ServiceError("ValidationException", "The variant names of an endpoint configuration must be unique.")
        _assert_traffic({variant["VariantName"]: variant.get("InitialVariantWeight", 1.0) for variant in variants})
        for variant in variants:
            if "ModelName" not in variant or not (types_of(variant) or "ServerlessConfig" in variant):
                raise ServiceError(
                    "ValidationException",
                    f"Variant {variant['VariantName']}: the laptop runs variants with a ModelName, and an InstanceType "
                    "or a ServerlessConfig.",
                )
            model = self.models.get(variant["ModelName"])
            if "ServerlessConfig" in variant:
                serverless.check_config(request, model)
        for unsupported in ("ShadowProductionVariants", "ExplainerConfig"):
            if request.get(unsupported):
                raise ServiceError("ValidationException", f"The laptop does not run {unsupported}.")
        asynchronous.read_config(request)
        tags = read_tags(request.get("Tags"))
        with self.lock:
            self.account.tags[arn("endpoint-config", name)] = tags
            self.configs[name] = {
                **{key: value for key, value in request.items() if key != "Tags"},
                "ProductionVariants": [
                    {
                        **({} if "ServerlessConfig" in variant else {"InitialInstanceCount": 1}),
                        "InitialVariantWeight": 1.0,
                        **variant,
                    }
                    for variant in variants
                ],
                "EndpointConfigArn": arn("endpoint-config", name),
                "CreationTime": self.account.clock.now(),
            }
        return {"EndpointConfigArn": arn("endpoint-config", name)}

    def _config(self, name: str) -> dict[str, Any]:
        with self.lock:
            if name not in self.configs:
                where = arn("endpoint-config", name)
                raise ServiceError("ValidationException", f'Could not find endpoint configuration "{where}".')
            return self.configs[name]

    def describe_endpoint_config(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self._config(request["EndpointConfigName"]))

    def list_endpoint_configs(self, request: dict[str, Any]) -> dict[str, Any]:
        shown = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        with self.lock:
            rows = [{key: config[key] for key in shown} for config in self.configs.values()]
        return rows_page(rows, request, "EndpointConfigs", "EndpointConfigName")

    def delete_endpoint_config(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        self._config(name)
        with self.lock:
            for endpoint in self.endpoints.values():
                if endpoint.status != "Failed" and name in (endpoint.config_name, endpoint.pending_config):
                    raise ServiceError(
                        "ValidationException",
                        f'Cannot delete endpoint configuration "{arn("endpoint-config", name)}" '
                        f'while endpoint "{endpoint.arn}" uses it.',
                    )
            self.configs.pop(name, None)
            self.account.tags.pop(arn("endpoint-config", name), None)
        return {}

    # --- endpoints ------------------------------------------------------------------------------------------------

    def create_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointName"]
        tags = read_tags(request.get("Tags"))
        with self.lock:
            if name in self.endpoints:
                where = arn("endpoint", name)
                raise ServiceError("ValidationException", f'Cannot create already existing endpoint "{where}".')
            config = self._config(request["EndpointConfigName"])
            now = self.account.clock.now()
            endpoint = Endpoint(name, config["EndpointConfigName"], now, now)
            self.endpoints[name] = endpoint
            self.account.tags[endpoint.arn] = tags
        self._changed(endpoint)
        self._background(self._create, endpoint, config)
        return {"EndpointArn": endpoint.arn}

    def _create(self, endpoint: Endpoint, config: dict[str, Any]) -> None:
        try:
            variants = self._launch(endpoint, config, {})
        except LaunchError as error:
            self._settle(endpoint, "Failed", str(error))
            return
        asynchronous_config = asynchronous.read_config(config)
        with endpoint.lock:
            endpoint.variants = variants
            if asynchronous_config is not None:
                endpoint.queue = self.workers.open(endpoint, asynchronous_config)
        self._settle(endpoint, "InService", None)

    def _launch(
        self, endpoint: Endpoint, config: dict[str, Any], retained: Mapping[str, tuple[int, float]]
    ) -> tuple[Variant, ...]:
        """A healthy fleet for each variant of the config, or LaunchError and no process left."""
        variants: list[Variant] = []
        try:
            for production in config["ProductionVariants"]:
                variants.append(self._launch_variant(endpoint, config, production, retained))
        except Exception as error:
            for variant in variants:
                variant.stop(drain=False)
            if isinstance(error, LaunchError):
                raise
            told = error.message if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
            raise LaunchError(told) from error
        return tuple(variants)

    def _launch_variant(
        self,
        endpoint: Endpoint,
        config: Mapping[str, Any],
        production: Mapping[str, Any],
        retained: Mapping[str, tuple[int, float]],
    ) -> Variant:
        name, count = production["VariantName"], production.get("InitialInstanceCount", 0)
        count, weight = retained.get(name, (count, float(production["InitialVariantWeight"])))
        model_dir, environment = self.models.prepare(production["ModelName"])
        fleet: tuple[Instance, ...] = ()
        kind, containers = "", None
        if "ServerlessConfig" in production:
            containers = serverless.Containers(
                serverless.read_config(production),
                functools.partial(Instance, endpoint.name, name, model_dir, environment, self.log),
                self.account.clock.now,
                functools.partial(self._tell_serverless, endpoint.name, name),
            )
            containers.stand_up()
        else:
            kind, fleet = self._start_fleet(endpoint, production, model_dir, environment, count)
        return Variant(
            name,
            production["ModelName"],
            kind,
            weight,
            count,
            environment,
            model_dir,
            fleet,
            config=config["EndpointConfigName"],
            pools=types_of(production),
            serverless=containers,
        )

    def _tell_serverless(self, endpoint: str, variant: str, reason: str) -> None:
        self.account.journal.record("serverless", endpoint=endpoint, variant=variant, reason=reason)

    def _start_fleet(
        self,
        endpoint: Endpoint,
        production: Mapping[str, Any],
        model_dir: Path,
        environment: dict[str, str],
        count: int,
    ) -> tuple[str, tuple[Instance, ...]]:
        """On the first of the variant's types that there are machines of; all of them on the same."""
        name = production["VariantName"]
        for kind in types_of(production):
            try:
                return kind, self._start_instances(endpoint, name, kind, model_dir, environment, count)
            except CapacityError:
                self.log(endpoint.name, name, f"there is no capacity of {kind}")
        raise CapacityError(NO_CAPACITY)

    def _start_instances(
        self,
        endpoint: Endpoint,
        variant: str,
        instance_type: str,
        model_dir: Path,
        environment: dict[str, str],
        count: int,
    ) -> tuple[Instance, ...]:
        if self.account.faults.next("ec2", "RunInstances") is not None:
            raise CapacityError(NO_CAPACITY)
        instances = [Instance(endpoint.name, variant, model_dir, environment, self.log) for _ in range(count)]
        endpoint.starting.extend(instances)
        try:
            for instance in instances:
                instance.start()
            with ThreadPoolExecutor(max(count, 1)) as pool:
                healthy = list(pool.map(lambda one: one.wait_healthy(HEALTH_CHECK_TIMEOUT_SECONDS), instances))
            if not all(healthy) or self._closed.is_set():
                raise LaunchError(PING_FAILURE.format(variant=variant))
            for instance in instances:
                instance.ended = functools.partial(self.account.bill.instance_stopped, instance.id)
                self.account.bill.instance_started(instance.id, instance_type, endpoint.arn)
        except BaseException:
            stop_all([instance for instance in instances if hasattr(instance, "process")], drain=False)
            raise
        finally:
            endpoint.starting = [instance for instance in endpoint.starting if instance not in instances]
        return tuple(instances)

    def update_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request["EndpointName"])
        config = self._config(request["EndpointConfigName"])
        with endpoint.lock:
            self._must_be_settled(endpoint)
            scaled = self.scaled_variants(endpoint.name)
            if serverless.is_serverless(config) and not all(variant.serverless for variant in endpoint.variants):
                raise serverless.refused_update()
            if (asynchronous.read_config(config) is None) != (endpoint.queue is None):
                raise ServiceError(
                    "ValidationException",
                    "Cannot update an endpoint between asynchronous and real-time inference. Create a new endpoint.",
                )
            types = {one["VariantName"]: types_of(one) for one in config["ProductionVariants"]}
            barred = [
                variant.name
                for variant in endpoint.variants
                if variant.name in scaled and types.get(variant.name) != variant.pools
            ]
            if barred:
                # developer guide, "Update or delete endpoints that use automatic scaling"
                raise ServiceError(
                    "ValidationException",
                    f'The variant(s) "{barred}" must be deregistered as a scalable target with AutoScaling before they '
                    "can be removed or have their instance type updated.".replace("'", ""),
                )
            retained = {}
            if request.get("RetainAllVariantProperties"):
                excluded = {one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties") or []}
                initial = {one["VariantName"]: one for one in config["ProductionVariants"]}
                for variant in endpoint.variants:
                    new = initial.get(variant.name, {})
                    if "InitialInstanceCount" in new and variant.serverless is None:
                        retained[variant.name] = (
                            new["InitialInstanceCount"]
                            if "DesiredInstanceCount" in excluded
                            else variant.desired_count,
                            float(new["InitialVariantWeight"]) if "DesiredWeight" in excluded else variant.weight,
                        )
            fewest = min(
                retained.get(one["VariantName"], (one.get("InitialInstanceCount", 1), 0.0))[0]
                for one in config["ProductionVariants"]
            )
            deployment = deployments.read_deployment(request.get("DeploymentConfig"), max(fewest, 1))
            if len(deployment.steps) > 1 and {one.name for one in endpoint.variants} != types.keys():
                # "your new endpoint configuration must have the same variant name" (Exclusions, deployment guardrails)
                raise ServiceError(
                    "ValidationException",
                    "A canary needs the same variants in the new endpoint configuration as in the old: "
                    f"{', '.join(one.name for one in endpoint.variants)}.",
                )
            if serverless.is_serverless(config):
                deployment = deployments.ALL_AT_ONCE
            endpoint.status = "Updating"
            endpoint.failure_reason = None
            endpoint.pending_config = config["EndpointConfigName"]
            endpoint.update_began = self.account.clock.now()
        self._changed(endpoint)
        self._background(self._update, endpoint, config, retained, deployment)
        return {"EndpointArn": endpoint.arn}

    def _update(
        self,
        endpoint: Endpoint,
        config: dict[str, Any],
        retained: Mapping[str, tuple[int, float]],
        deployment: deployments.Deployment,
    ) -> None:
        """The old fleet does not stop before the new one has served all the traffic without a ringing alarm."""
        try:
            self._see_alarms(config, deployment.alarms)
            variants = self._launch(endpoint, config, retained)
        except LaunchError as error:
            # "a failed update returns to InService": the old fleet never stopped serving
            self._settle(endpoint, "InService", str(error))
            return
        with endpoint.lock:
            endpoint.pending = variants
        for step in deployment.steps:
            self._stage(endpoint, "ActivatingTraffic", f"Activating traffic on {step.capacity}.")
            with endpoint.lock:
                endpoint.share = step.share
            if step.wait_seconds:
                waiting = f"Baking for {step.wait_seconds} seconds ({step.wait_name})"
                self._stage(endpoint, "Baking", f"{waiting} with traffic enabled on {step.capacity}.")
            rang = self._bake(deployment.alarms, step.laptop_seconds)
            if rang:
                self._roll_back(endpoint, rang)
                return
        with endpoint.lock:
            old = endpoint.variants
            counters = {variant.name: variant.counters for variant in old}
            for variant in variants:
                if variant.name in counters:
                    variant.counters.add(counters[variant.name].take())
            endpoint.variants, endpoint.config_name = variants, config["EndpointConfigName"]
            endpoint.pending, endpoint.share, endpoint.stage = (), 0.0, None
            asynchronous_config = asynchronous.read_config(config)
            if endpoint.queue is not None and asynchronous_config is not None:
                endpoint.queue.config = asynchronous_config
        stop_variants(old, drain=True)
        self._settle(endpoint, "InService", None)

    def _see_alarms(self, config: Mapping[str, Any], alarms: tuple[str, ...]) -> None:
        """The role of the model has to be allowed to see them, and they have to be there. Raises LaunchError."""
        from botocore.exceptions import ClientError

        if not alarms:
            return
        role = self.models.get(config["ProductionVariants"][0]["ModelName"])["ExecutionRoleArn"]
        try:
            self.account.client("cloudwatch", role).describe_alarms(AlarmNames=list(alarms))
        except ClientError as error:
            raise LaunchError(f"The alarms of the deployment could not be read: {error}") from error
        if missing := deployments.missing_alarms(alarms):
            raise LaunchError(f"The alarms of the deployment do not exist: {', '.join(missing)}.")

    def _bake(self, alarms: tuple[str, ...], seconds: float) -> tuple[str, ...]:
        """The alarms that rang within that time, none as a rule."""
        deadline = time.monotonic() + seconds
        while not self._closed.is_set():
            rang = deployments.ringing(alarms)
            if rang or time.monotonic() >= deadline:
                return rang
            self._closed.wait(0.05)
        return ()

    def _roll_back(self, endpoint: Endpoint, rang: tuple[str, ...]) -> None:
        """All traffic back to the old fleet, then the new one goes. The status has been seen on the way:
        github.com/hashicorp/terraform-provider-aws/pull/49020."""
        with endpoint.lock:
            new = endpoint.pending
            endpoint.status, endpoint.share = "RollingBack", 0.0
            endpoint.pending, endpoint.stage = (), None
        self._changed(endpoint)
        stop_variants(new, drain=True)
        names = ", ".join(rang)
        self._settle(endpoint, "InService", f"The update was rolled back, because of alarms in ALARM: {names}.")

    def _stage(self, endpoint: Endpoint, status: str, message: str) -> None:
        """A step of an update, as the endpoint deployment state change event of the developer guide."""
        with endpoint.lock:
            began = self.account.clock.now()
            endpoint.stage = {"Status": status, "StatusMessage": message, "StartTime": began}
            detail = self._detail(endpoint)
            pending = self._pending_summary(endpoint)
        detail["PendingDeploymentSummary"] = _in_milliseconds(pending)
        self.account.journal.record(
            "endpoint", endpoint=endpoint.name, status=endpoint.status, config=endpoint.pending_config, reason=message
        )
        self.account.events.put("aws.sagemaker", "SageMaker Endpoint Deployment State Change", detail, (endpoint.arn,))

    @staticmethod
    def _pending_summary(endpoint: Endpoint) -> dict[str, Any]:
        summary: dict[str, Any] = {"EndpointConfigName": endpoint.pending_config, "StartTime": endpoint.update_began}
        if endpoint.pending:
            stage = {"VariantStatus": [endpoint.stage]} if endpoint.stage else {}
            summary["ProductionVariants"] = [{**variant.summary(), **stage} for variant in endpoint.pending]
        return summary

    def update_weights_and_capacities(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request["EndpointName"])
        with endpoint.lock:
            self._must_be_settled(endpoint)
            known = {variant.name: variant for variant in endpoint.variants}
            wanted = {one["VariantName"]: one for one in request["DesiredWeightsAndCapacities"]}
            for name, change in wanted.items():
                if name not in known:
                    raise ServiceError("ValidationException", f'Could not find variant "{name}" of "{endpoint.arn}".')
                barred = "DesiredInstanceCount" if known[name].serverless else "ServerlessUpdateConfig"
                if barred in change:
                    kind = "a serverless" if known[name].serverless else "an instance-based"
                    raise ServiceError("ValidationException", f'{barred} can\'t be set for {kind} variant: "{name}".')
                fewest = endpoint.fewest_instances
                if change.get("DesiredInstanceCount", fewest) < fewest:
                    raise ServiceError("ValidationException", f"DesiredInstanceCount must be at least {fewest}.")
            _assert_traffic(
                {one.name: wanted.get(one.name, {}).get("DesiredWeight", one.weight) for one in known.values()}
            )
            endpoint.status = "Updating"
            endpoint.failure_reason = None
            for variant in endpoint.variants:
                variant.desired_count = wanted.get(variant.name, {}).get("DesiredInstanceCount", variant.desired_count)
        self._changed(endpoint)
        self._background(self._resize, endpoint, wanted)
        return {"EndpointArn": endpoint.arn}

    def _resize(self, endpoint: Endpoint, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        reason = None
        for variant in endpoint.variants:
            change = wanted.get(variant.name, {})
            missing = variant.desired_count - len(variant.fleet)
            try:
                if missing > 0:
                    added = self._start_instances(
                        endpoint,
                        variant.name,
                        variant.instance_type,
                        variant.model_dir,
                        variant.environment,
                        missing,
                    )
                    with endpoint.lock:
                        variant.fleet = (*variant.fleet, *added)
                elif missing < 0:
                    with endpoint.lock:
                        removed = variant.fleet[missing:]
                        variant.fleet = variant.fleet[:missing]
                    stop_all(removed, drain=True)
                variant.weight = float(change.get("DesiredWeight", variant.weight))
                if variant.serverless is not None:
                    variant.serverless.update(change.get("ServerlessUpdateConfig", {}))
            except LaunchError as error:
                reason = str(error)
                variant.desired_count = len(variant.fleet)
        self._settle(endpoint, "InService", reason)

    def delete_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request["EndpointName"])
        with endpoint.lock:
            if endpoint.status in ("Creating", "Updating", "RollingBack", "Deleting"):
                raise ServiceError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".')
            endpoint.status = "Deleting"
        self.forget_scaling(endpoint.name)
        self._changed(endpoint)
        self._background(self._delete, endpoint)
        return {}

    def _delete(self, endpoint: Endpoint) -> None:
        with endpoint.lock:
            old = endpoint.variants
            endpoint.variants = ()
            if endpoint.queue is not None:
                endpoint.queue.closed = True
        stop_variants(old, drain=True)
        with self.lock:
            self.endpoints.pop(endpoint.name, None)
            self.account.tags.pop(endpoint.arn, None)

    @staticmethod
    def _must_be_settled(endpoint: Endpoint) -> None:
        if endpoint.status == "Failed":
            # the reference of EndpointSummary leaves only deletion to a failed endpoint
            raise ServiceError("ValidationException", f'Cannot update failed endpoint "{endpoint.arn}".')
        if endpoint.status != "InService":
            raise ServiceError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".')

    def _endpoint(self, name: str) -> Endpoint:
        with self.lock:
            if name not in self.endpoints:
                raise ServiceError("ValidationException", f'Could not find endpoint "{arn("endpoint", name)}".')
            return self.endpoints[name]

    def describe_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request["EndpointName"])
        with endpoint.lock:
            described: dict[str, Any] = {
                "EndpointName": endpoint.name,
                "EndpointArn": endpoint.arn,
                "EndpointConfigName": endpoint.config_name,
                "EndpointStatus": endpoint.status,
                "CreationTime": endpoint.created,
                "LastModifiedTime": endpoint.modified,
            }
            if endpoint.variants:
                described["ProductionVariants"] = [
                    {
                        **variant.summary(),
                        "DeployedImages": [{"SpecifiedImage": self.models.image(variant.model_name)}],
                    }
                    for variant in endpoint.variants
                ]
            if endpoint.failure_reason:
                described["FailureReason"] = endpoint.failure_reason
            if endpoint.pending_config:
                described["PendingDeploymentSummary"] = self._pending_summary(endpoint)
        return described

    def list_endpoints(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            rows = [
                {
                    "EndpointName": endpoint.name,
                    "EndpointArn": endpoint.arn,
                    "CreationTime": endpoint.created,
                    "LastModifiedTime": endpoint.modified,
                    "EndpointStatus": endpoint.status,
                }
                for endpoint in self.endpoints.values()
                if request.get("StatusEquals") in (None, endpoint.status)
            ]
        return rows_page(rows, request, "Endpoints", "EndpointName")

    # --- what happens by itself -------------------------------------------------------------------------------------

    def _settle(self, endpoint: Endpoint, status: str, reason: str | None) -> None:
        with endpoint.lock:
            endpoint.status, endpoint.failure_reason, endpoint.pending_config = status, reason, None
        self._changed(endpoint)

    def _changed(self, endpoint: Endpoint) -> None:
        """Tells the journal and the event bus, as the endpoint state change event in the developer guide."""
        with endpoint.lock:
            endpoint.modified = self.account.clock.now()
            detail = self._detail(endpoint)
            fields: dict[str, Any] = {
                "endpoint": endpoint.name,
                "status": endpoint.status,
                "config": endpoint.config_name,
                "instances": {variant.name: len(variant.fleet) for variant in endpoint.variants},
                "reason": endpoint.failure_reason,
            }
        self.account.journal.record("endpoint", **fields)
        self.account.events.put("aws.sagemaker", "SageMaker Endpoint State Change", detail, (endpoint.arn,))

    def _detail(self, endpoint: Endpoint) -> dict[str, Any]:
        """What both events of an endpoint say."""
        detail: dict[str, Any] = {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": endpoint.config_name,
            "ProductionVariants": [variant.summary() for variant in endpoint.variants],
            "EndpointStatus": EVENT_STATUS[endpoint.status],
            "CreationTime": int(endpoint.created.timestamp() * 1000),
            "LastModifiedTime": int(endpoint.modified.timestamp() * 1000),
            "Tags": dict(self.account.tags.get(endpoint.arn, {})),
        }
        if endpoint.failure_reason:
            detail["FailureReason"] = endpoint.failure_reason
        return detail

    def _watch(self) -> None:
        """Replaces instances that died, as SageMaker replaces unhealthy ones."""
        while not self._closed.wait(0.25):
            for endpoint in list(self.endpoints.values()):
                # While one is updated, both fleets are whole: the old one has to go on if the new one fails.
                steady = endpoint.status == "InService" or bool(endpoint.pending)
                for variant in endpoint.fleets:
                    if variant.serverless is not None:
                        variant.serverless.look_after()
                        continue
                    dead = [instance for instance in variant.fleet if not instance.alive and not instance.stopping]
                    if steady and (dead or len(variant.fleet) < variant.desired_count):
                        self._replace(endpoint, variant, dead)

    def _check_health(self) -> None:
        """Ends instances that hang; those that have ended are replaced."""
        with ThreadPoolExecutor(16, "ping") as pool:
            while not self._closed.wait(PING_PAUSE_SECONDS):
                serving = [
                    instance
                    for endpoint in list(self.endpoints.values())
                    for variant in endpoint.fleets
                    for instance in variant.fleet
                    if instance.alive and not instance.stopping
                ]
                for instance, hangs in zip(serving, pool.map(lambda one: one.hangs(), serving), strict=True):
                    if hangs and instance.alive and not instance.stopping:
                        self.log(instance.endpoint, instance.stream, "instance does not answer /ping; it is ended")
                        os.killpg(instance.process.pid, signal.SIGKILL)

    def _replace(self, endpoint: Endpoint, variant: Variant, dead: list[Instance]) -> None:
        with endpoint.lock:
            variant.fleet = tuple(instance for instance in variant.fleet if instance not in dead)
            missing = variant.desired_count - len(variant.fleet)
        for instance in dead:
            ended = instance.process.returncode
            instance.ended()
            self.log(endpoint.name, instance.stream, f"instance ended with {ended}; replacing it")
        self.account.journal.record(
            "endpoint",
            endpoint=endpoint.name,
            status=endpoint.status,
            config=endpoint.config_name,
            reason=f"{missing} instance(s) of variant {variant.name} died and are being replaced",
        )
        try:
            started = self._start_instances(
                endpoint,
                variant.name,
                variant.instance_type,
                variant.model_dir,
                variant.environment,
                missing,
            )
        except LaunchError:
            time.sleep(1.0)  # the next round tries again: the fleet is below its desired count
            return
        with endpoint.lock:
            # an update or a scaling may have overtaken the replacement
            room = variant.desired_count - len(variant.fleet) if variant in endpoint.fleets else 0
            variant.fleet = (*variant.fleet, *started[: max(room, 0)])
        stop_all(started[max(room, 0) :], drain=False)

    def _background(self, work: Callable[..., None], *arguments: Any) -> None:
        self.account.clock.under_way.start_thread(f"hosting{work.__name__}", work, *arguments)

    def log(self, endpoint: str, stream: str, line: str) -> None:
        self._logs.append((endpoint, stream, int(self.account.clock.now().timestamp() * 1000), line))

    def _ship_logs(self) -> None:
        """Containers' output to CloudWatch Logs, /aws/sagemaker/Endpoints/<endpoint>, stream <variant>/<instance>."""
        while not self._closed.wait(0.3):
            batches: dict[tuple[str, str], list[dict[str, Any]]] = {}
            while self._logs:
                endpoint, stream, at, line = self._logs.popleft()
                batches.setdefault((f"/aws/sagemaker/Endpoints/{endpoint}", stream), []).append(
                    {"timestamp": at, "message": line or " "}
                )
            for (group, stream), lines in batches.items():
                try:
                    self._put_log(group, stream, lines)
                except Exception as error:  # the log service going first at shutdown must not end this thread
                    print(f"could not write {group}: {error}", file=sys.stderr)

    def _put_log(self, group: str, stream: str, lines: list[dict[str, Any]]) -> None:
        if self._logs_client is None:
            self._logs_client = self.account.client("logs")
        logs = self._logs_client
        if (group, stream) not in self._streams:
            for create, names in (
                (logs.create_log_group, {"logGroupName": group}),
                (logs.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
            ):
                try:
                    create(**names)
                except logs.exceptions.ResourceAlreadyExistsException:
                    continue
            self._streams.add((group, stream))
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=lines)

    def close(self) -> None:
        """Stops every instance at once."""
        self._closed.set()
        self.workers.close()
        for endpoint in list(self.endpoints.values()):
            stop_all((one for one in endpoint.starting if hasattr(one, "process")), drain=False)
            stop_variants(endpoint.fleets, drain=False)


def _assert_traffic(weights: Mapping[str, float]) -> None:
    """The service model refuses a negative weight; that all of them are 0 is refused here, for a variant's share of the
    traffic is its weight divided by their sum (ProductionVariant, API reference). Raises ServiceError."""
    if weights and not sum(weights.values()):
        raise ServiceError(
            "ValidationException", f"At least one variant must have a weight greater than 0: {', '.join(weights)}."
        )


def stop_variants(variants: tuple[Variant, ...], *, drain: bool) -> None:
    """Ends them side by side, and returns when they have ended."""
    if variants:
        with ThreadPoolExecutor(len(variants)) as pool:
            list(pool.map(lambda variant: variant.stop(drain=drain), variants))


def _in_milliseconds(value: Any) -> Any:
    """Times as this service's events have them: whole milliseconds since 1970."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {key: _in_milliseconds(item) for key, item in value.items()}
    return [_in_milliseconds(item) for item in value] if isinstance(value, list) else value


def install(account: Account) -> Hosting:
    """Registers the hosting operations and the hot path; scaling.install adds metrics, alarms and scaling."""
    hosting = Hosting(account)
    account.operations.setdefault("sagemaker", {}).update(
        {
            "CreateModel": hosting.models.create_model,
            "DescribeModel": hosting.models.describe_model,
            "ListModels": hosting.models.list_models,
            "DeleteModel": hosting.models.delete_model,
            "CreateEndpointConfig": hosting.create_endpoint_config,
            "DescribeEndpointConfig": hosting.describe_endpoint_config,
            "ListEndpointConfigs": hosting.list_endpoint_configs,
            "DeleteEndpointConfig": hosting.delete_endpoint_config,
            "CreateEndpoint": hosting.create_endpoint,
            "DescribeEndpoint": hosting.describe_endpoint,
            "ListEndpoints": hosting.list_endpoints,
            "UpdateEndpoint": hosting.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": hosting.update_weights_and_capacities,
            "DeleteEndpoint": hosting.delete_endpoint,
        }
    )
    account.operations.setdefault("sagemaker-runtime", {})["InvokeEndpointAsync"] = hosting.workers.invoke
    account.invoke = Invocations(hosting).invoke
    account.closers.append(hosting.close)
    return hosting
