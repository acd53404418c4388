"""SageMaker hosting: endpoints whose instances are real processes.

Behaviour and messages follow the SageMaker API reference (CreateEndpoint, UpdateEndpoint, DeleteEndpoint,
UpdateEndpointWeightsAndCapacities) and the developer guide ("Deploy models for real-time inference", "Update models in
production", "Events that Amazon SageMaker AI sends to Amazon EventBridge"). An update starts a whole new fleet, lets it
pass its health checks, shifts the traffic as its DeploymentConfig says (deployments.py), then drains and stops the old
fleet; an alarm that rings meanwhile moves it all back. Beside this module: models.py and endpoint_configs.py;
hosting_process.py, one instance; invocation.py, InvokeEndpoint; serverless.py, asynchronous.py and
inference_components.py, the other kinds of hosting.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from laptop import asynchronous, deployments, inference_components, serverless
from laptop.account import Account
from laptop.endpoint_configs import EndpointConfigs, assert_traffic
from laptop.errors import ServiceError
from laptop.hosting_logs import HostingLogs
from laptop.hosting_process import NO_CAPACITY, CapacityError, Instance, LaunchError, stop_all
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
    role: str = ""  # the model's execution role
    # in place of a fleet, which is then empty:
    serverless: serverless.Containers | None = None
    machines: inference_components.Machines | None = None  # for inference components; it has no model of its own

    @property
    def instance_count(self) -> int:
        return len(self.fleet) if self.machines is None else len(self.machines.all)

    def stop(self, *, drain: bool) -> None:
        """Ends everything of it, with `drain` after the requests under way."""
        if self.serverless is not None:
            self.serverless.close(drain=drain)
        if self.machines is not None:
            self.machines.close()
        stop_all(self.fleet, drain=drain)

    def summary(self) -> dict[str, Any]:
        weights = {"VariantName": self.name, "CurrentWeight": self.weight, "DesiredWeight": self.weight}
        if self.serverless is not None:
            return {
                **weights,
                "CurrentInstanceCount": 0,
                "CurrentServerlessConfig": self.serverless.config.described(),
            }
        if self.machines is not None:
            return {**weights, **self.machines.summary()}
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
    def hosts_components(self) -> bool:
        return any(variant.machines is not None for variant in self.variants)

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
        self.logs = HostingLogs(account)
        self.models = Models(account)
        self.workers = asynchronous.Workers(account, self)
        self.configs = EndpointConfigs(account, self.models, self._in_use)
        self.endpoints: dict[str, Endpoint] = {}
        self.components = inference_components.Components(account, self.models, self.endpoints, self.logs.write)
        self.lock = threading.RLock()
        # what laptop/scaling.py knows: the names of an endpoint's variants that are scalable targets, and how to
        # forget them when the endpoint goes
        self.scaled_variants: Callable[[str], set[str]] = lambda endpoint: set()
        self.forget_scaling: Callable[[str], None] = lambda endpoint: None
        self._closed = threading.Event()
        for work in (self._watch, self._check_health):
            threading.Thread(target=work, daemon=True, name=f"hosting{work.__name__}").start()

    # --- endpoints ------------------------------------------------------------------------------------------------

    def create_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointName"]
        tags = read_tags(request.get("Tags"))
        with self.lock:
            if name in self.endpoints:
                where = arn("endpoint", name)
                raise ServiceError("ValidationException", f'Cannot create already existing endpoint "{where}".')
            config = self.configs.get(request["EndpointConfigName"])
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
        if inference_components.hosts_components(production):
            machines = inference_components.Machines(self.account, endpoint.arn, production)
            return Variant(
                name,
                "",
                types_of(production)[0],
                weight,
                count,
                {},
                Path(),
                (),
                config=config["EndpointConfigName"],
                pools=types_of(production),
                machines=machines,
            )
        model_dir, environment = self.models.prepare(production["ModelName"])
        fleet: tuple[Instance, ...] = ()
        kind, containers = "", None
        if "ServerlessConfig" in production:
            containers = serverless.Containers(
                serverless.read_config(production),
                functools.partial(Instance, endpoint.name, name, model_dir, environment, self.logs.endpoint),
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
            role=self.models.get(production["ModelName"])["ExecutionRoleArn"],
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
                self.logs.endpoint(endpoint.name, name, f"there is no capacity of {kind}")
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
        instances = [Instance(endpoint.name, variant, model_dir, environment, self.logs.endpoint) for _ in range(count)]
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
        config = self.configs.get(request["EndpointConfigName"])
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
            inference_components.check_update(
                [one.name for one in endpoint.variants if one.machines is not None], config["ProductionVariants"]
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
        if endpoint.hosts_components:
            self._update_machines(endpoint, config)
            return
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

    def _update_machines(self, endpoint: Endpoint, config: Mapping[str, Any]) -> None:
        """Of an endpoint for inference components: they go on where they are."""
        productions = {one["VariantName"]: one for one in config["ProductionVariants"]}
        try:
            for variant in endpoint.variants:
                if variant.machines is not None:
                    variant.machines.update(productions[variant.name])
                    variant.instance_type = types_of(productions[variant.name])[0]
                    variant.config = config["EndpointConfigName"]
        except LaunchError as error:
            self._settle(endpoint, "InService", str(error))
            return
        endpoint.config_name = config["EndpointConfigName"]
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
                no_count = known[name].serverless is not None or known[name].machines is not None
                barred = "DesiredInstanceCount" if no_count else "ServerlessUpdateConfig"
                if barred in change:
                    kind = "an instance-based"
                    if no_count:
                        kind = "a serverless" if known[name].serverless else "an inference component"
                    raise ServiceError("ValidationException", f'{barred} can\'t be set for {kind} variant: "{name}".')
                fewest = endpoint.fewest_instances
                if change.get("DesiredInstanceCount", fewest) < fewest:
                    raise ServiceError("ValidationException", f"DesiredInstanceCount must be at least {fewest}.")
            assert_traffic(
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
                self.workers.end(endpoint.queue)
        self.components.endpoint_gone(endpoint)
        stop_variants(old, drain=True)
        with self.lock:  # told in it, so that an endpoint of the same name comes after this one's end
            self.endpoints.pop(endpoint.name, None)
            self.account.tags.pop(endpoint.arn, None)
            self.account.journal.record("endpoint", endpoint=endpoint.name, status="Deleted")

    def _in_use(self, config: str) -> str | None:
        """The ARN of an endpoint that runs on that config, or will."""
        with self.lock:
            for endpoint in self.endpoints.values():
                if endpoint.status != "Failed" and config in (endpoint.config_name, endpoint.pending_config):
                    return endpoint.arn
        return None

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
                        **(
                            {"DeployedImages": [{"SpecifiedImage": self.models.image(variant.model_name)}]}
                            if variant.machines is None
                            else {}
                        ),
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
                "instances": {variant.name: variant.instance_count for variant in endpoint.variants},
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
            self.components.look_after()
            for endpoint in list(self.endpoints.values()):
                # While one is updated, both fleets are whole: the old one has to go on if the new one fails.
                steady = endpoint.status == "InService" or bool(endpoint.pending)
                for variant in endpoint.fleets:
                    if variant.serverless is not None:
                        variant.serverless.look_after()
                        continue
                    if variant.machines is not None:
                        variant.machines.look_after()
                        continue
                    dead = [instance for instance in variant.fleet if not instance.alive and not instance.stopping]
                    if steady and (dead or len(variant.fleet) < variant.desired_count):
                        self._replace(endpoint, variant, dead)

    def _check_health(self) -> None:
        """Ends instances that hang; those that have ended are replaced."""
        with ThreadPoolExecutor(16, "ping") as pool:
            while not self._closed.wait(PING_PAUSE_SECONDS):
                serving = self.components.copies() + [
                    instance
                    for endpoint in list(self.endpoints.values())
                    for variant in endpoint.fleets
                    for instance in variant.fleet
                    if instance.alive and not instance.stopping
                ]
                for instance, hangs in zip(serving, pool.map(lambda one: one.hangs(), serving), strict=True):
                    if hangs and instance.alive and not instance.stopping:
                        instance.log(instance.endpoint, instance.stream, "instance does not answer /ping; it is ended")
                        os.killpg(instance.process.pid, signal.SIGKILL)

    def _replace(self, endpoint: Endpoint, variant: Variant, dead: list[Instance]) -> None:
        with endpoint.lock:
            variant.fleet = tuple(instance for instance in variant.fleet if instance not in dead)
            missing = variant.desired_count - len(variant.fleet)
        for instance in dead:
            ended = instance.process.returncode
            instance.ended()
            self.logs.endpoint(endpoint.name, instance.stream, f"instance ended with {ended}; replacing it")
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

    def close(self) -> None:
        """Stops every instance at once."""
        self._closed.set()
        self.logs.close()
        self.workers.close()
        self.components.close()
        for endpoint in list(self.endpoints.values()):
            stop_all((one for one in endpoint.starting if hasattr(one, "process")), drain=False)
            stop_variants(endpoint.fleets, drain=False)


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
            "CreateEndpointConfig": hosting.configs.create,
            "DescribeEndpointConfig": hosting.configs.describe,
            "ListEndpointConfigs": hosting.configs.list_,
            "DeleteEndpointConfig": hosting.configs.delete,
            "CreateEndpoint": hosting.create_endpoint,
            "DescribeEndpoint": hosting.describe_endpoint,
            "ListEndpoints": hosting.list_endpoints,
            "UpdateEndpoint": hosting.update_endpoint,
            "UpdateEndpointWeightsAndCapacities": hosting.update_weights_and_capacities,
            "DeleteEndpoint": hosting.delete_endpoint,
        }
    )
    account.operations["sagemaker"].update(hosting.components.operations())
    account.operations.setdefault("sagemaker-runtime", {})["InvokeEndpointAsync"] = hosting.workers.invoke
    account.invoke = Invocations(hosting).invoke
    account.closers.append(hosting.close)
    return hosting
