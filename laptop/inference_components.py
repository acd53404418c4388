"""Inference components: models that share the instances of an endpoint, each with copies of its own, zero of them too.

SageMaker API reference (CreateInferenceComponent, UpdateInferenceComponentRuntimeConfig, ManagedInstanceScaling of a
ProductionVariant) and developer guide ("Deploy models for real-time inference", "Scale an endpoint to zero instances",
"SageMaker inference component metrics"). Refusals have the words that callers have seen. SageMaker sends no event for a
component ("Events that Amazon SageMaker AI sends to Amazon EventBridge" lists none), and DeleteEndpoint leaves the
components behind, in service and in the way of their names, as people report who measured it.

Real here: a copy is a process; an instance is a reservation of a machine's processors and memory, which costs as long
as it is kept, and is added and given back as the copies need it. Shortened: an instance without copies goes after
IDLE_MINUTES of CloudWatch's, and one comes at once. Assumed: of an instance all processors can be reserved, and
of its memory an eighth (instances.for_components_mib), a change of the copies that fails leaves the component in
service with a FailureReason, and a scalable target outlives its component.
"""

from __future__ import annotations

import functools
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.hosting_process import NO_CAPACITY as NO_INSTANCES
from laptop.hosting_process import CapacityError, Instance, LaunchError, stop_all
from laptop.metrics import MINUTE_SECONDS, InvocationCounters
from laptop.models import Models, arn
from laptop.sagemaker_common import invalid, read_tags, rows_page
from mlplatform import instances
from mlplatform.capacity import types_of

if TYPE_CHECKING:
    from laptop.hosting import Endpoint

IDLE_MINUTES = 10  # measured on AWS in July 2026: 12 minutes from no copies to no instances
START_SECONDS = 60.0
NO_ROOM = (
    "There is not enough hardware resources on the instances for this endpoint to create a copy of the inference "
    "component."
)
NAME_REQUIRED = (
    "Inference Component Name header is required for endpoints to which you plan to deploy inference components. "
    "Please include Inference Component Name header or consider using SageMaker models."
)
NAME_NOT_ALLOWED = (
    "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy inference "
    "components. Please remove the Inference Component Name header and try again."
)
NO_CAPACITY = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress (if "
    "configured) or try to increase the capacity by invoking UpdateInferenceComponentRuntimeConfig API."
)
_PING_FAILURE = (
    "The container of the inference component {name} did not pass the ping health check. Please check CloudWatch logs "
    "for this inference component."
)


# --- instances ------------------------------------------------------------------------------------------------------


def hosts_components(variant: Mapping[str, Any]) -> bool:
    """Whether an endpoint config's variant is an empty one, for inference components."""
    return "ModelName" not in variant and "ServerlessConfig" not in variant


def check_config(request: Mapping[str, Any]) -> None:
    """CreateEndpointConfig. Raises ServiceError for what SageMaker refuses."""
    variants = request.get("ProductionVariants", ())
    empty = [variant for variant in variants if hosts_components(variant)]
    for variant in variants:
        if "ManagedInstanceScaling" in variant and variant not in empty:
            raise invalid("ManagedInstanceScaling is only supported for inference component endpoints.")
    if not empty:
        return
    if len(empty) != len(variants):
        raise invalid("Either all variants of an endpoint configuration have a ModelName, or none.")
    if not request.get("ExecutionRoleArn"):
        raise invalid("ExecutionRoleArn is required for an endpoint configuration whose variants have no ModelName.")
    if request.get("AsyncInferenceConfig"):
        raise invalid("Inference components are not supported for asynchronous inference.")
    for variant in empty:
        least, most = _bounds(variant)
        if least > most:
            raise invalid(f"MinInstanceCount {least} must not be greater than MaxInstanceCount {most}.")


def check_update(before: Collection[str], variants: Sequence[Mapping[str, Any]]) -> None:
    """UpdateEndpoint: `before` are the names of the variants that host components now. Raises ServiceError."""
    after = [variant["VariantName"] for variant in variants if hosts_components(variant)]
    if bool(before) != bool(after):
        raise invalid(
            "Cannot update an endpoint between inference components and models of its variants. Create a new endpoint."
        )
    if set(before) != set(after):
        raise invalid("The laptop updates an endpoint with inference components to the same variants only.")


def _bounds(variant: Mapping[str, Any]) -> tuple[int, int]:
    count = int(variant.get("InitialInstanceCount", 1))
    managed = variant.get("ManagedInstanceScaling", {})
    if managed.get("Status") != "ENABLED":
        return count, count
    return int(managed.get("MinInstanceCount", 1)), int(managed.get("MaxInstanceCount", max(count, 1)))


@dataclass(frozen=True)
class Needs:
    """What a copy reserves."""

    cpus: float
    memory_mb: int


@dataclass(eq=False)
class Machine:
    """An instance: it costs, and has room."""

    instance_type: str
    id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}{secrets.randbits(4):x}")
    copies: dict[Instance, Needs] = field(default_factory=dict)
    idle_since: float = field(default_factory=time.monotonic)

    def has_room(self, needs: Needs) -> bool:
        taken = [*self.copies.values(), needs]
        memory_mb = instances.for_components_mib(self.instance_type)
        cpus = instances.vcpus(self.instance_type)
        return sum(one.cpus for one in taken) <= cpus and sum(one.memory_mb for one in taken) <= memory_mb


class Machines:
    """The instances of one variant that hosts inference components."""

    def __init__(self, account: Account, endpoint_arn: str, variant: Mapping[str, Any]) -> None:
        """Starts as many as the config says. Raises CapacityError."""
        self.account, self.endpoint_arn = account, endpoint_arn
        self.variant = variant
        self.least, self.most = _bounds(variant)
        self.all: tuple[Machine, ...] = ()
        self._lock = threading.RLock()
        self._closed = False
        for _ in range(int(variant.get("InitialInstanceCount", 1))):
            self._add()

    def summary(self) -> dict[str, Any]:
        shown = {key: self.variant[key] for key in ("ManagedInstanceScaling", "RoutingConfig") if key in self.variant}
        return {"CurrentInstanceCount": len(self.all), "DesiredInstanceCount": len(self.all), **shown}

    def place(self, copy: Instance, needs: Needs) -> None:
        """On an instance with room, or on a new one. Raises LaunchError."""
        with self._lock:
            if self._closed:
                raise LaunchError("The endpoint is being deleted.")
            machine = next((one for one in self.all if one.has_room(needs)), None)
            if machine is None:
                roomy = any(Machine(kind).has_room(needs) for kind in types_of(self.variant))
                if len(self.all) >= self.most or not roomy:
                    raise LaunchError(NO_ROOM)
                machine = self._add()
                if not machine.has_room(needs):
                    raise LaunchError(NO_ROOM)
            machine.copies[copy] = needs

    def take_off(self, copy: Instance) -> None:
        with self._lock:
            for machine in self.all:
                if machine.copies.pop(copy, None) is not None and not machine.copies:
                    machine.idle_since = time.monotonic()

    def look_after(self) -> None:
        """Gives back what had no copies for a while, down to the fewest."""
        before = time.monotonic() - IDLE_MINUTES * MINUTE_SECONDS
        with self._lock:
            for machine in self.all:
                if not machine.copies and machine.idle_since <= before and len(self.all) > self.least:
                    self._remove(machine)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for machine in self.all:
                self._remove(machine)

    def update(self, variant: Mapping[str, Any]) -> None:
        """UpdateEndpoint: other bounds or another type; the copies go on as they are. Raises CapacityError."""
        with self._lock:
            before, self.variant = self.all, variant
            self.least, self.most = _bounds(variant)
            for machine in before:
                if machine.instance_type not in types_of(variant):
                    self._add().copies.update(machine.copies)
                    self._remove(machine)
            while len(self.all) < self.least:
                self._add()

    def usage(self, of: Mapping[Instance, tuple[float, float]]) -> list[tuple[float, float]]:
        """CPU and memory in percent, for each instance the sum of its copies' `of`."""
        found = []
        for machine in self.all:
            each = [of[copy] for copy in list(machine.copies) if copy in of]
            found.append((sum(cpu for cpu, _ in each), sum(memory for _, memory in each)))
        return found

    def _add(self) -> Machine:
        """Of the first type that there are machines of. Raises CapacityError."""
        kinds = (kind for kind in types_of(self.variant) if self.account.faults.next("ec2", "RunInstances") is None)
        kind = next(kinds, None)
        if kind is None:
            raise CapacityError(NO_INSTANCES)
        machine = Machine(kind)
        self.account.bill.instance_started(machine.id, machine.instance_type, self.endpoint_arn)
        self.all = (*self.all, machine)
        return machine

    def _remove(self, machine: Machine) -> None:
        self.all = tuple(one for one in self.all if one is not machine)
        self.account.bill.instance_stopped(machine.id)


# --- components -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Component:
    """An inference component; `copies` is replaced as a whole, never changed, so that readers need no lock."""

    name: str
    endpoint: Endpoint
    variant: str
    specification: Mapping[str, Any]
    created: datetime
    modified: datetime
    desired: int
    status: str = "Creating"
    state: str = "CREATE_IN_PROGRESS"  # as a refusal names it
    failure_reason: str | None = None
    copies: tuple[Instance, ...] = ()
    counters: InvocationCounters = field(default_factory=InvocationCounters)
    without_capacity: int = 0  # requests since the last minute that found no copy
    starting: tuple[Instance, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def arn(self) -> str:
        return arn("inference-component", self.name)

    @property
    def machines(self) -> Machines | None:
        """None once the endpoint is gone."""
        return next((one.machines for one in self.endpoint.variants if one.name == self.variant), None)

    def take_without_capacity(self) -> int:
        with self.lock:
            taken, self.without_capacity = self.without_capacity, 0
        return taken


class Components:
    """All inference components of the account."""

    def __init__(
        self,
        account: Account,
        models: Models,
        endpoints: Mapping[str, Endpoint],
        log: Callable[[str, str, str], None],
    ) -> None:
        """`log` takes a log group, a stream and a line."""
        self.account, self.models, self.endpoints, self._log = account, models, endpoints, log
        self.all: dict[str, Component] = {}
        self._lock = threading.RLock()

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateInferenceComponent": self.create,
            "DescribeInferenceComponent": self.describe,
            "ListInferenceComponents": self.list_,
            "UpdateInferenceComponent": self.update,
            "UpdateInferenceComponentRuntimeConfig": self.update_runtime_config,
            "DeleteInferenceComponent": self.delete,
        }

    # --- operations -----------------------------------------------------------------------------------------------

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        name, tags = request["InferenceComponentName"], read_tags(request.get("Tags"))
        endpoint = self.endpoints.get(request["EndpointName"])
        if endpoint is None or endpoint.status == "Deleting":
            raise invalid(f'Could not find endpoint "{arn("endpoint", request["EndpointName"])}".')
        if not endpoint.answers:
            raise invalid(f'Endpoint "{endpoint.arn}" is not in service; it is {endpoint.status}.')
        variant = request.get("VariantName") or endpoint.variants[0].name
        found = next((one for one in endpoint.variants if one.name == variant), None)
        if found is None:
            raise invalid(f'Could not find variant "{variant}" of "{endpoint.arn}".')
        if found.machines is None:
            raise invalid(
                "Invalid request provided: Inference Components are not supported in this Endpoint. Please make sure "
                "this endpoint can deploy inference components."
            )
        copies = request.get("RuntimeConfig", {}).get("CopyCount", 1)
        if copies < 1:
            raise invalid("Inference components copy count an integer larger than 0.")
        specification = self._checked(request)
        with self._lock:
            if name in self.all:
                where = arn("inference-component", name)
                raise invalid(f'Cannot create already existing inference component "{where}".')
            now = self.account.clock.now()
            component = Component(name, endpoint, variant, specification, now, now, copies)
            self.all[name] = component
            self.account.tags[component.arn] = tags
        self._changed(component)
        self._background(self._grow, component, "Failed")
        return {"InferenceComponentArn": component.arn}

    def _checked(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The Specification. Raises ServiceError for what SageMaker refuses, or the laptop does not run."""
        specification: Mapping[str, Any] = request.get("Specification") or {}
        for unsupported in ("BaseInferenceComponentName", "Container"):
            if unsupported in specification:
                raise invalid(f"The laptop does not run inference components with a {unsupported}.")
        if "Specifications" in request or not specification.get("ModelName"):
            raise invalid("The laptop runs inference components with one Specification, which has a ModelName.")
        if "ComputeResourceRequirements" not in specification:
            raise invalid("ComputeResourceRequirements is required for an inference component with a model.")
        if specification["ComputeResourceRequirements"].get("NumberOfAcceleratorDevicesRequired"):
            raise invalid("The laptop has no accelerators to give to an inference component.")
        self.models.get(specification["ModelName"])
        return specification

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        component = self._component(request["InferenceComponentName"])
        with component.lock:
            described: dict[str, Any] = {
                **self._row(component),
                "Specification": dict(component.specification),
                "RuntimeConfig": {
                    "DesiredCopyCount": component.desired,
                    "CurrentCopyCount": len(component.copies),
                },
            }
            if component.failure_reason:
                described["FailureReason"] = component.failure_reason
        return described

    @staticmethod
    def _row(component: Component) -> dict[str, Any]:
        return {
            "InferenceComponentName": component.name,
            "InferenceComponentArn": component.arn,
            "EndpointName": component.endpoint.name,
            "EndpointArn": component.endpoint.arn,
            "VariantName": component.variant,
            "InferenceComponentStatus": component.status,
            "CreationTime": component.created,
            "LastModifiedTime": component.modified,
        }

    def list_(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            rows = [
                self._row(one)
                for one in self.all.values()
                if request.get("StatusEquals") in (None, one.status)
                and request.get("EndpointNameEquals") in (None, one.endpoint.name)
                and request.get("VariantNameEquals") in (None, one.variant)
            ]
        return rows_page(rows, request, "InferenceComponents", "InferenceComponentName", "InferenceComponentStatus")

    def update_runtime_config(self, request: dict[str, Any]) -> dict[str, Any]:
        component = self._begin(request["InferenceComponentName"], "update", "UPDATE_RC_IN_PROGRESS")
        component.desired = request["DesiredRuntimeConfig"]["CopyCount"]
        self._changed(component)
        self._background(self._grow, component, "InService")
        return {"InferenceComponentArn": component.arn}

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        """Another model or other needs: new copies come first, then the old ones go."""
        specification = self._checked(request) if "Specification" in request or "Specifications" in request else None
        component = self._begin(request["InferenceComponentName"], "update", "UPDATE_IN_PROGRESS")
        component.desired = request.get("RuntimeConfig", {}).get("CopyCount", component.desired)
        self._changed(component)
        if specification is None:
            self._background(self._grow, component, "InService")
        else:
            self._background(self._replace_all, component, specification)
        return {"InferenceComponentArn": component.arn}

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        component = self._begin(request["InferenceComponentName"], "delete", "DELETE_IN_PROGRESS")
        self._changed(component)
        self._background(self._delete, component)
        return {}

    def _component(self, name: str) -> Component:
        with self._lock:
            if name not in self.all:
                raise invalid(f'Could not find inference component "{arn("inference-component", name)}".')
            return self.all[name]

    def _begin(self, name: str, what: str, state: str) -> Component:
        """A change of a component that none is under way of. Raises ServiceError."""
        component = self._component(name)
        with component.lock:
            if component.state.endswith("IN_PROGRESS") or (component.status == "Failed" and what != "delete"):
                current = component.state if component.state.endswith("IN_PROGRESS") else "FAILED"
                raise invalid(f'Cannot {what} inference component "{component.arn}" while it is in state {current}.')
            component.state = state
            component.status = "Deleting" if what == "delete" else "Updating"
            component.failure_reason = None
        return component

    # --- what happens by itself -----------------------------------------------------------------------------------

    def of(self, endpoint: str, name: str) -> Component | None:
        """What InvokeEndpoint asks for."""
        component = self.all.get(name)
        return component if component is not None and component.endpoint.name == endpoint else None

    def _grow(self, component: Component, failed: str) -> None:
        """To as many copies as are wanted, or fewer."""
        missing = component.desired - len(component.copies)
        try:
            if missing > 0:
                added = self._start(component, component.specification, missing)
                self._keep(component, (*component.copies, *added))
            elif missing < 0:
                with component.lock:
                    removed = component.copies[missing:]
                    component.copies = component.copies[:missing]
                stop_all(removed, drain=True)
        except LaunchError as error:
            component.desired = len(component.copies)
            self._settle(component, failed, str(error))
        else:
            self._settle(component, "InService", None)

    def _replace_all(self, component: Component, specification: Mapping[str, Any]) -> None:
        old = component.copies
        try:
            self._keep(component, self._start(component, specification, component.desired))
        except LaunchError as error:
            self._settle(component, "InService", str(error))
            return
        component.specification = specification
        stop_all(old, drain=True)
        self._settle(component, "InService", None)

    @staticmethod
    def _keep(component: Component, copies: tuple[Instance, ...]) -> None:
        """Raises LaunchError, and ends them, if the endpoint was deleted meanwhile."""
        with component.lock:
            component.copies = copies
            gone = component.machines is None
            if gone:
                component.copies = ()
        if gone:
            stop_all(copies, drain=False)
            raise LaunchError("The endpoint is being deleted.")

    def _start(self, component: Component, specification: Mapping[str, Any], count: int) -> tuple[Instance, ...]:
        machines = component.machines
        if machines is None:
            raise LaunchError(f'Could not find endpoint "{component.endpoint.arn}".')
        required = specification["ComputeResourceRequirements"]
        needs = Needs(float(required.get("NumberOfCpuCoresRequired", 0.0)), int(required["MinMemoryRequiredInMb"]))
        try:
            model_dir, environment = self.models.prepare(specification["ModelName"])
        except ServiceError as error:
            raise LaunchError(error.message) from error
        group = f"/aws/sagemaker/InferenceComponents/{component.name}"

        def log(_: str, stream: str, line: str) -> None:
            self._log(group, stream, line)

        made = tuple(
            Instance(component.endpoint.name, component.variant, model_dir, environment, log) for _ in range(count)
        )
        placed: list[Instance] = []
        component.starting = made
        try:
            for copy in made:
                machines.place(copy, needs)
                copy.ended = functools.partial(machines.take_off, copy)
                placed.append(copy)
                copy.start()
            if not all(copy.wait_healthy(START_SECONDS) for copy in made):
                raise LaunchError(_PING_FAILURE.format(name=component.name))
        except BaseException:
            for copy in placed:
                copy.stop(drain=False) if hasattr(copy, "process") else copy.ended()
            raise
        finally:
            component.starting = ()
        return made

    def _delete(self, component: Component) -> None:
        with component.lock:
            copies, component.copies = component.copies, ()
        stop_all(copies, drain=True)
        with self._lock:
            self.all.pop(component.name, None)
            self.account.tags.pop(component.arn, None)

    def look_after(self) -> None:
        """Replaces copies that died."""
        for component in list(self.all.values()):
            dead = tuple(copy for copy in component.copies if not copy.alive and not copy.stopping)
            if component.status != "InService" or not dead:
                continue
            with component.lock:
                component.copies = tuple(copy for copy in component.copies if copy not in dead)
            stop_all(dead, drain=False)
            for copy in dead:
                group = f"/aws/sagemaker/InferenceComponents/{component.name}"
                self._log(group, copy.stream, f"copy ended with {copy.process.returncode}; replacing it")
            with component.lock:
                component.state, component.status = "UPDATE_RC_IN_PROGRESS", "Updating"
            self._background(self._grow, component, "InService")

    def endpoint_gone(self, endpoint: Endpoint) -> None:
        """DeleteEndpoint ends the copies with the instances; the components stay, as they are."""
        for component in list(self.all.values()):
            if component.endpoint is endpoint:
                with component.lock:
                    copies, component.copies = component.copies, ()
                stop_all(copies, drain=True)

    def copies(self) -> list[Instance]:
        """All that run."""
        return [copy for component in list(self.all.values()) for copy in component.copies]

    def close(self) -> None:
        """Ends every copy at once."""
        for component in list(self.all.values()):
            running = [one for one in (*component.copies, *component.starting) if hasattr(one, "process")]
            stop_all(running, drain=False)

    def _settle(self, component: Component, status: str, reason: str | None) -> None:
        with component.lock:
            component.status, component.state, component.failure_reason = status, "", reason
        self._changed(component)

    def _changed(self, component: Component) -> None:
        component.modified = self.account.clock.now()
        self.account.journal.record(
            "component",
            component=component.name,
            endpoint=component.endpoint.name,
            status=component.status,
            copies=len(component.copies),
            reason=component.failure_reason,
        )

    def _background(self, work: Callable[..., None], *arguments: Any) -> None:
        self.account.clock.under_way.start_thread(f"components{work.__name__}", work, *arguments)
