"""SageMaker hosting: models, endpoint configs, and endpoints whose instances are real processes.

Behaviour and messages follow the SageMaker API reference (CreateEndpoint, UpdateEndpoint, DeleteEndpoint,
DeleteEndpointConfig, UpdateEndpointWeightsAndCapacities, InvokeEndpoint) and the developer guide ("Deploy models for
real-time inference", "Update models in production", "Events that Amazon SageMaker AI sends to Amazon EventBridge").
An update starts a whole new fleet, lets it pass its health checks, shifts the traffic as its DeploymentConfig says
(deployments.py), then drains and stops the old fleet; an alarm that rings meanwhile moves it all back. A config in use
can't be deleted here: the reference says "you must not", and the laptop holds you to it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httptools
import psutil

from laptop import deployments
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.metrics import InvocationCounters
from laptop.sagemaker_common import (
    assert_role_trusts_sagemaker,
    assert_runnable_image,
    between,
    page,
    read_tags,
    split_s3_uri,
)
from mlplatform.capacity import types_of

MAX_BODY_BYTES = 6_291_456  # InvokeEndpoint's BodyBlob in the service model
INVOCATION_TIMEOUT_SECONDS = 60.0  # "model containers must respond to requests within 60 seconds" (InvokeEndpoint)
HEALTH_CHECK_TIMEOUT_SECONDS = 60.0  # SageMaker waits minutes; a process is up in a second unless the machine is busy
DRAIN_SECONDS = 60.0
# Health checks of what is in service: "/ping" has 2 seconds ("How your container should respond to health check
# requests", developer guide). One that hangs is replaced after so many without an answer and without a request under
# way, for a container may work on one request at a time; or when the longest request should long have ended.
PING_PAUSE_SECONDS, PING_TIMEOUT_SECONDS, PING_MISSES, PING_LOST_SECONDS = 2.0, 2.0, 3, 90.0
MAX_ARTIFACT_BYTES = 8 * 1024**3
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
INSTANCE_SCRIPT = Path(__file__).with_name("instance.py")
Headers = Mapping[str, str]


def arn(kind: str, name: str) -> str:
    """SageMaker writes names in ARNs in lower case."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:{kind}/{name.lower()}"


class LaunchError(Exception):
    """A fleet could not be brought into service; the message becomes the endpoint's FailureReason."""


class CapacityError(LaunchError):
    """There is no machine of a type, by POST /_laptop/fault for the call of EC2's that would have got one."""


class InstanceLostError(Exception):
    """The instance did not answer: `sent` says whether it may have seen the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection to an instance; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parser: Any = httptools.HttpResponseParser(self)
        self.answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the container's answer is not HTTP: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((self.parser.get_status_code(), self.headers, b"".join(self.body)))
        if not self.parser.should_keep_alive():
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail("the container closed the connection")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _fail(self, reason: str) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(InstanceLostError(reason, sent=True))

    async def request(self, data: bytes, timeout_seconds: float) -> tuple[int, dict[str, str], bytes]:
        """Sends one request. Raises InstanceLostError, or TimeoutError after `timeout_seconds`."""
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        self.headers, self.body = {}, []
        if self.transport is None:
            raise InstanceLostError("the container closed the connection", sent=False)
        timer = loop.call_later(timeout_seconds, self._time_out)
        self.transport.write(data)
        try:
            return await self.answer
        finally:
            timer.cancel()
            if not self.answer.done() or self.answer.cancelled():
                self.close()  # the caller went away; the late answer must not meet the next request

    def _time_out(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(TimeoutError())
            self.close()


@dataclass(eq=False)
class Instance:
    """One hosting instance: a process group, its loopback port, its log stream and its connections."""

    endpoint: str
    variant: str
    model_dir: Path
    environment: dict[str, str]
    log: Callable[[str, str, str], None]  # endpoint, stream, line
    id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}{secrets.randbits(4):x}")
    in_flight: int = 0
    idle: deque[Connection] = field(default_factory=deque)
    port: int = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    stopping: bool = False
    ended: Callable[[], None] = lambda: None  # called once it no longer runs
    misses: int = 0  # health checks without an answer since the last that had one
    answered: float = field(default_factory=time.monotonic)  # the last health check that had one
    _measured: psutil.Process | None = None

    @property
    def stream(self) -> str:
        return f"{self.variant}/{self.id}"

    def start(self) -> None:
        """The listening socket is made here and inherited, so that no port can be lost in between."""
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        self.port = listening.getsockname()[1]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(INSTANCE_SCRIPT)),
                *("--model-dir", str(self.model_dir), "--socket", str(listening.fileno())),
            ],
            env=self.environment,
            cwd=self.model_dir,
            stdin=subprocess.PIPE,  # its end tells the instance that the laptop is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        listening.close()
        threading.Thread(target=self._read_log, daemon=True, name=f"log-{self.id}").start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log(self.endpoint, self.stream, line.decode("utf-8", "replace").rstrip())

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_healthy(self, timeout_seconds: float) -> bool:
        """True once /ping answered 200; False if the process ended or the time did."""
        deadline = time.monotonic() + timeout_seconds
        while self.alive and time.monotonic() < deadline and not self.stopping:
            if self._ping(1.0):
                self.answered = time.monotonic()
                return True
            time.sleep(0.02)
        return False

    def _ping(self, timeout_seconds: float) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_seconds) as ping:
                ping.sendall(b"GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return b" 200 " in ping.recv(64).split(b"\r\n", 1)[0]
        except OSError:
            return False

    def hangs(self) -> bool:
        """Checks its health; whether it has not answered for so long that it is to be replaced."""
        busy = self.in_flight > 0
        if self._ping(PING_TIMEOUT_SECONDS):
            self.misses, self.answered = 0, time.monotonic()
        elif not busy and not self.in_flight:
            self.misses += 1
        return self.misses >= PING_MISSES or time.monotonic() - self.answered > PING_LOST_SECONDS

    def usage(self) -> tuple[float, float]:
        """CPU since the last call (100 per busy core) and memory, both in percent."""
        try:
            if self._measured is None:
                self._measured = psutil.Process(self.process.pid)
            return self._measured.cpu_percent(None), self._measured.memory_percent()
        except psutil.Error:
            return 0.0, 0.0

    async def connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        except OSError as error:
            raise InstanceLostError(str(error), sent=False) from error
        return made

    async def invoke(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = await self.connection()
        answer = await connection.request(data, INVOCATION_TIMEOUT_SECONDS)
        if connection.usable:
            self.idle.append(connection)
        return answer

    def stop(self, *, drain: bool) -> None:
        """Ends the process group; with `drain` only after the requests under way, at most DRAIN_SECONDS later."""
        deadline = time.monotonic() + (DRAIN_SECONDS if drain else 0.0)
        if drain:
            time.sleep(0.1)  # a request that chose this instance just before the shift is counted by now
        while drain and self.in_flight and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stopping = True
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, end)
                self.process.wait(1.0)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.poll()
        self.ended()


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

    def summary(self) -> dict[str, Any]:
        return {
            "VariantName": self.name,
            "CurrentWeight": self.weight,
            "DesiredWeight": self.weight,
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

    @property
    def arn(self) -> str:
        return arn("endpoint", self.name)

    @property
    def fleets(self) -> tuple[Variant, ...]:
        """Everything that may answer: the old and the new."""
        return (*self.variants, *self.pending)


class Hosting:
    """All models, endpoint configs and endpoints of the account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.models: dict[str, dict[str, Any]] = {}
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
        self._extracting = threading.Lock()
        self._work = account.home / "hosting"
        for work in (self._watch, self._check_health, self._ship_logs):
            threading.Thread(target=work, daemon=True, name=f"hosting{work.__name__}").start()

    # --- models ---------------------------------------------------------------------------------------------------

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["ModelName"]
        containers = [request["PrimaryContainer"]] if "PrimaryContainer" in request else request.get("Containers", [])
        if len(containers) != 1:
            raise ServiceError("ValidationException", "The laptop runs models of exactly one container.")
        role = request.get("ExecutionRoleArn")
        if not role:
            raise ServiceError("ValidationException", "ExecutionRoleArn is required to read the model data.")
        container = self._packaged(containers[0])
        assert_runnable_image(container.get("Image", ""), "pytorch-inference")
        tags = read_tags(request.get("Tags"))
        with self.lock:
            if name in self.models:
                raise ServiceError(
                    "ValidationException", f'Cannot create already existing model "{arn("model", name)}".'
                )
        assert_role_trusts_sagemaker(self.account, role)
        self._check_artifact(container, role)
        with self.lock:
            self.account.tags[arn("model", name)] = tags
            model = {key: value for key, value in request.items() if key != "Tags"}
            self.models[name] = {
                **model,
                "ModelArn": arn("model", name),
                "CreationTime": self.account.clock.now(),
                "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            }
        return {"ModelArn": arn("model", name)}

    def _packaged(self, container: dict[str, Any]) -> dict[str, Any]:
        if "ModelPackageName" not in container:
            return container
        describe = self.account.operations["sagemaker"]["DescribeModelPackage"]
        package = describe({"ModelPackageName": container["ModelPackageName"]})
        packaged = package["InferenceSpecification"]["Containers"][0]
        return {
            **packaged,
            **container,
            "Environment": {**packaged.get("Environment", {}), **container.get("Environment", {})},
        }

    @staticmethod
    def _artifact_uri(container: dict[str, Any]) -> str:
        source = container.get("ModelDataSource", {}).get("S3DataSource", {})
        return str(container.get("ModelDataUrl") or source.get("S3Uri") or "")

    def _check_artifact(self, container: dict[str, Any], role: str) -> None:
        from botocore.exceptions import ClientError

        uri = self._artifact_uri(container)
        bucket, key = split_s3_uri(uri)
        try:
            self.account.client("s3", role).head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise ServiceError("ValidationException", f"Could not find model data at {uri}.") from error
            raise ServiceError(
                "ValidationException",
                f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that its trust '
                'relationship policy allows the action "sts:AssumeRole" for the service principal '
                '"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that the '
                f"object is located in {REGION}.",
            ) from error

    def describe_model(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self._model(request["ModelName"]))

    def _model(self, name: str) -> dict[str, Any]:
        with self.lock:
            if name not in self.models:
                raise ServiceError("ValidationException", f'Could not find model "{arn("model", name)}".')
            return self.models[name]

    def list_models(self, request: dict[str, Any]) -> dict[str, Any]:
        shown = ("ModelName", "ModelArn", "CreationTime")
        with self.lock:
            rows = [{key: model[key] for key in shown} for model in self.models.values()]
        return _page(rows, request, "Models", "ModelName")

    def delete_model(self, request: dict[str, Any]) -> dict[str, Any]:
        self._model(request["ModelName"])
        with self.lock:
            self.models.pop(request["ModelName"], None)
            self.account.tags.pop(arn("model", request["ModelName"]), None)
        return {}

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
        for unsupported in ("AsyncInferenceConfig", "ShadowProductionVariants", "ExplainerConfig"):
            if request.get(unsupported):
                raise ServiceError("ValidationException", f"The laptop does not run {unsupported}.")
        for variant in variants:
            if "ServerlessConfig" in variant or not types_of(variant) or "ModelName" not in variant:
                raise ServiceError(
                    "ValidationException",
                    f"Variant {variant['VariantName']}: the laptop runs real-time variants, "
                    "which have a ModelName and an InstanceType.",
                )
            self._model(variant["ModelName"])
            if variant.get("InitialInstanceCount", 1) < 1:
                raise ServiceError("ValidationException", "InitialInstanceCount must be at least 1.")
        tags = read_tags(request.get("Tags"))
        with self.lock:
            self.account.tags[arn("endpoint-config", name)] = tags
            self.configs[name] = {
                **{key: value for key, value in request.items() if key != "Tags"},
                "ProductionVariants": [
                    {"InitialInstanceCount": 1, "InitialVariantWeight": 1.0, **variant} for variant in variants
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
        return _page(rows, request, "EndpointConfigs", "EndpointConfigName")

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
        with endpoint.lock:
            endpoint.variants = variants
        self._settle(endpoint, "InService", None)

    def _launch(
        self, endpoint: Endpoint, config: dict[str, Any], retained: Mapping[str, tuple[int, float]]
    ) -> tuple[Variant, ...]:
        """A healthy fleet for each variant of the config, or LaunchError and no process left."""
        variants = []
        try:
            for production in config["ProductionVariants"]:
                variant = production["VariantName"]
                count, weight = retained.get(
                    variant, (production["InitialInstanceCount"], float(production["InitialVariantWeight"]))
                )
                model_dir, environment = self._prepare(production["ModelName"])
                kind, fleet = self._start_fleet(endpoint, production, model_dir, environment, count)
                variants.append(
                    Variant(
                        variant,
                        production["ModelName"],
                        kind,
                        weight,
                        count,
                        environment,
                        model_dir,
                        fleet,
                        config=config["EndpointConfigName"],
                        pools=types_of(production),
                    )
                )
        except Exception as error:
            self._stop_all([instance for variant in variants for instance in variant.fleet], drain=False)
            if isinstance(error, LaunchError):
                raise
            told = error.message if isinstance(error, ServiceError) else f"{type(error).__name__}: {error}"
            raise LaunchError(told) from error
        return tuple(variants)

    def _start_fleet(
        self,
        endpoint: Endpoint,
        production: Mapping[str, Any],
        model_dir: Path,
        environment: dict[str, str],
        count: int,
    ) -> tuple[str, tuple[Instance, ...]]:
        """On the first type of the variant's that there are machines of; all of them on the same."""
        for kind in types_of(production):
            try:
                name = production["VariantName"]
                return kind, self._start_instances(endpoint, name, kind, model_dir, environment, count)
            except CapacityError:
                self._log(endpoint.name, endpoint.name, f"there is no capacity of {kind}")
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
        instances = [Instance(endpoint.name, variant, model_dir, environment, self._log) for _ in range(count)]
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
            self._stop_all([instance for instance in instances if hasattr(instance, "process")], drain=False)
            raise
        finally:
            endpoint.starting = [instance for instance in endpoint.starting if instance not in instances]
        return tuple(instances)

    def _prepare(self, model_name: str) -> tuple[Path, dict[str, str]]:
        """Downloads the artifact with the model's role and extracts it; once per model, the folder is read-only."""
        model = self._model(model_name)
        container = self._packaged(model.get("PrimaryContainer") or model["Containers"][0])
        role = model["ExecutionRoleArn"]
        folder = self._work / f"{model_name}-{int(model['CreationTime'].timestamp() * 1e6)}"
        with self._extracting:
            if not folder.exists():
                self._check_artifact(container, role)
                self._extract(container, role, folder)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._work),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "SAGEMAKER_REGION": REGION,
            **{key: str(value) for key, value in container.get("Environment", {}).items()},
        }
        return folder, environment

    def _extract(self, container: dict[str, Any], role: str, folder: Path) -> None:
        bucket, key = split_s3_uri(self._artifact_uri(container))
        self._work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._work) as scratch:
            archive, extracted = Path(scratch, "model.tar.gz"), Path(scratch, "model")
            self.account.client("s3", role).download_file(bucket, key, str(archive))
            try:
                extract(archive, extracted)
            except (tarfile.TarError, EOFError, OSError, ValueError) as error:
                raise LaunchError(
                    f"Failed to extract model data archive {self._artifact_uri(container)}: {error}"
                ) from error
            shutil.move(extracted, folder)

    def update_endpoint(self, request: dict[str, Any]) -> dict[str, Any]:
        endpoint = self._endpoint(request["EndpointName"])
        config = self._config(request["EndpointConfigName"])
        with endpoint.lock:
            self._must_be_settled(endpoint)
            scaled = self.scaled_variants(endpoint.name)
            types = {variant["VariantName"]: types_of(variant) for variant in config["ProductionVariants"]}
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
                    if variant.name in initial:
                        new = initial[variant.name]
                        retained[variant.name] = (
                            new["InitialInstanceCount"]
                            if "DesiredInstanceCount" in excluded
                            else variant.desired_count,
                            float(new["InitialVariantWeight"]) if "DesiredWeight" in excluded else variant.weight,
                        )
            fewest = min(
                retained.get(one["VariantName"], (one["InitialInstanceCount"], 0.0))[0]
                for one in config["ProductionVariants"]
            )
            deployment = deployments.read_deployment(request.get("DeploymentConfig"), fewest)
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
            old = [instance for variant in endpoint.variants for instance in variant.fleet]
            counters = {variant.name: variant.counters for variant in endpoint.variants}
            for variant in variants:
                if variant.name in counters:
                    variant.counters.add(counters[variant.name].take())
            endpoint.variants, endpoint.config_name = variants, config["EndpointConfigName"]
            endpoint.pending, endpoint.share, endpoint.stage = (), 0.0, None
        self._stop_all(old, drain=True)
        self._settle(endpoint, "InService", None)

    def _see_alarms(self, config: Mapping[str, Any], alarms: tuple[str, ...]) -> None:
        """The role of the model has to be allowed to see them, and they have to be there. Raises LaunchError."""
        from botocore.exceptions import ClientError

        if not alarms:
            return
        role = self._model(config["ProductionVariants"][0]["ModelName"])["ExecutionRoleArn"]
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
            new = [instance for variant in endpoint.pending for instance in variant.fleet]
            endpoint.status, endpoint.share = "RollingBack", 0.0
            endpoint.pending, endpoint.stage = (), None
        self._changed(endpoint)
        self._stop_all(new, drain=True)
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
            known = {variant.name for variant in endpoint.variants}
            wanted = {one["VariantName"]: one for one in request["DesiredWeightsAndCapacities"]}
            for name, change in wanted.items():
                if name not in known:
                    raise ServiceError("ValidationException", f'Could not find variant "{name}" of "{endpoint.arn}".')
                if change.get("DesiredInstanceCount", 1) < 1:
                    raise ServiceError("ValidationException", "DesiredInstanceCount must be at least 1.")
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
                    self._stop_all(removed, drain=True)
                variant.weight = float(change.get("DesiredWeight", variant.weight))
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
            old = [instance for variant in endpoint.variants for instance in variant.fleet]
            endpoint.variants = ()
        self._stop_all(old, drain=True)
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
                        "DeployedImages": [{"SpecifiedImage": self._image(variant.model_name)}],
                    }
                    for variant in endpoint.variants
                ]
            if endpoint.failure_reason:
                described["FailureReason"] = endpoint.failure_reason
            if endpoint.pending_config:
                described["PendingDeploymentSummary"] = self._pending_summary(endpoint)
        return described

    def _image(self, model_name: str) -> str:
        model = self.models.get(model_name, {})
        container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
        return str(container.get("Image", ""))

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
        return _page(rows, request, "Endpoints", "EndpointName")

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
                        self._log(instance.endpoint, instance.stream, "instance does not answer /ping; it is ended")
                        os.killpg(instance.process.pid, signal.SIGKILL)

    def _replace(self, endpoint: Endpoint, variant: Variant, dead: list[Instance]) -> None:
        with endpoint.lock:
            variant.fleet = tuple(instance for instance in variant.fleet if instance not in dead)
            missing = variant.desired_count - len(variant.fleet)
        for instance in dead:
            ended = instance.process.returncode
            instance.ended()
            self._log(endpoint.name, instance.stream, f"instance ended with {ended}; replacing it")
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
        self._stop_all(started[max(room, 0) :], drain=False)

    def _background(self, work: Callable[..., None], *arguments: Any) -> None:
        self.account.clock.under_way.start_thread(f"hosting{work.__name__}", work, *arguments)

    @staticmethod
    def _stop_all(instances: list[Instance] | tuple[Instance, ...], *, drain: bool) -> None:
        if instances:
            with ThreadPoolExecutor(len(instances)) as pool:
                list(pool.map(lambda instance: instance.stop(drain=drain), instances))

    def _log(self, endpoint: str, stream: str, line: str) -> None:
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
        instances = [
            instance
            for endpoint in list(self.endpoints.values())
            for instance in [*endpoint.starting, *(one for variant in endpoint.fleets for one in variant.fleet)]
            if hasattr(instance, "process")
        ]
        self._stop_all(instances, drain=False)

    # --- the hot path ---------------------------------------------------------------------------------------------

    async def invoke(self, endpoint_name: str, headers: Headers, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """InvokeEndpoint. `headers` have lower-case names; the answer's body is the model's, or an AWS error's JSON."""
        began = time.perf_counter()
        endpoint = self.endpoints.get(endpoint_name)
        if endpoint is None or not endpoint.variants or endpoint.status in ("Creating", "Failed", "Deleting"):
            message = f"Endpoint {endpoint_name} of account {ACCOUNT_ID} not found."
            return _error(400, "ValidationError", {"message": message})
        if len(body) > MAX_BODY_BYTES:
            message = (
                f"1 validation error detected: Value at 'body' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_BODY_BYTES}"
            )
            return _error(400, "ValidationError", {"message": message})
        # An update ends by putting the new fleet in the place of the old one and then emptying `pending`: read in the
        # other order, one of them is there.
        pending = endpoint.pending if endpoint.share and random.random() < endpoint.share else ()  # noqa: S311
        variants = pending or endpoint.variants
        target = headers.get("x-amzn-sagemaker-target-variant")
        if target:
            variants = tuple(variant for variant in variants if variant.name == target)
            if not variants:
                message = f"Variant {target} not found for Request {uuid.uuid4()}"
                return _error(400, "ValidationError", {"message": message})
        variant = variants[0]
        if len(variants) > 1:
            variant = random.choices(variants, [max(one.weight, 0.0) for one in variants])[0]  # noqa: S311
        data = _request(headers, body)
        tried: set[str] = set()
        while True:
            instance = min(
                (one for one in variant.fleet if one.id not in tried), key=lambda one: one.in_flight, default=None
            )
            old = next((one for one in endpoint.variants if one.name == variant.name), None) if pending else None
            if instance is None and old is not None:
                pending, variant = (), old  # the new fleet has no healthy instance: the old one answers
                continue
            if instance is None:
                message = "The endpoint has no healthy instance at the moment."
                return _error(503, "ServiceUnavailable", {"Message": message})
            instance.in_flight += 1
            sent = time.perf_counter()
            try:
                status, answered, content = await instance.invoke(data)
                break
            except InstanceLostError as lost:
                if not lost.sent:
                    tried.add(instance.id)  # nothing reached the model: another instance may answer
                    continue
                status, answered, content = 0, {}, b""
                message = "Received server error (0) from primary and could not load the entire response body."
                break
            except TimeoutError:
                status, answered, content = 0, {}, b""
                message = "Your invocation timed out while waiting for a response from container primary."
                break
            finally:
                instance.in_flight -= 1
        model_seconds = time.perf_counter() - sent
        if 200 <= status < 300:
            reply = {
                "content-type": answered.get("content-type", "application/octet-stream"),
                "x-amzn-invoked-production-variant": variant.name,
            }
            if "x-amzn-sagemaker-custom-attributes" in answered:
                reply["x-amzn-sagemaker-custom-attributes"] = answered["x-amzn-sagemaker-custom-attributes"]
            result = 200, reply, content
        else:
            original = content.decode("utf-8", "replace")
            if status:
                side = "client" if 400 <= status < 500 else "server"
                message = f'Received {side} error ({status}) from primary with message "{original}".'
            group = f"/aws/sagemaker/Endpoints/{endpoint_name}"
            console = f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
            message += f" See {console}#logEventViewer:group={group} in account {ACCOUNT_ID} for more information."
            result = _error(
                424,
                "ModelError",
                {
                    "Message": message,
                    "OriginalStatusCode": status,
                    "OriginalMessage": original,
                    "LogStreamArn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}",
                },
            )
        variant.counters.record(status or 500, model_seconds, time.perf_counter() - began - model_seconds)
        return result


# What reaches the container (developer guide, "How containers serve requests"): type, accept, attributes, id.
_PASSED = (
    ("content-type", "content-type"),
    ("accept", "accept"),
    ("x-amzn-sagemaker-custom-attributes", "X-Amzn-SageMaker-Custom-Attributes"),
    ("x-amzn-sagemaker-inference-id", "X-Amzn-SageMaker-Inference-Id"),
)


def _request(headers: Headers, body: bytes) -> bytes:
    lines = ["POST /invocations HTTP/1.1\r\nhost: localhost\r\n"]
    for name, passed in _PASSED:
        value = headers.get(name)
        if value is not None:
            lines.append(f"{passed}: {value}\r\n".replace("\r", "").replace("\n", "") + "\r\n")
    lines.append(f"content-length: {len(body)}\r\n\r\n")
    return "".join(lines).encode("latin-1", "replace") + body


def _error(status: int, code: str, members: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """An error of the runtime API, which speaks REST JSON: the code in a header, the members in the body."""
    return status, {"content-type": "application/json", "x-amzn-errortype": code}, json.dumps(members).encode()


def _in_milliseconds(value: Any) -> Any:
    """Times as this service's events have them: whole milliseconds since 1970."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {key: _in_milliseconds(item) for key, item in value.items()}
    return [_in_milliseconds(item) for item in value] if isinstance(value, list) else value


def _page(rows: list[dict[str, Any]], request: dict[str, Any], member: str, name: str) -> dict[str, Any]:
    """The List operations' filters, order (newest first by default) and pages."""
    sort_key = {"Name": name, "Status": "EndpointStatus"}.get(request.get("SortBy", ""), "CreationTime")
    rows = [
        row
        for row in rows
        if request.get("NameContains", "") in row[name]
        and between(row["CreationTime"], request.get("CreationTimeAfter"), request.get("CreationTimeBefore"))
        and between(
            row.get("LastModifiedTime", row["CreationTime"]),
            request.get("LastModifiedTimeAfter"),
            request.get("LastModifiedTimeBefore"),
        )
    ]
    rows.sort(key=lambda row: row[sort_key], reverse=request.get("SortOrder", "Descending") == "Descending")
    chosen, more = page(rows, request, lambda row: str(row[name]), 10)
    return {member: chosen, **more}


def extract(archive: Path, folder: Path) -> None:
    """Unpacks a model.tar.gz: plain files and folders inside `folder` only. Raises ValueError, tarfile.TarError."""
    folder.mkdir()
    root = folder.resolve()
    size = 0
    with tarfile.open(archive, "r:*") as packed:
        for member in packed:
            to = (root / member.name).resolve()
            if not to.is_relative_to(root):
                raise ValueError(f"{member.name} would lie outside the model folder")
            if member.isdir():
                to.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                size += member.size
                if size > MAX_ARTIFACT_BYTES:
                    raise ValueError(f"more than {MAX_ARTIFACT_BYTES} bytes")
                content = packed.extractfile(member)
                assert content is not None
                to.parent.mkdir(parents=True, exist_ok=True)
                with to.open("wb") as target:
                    shutil.copyfileobj(content, target)
            else:
                raise ValueError(f"{member.name} is neither a plain file nor a folder")


def install(account: Account) -> Hosting:
    """Registers the hosting operations and the hot path; scaling.install adds metrics, alarms and scaling."""
    hosting = Hosting(account)
    account.operations.setdefault("sagemaker", {}).update(
        {
            "CreateModel": hosting.create_model,
            "DescribeModel": hosting.describe_model,
            "ListModels": hosting.list_models,
            "DeleteModel": hosting.delete_model,
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
    account.invoke = hosting.invoke
    account.closers.append(hosting.close)
    return hosting
