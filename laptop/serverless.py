"""Serverless variants: containers that are started by a call, kept warm for a while, and gone when nobody calls.

SageMaker developer guide, "Deploy models with Amazon SageMaker Serverless Inference" (memory sizes, concurrency, cold
starts, feature exclusions) and "Alarms and logs for tracking metrics from serverless endpoints"; ServerlessConfig in
the API reference (ProductionVariantServerlessConfig).

Real here: a cold start starts a process, and the caller waits for it; a container works on one request at a time; what
takes more memory than the variant has is killed, by what it was measured to take. Simulated: the share of a CPU that
comes with the memory is not held to, and the image is not downloaded at a cold start. Assumed, since AWS publishes
neither: a container stays warm for WARM_SECONDS of the account's clock after its last request, and the one that
CreateEndpoint tries the model with is not kept.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from laptop.errors import ServiceError
from laptop.hosting_process import Instance, LaunchError, stop_all
from laptop.metrics import ServerlessCounters
from laptop.sagemaker_common import invalid

MEMORY_SIZES_MB = (1024, 2048, 3072, 4096, 5120, 6144)
MAX_BODY_BYTES = 4 * 1024**2  # "payload sizes up to 4 MB" (developer guide, "Inference options")
WARM_SECONDS = 300.0
START_SECONDS = 60.0  # SageMaker gives it 180; a process is up in a second unless the machine is busy
# What a serverless endpoint's FailureReason has been seen to say.
STAND_UP_FAILURE = (
    "Unable to successfully stand up your model within the allotted 180 second timeout. Please ensure that downloading "
    "your model artifacts, starting your model container and passing the ping health checks can be completed within "
    "180 seconds."
)


class ThrottledError(Exception):
    """As many requests as the variant may have at a time are under way."""


@dataclass(frozen=True)
class ServerlessConfig:
    """A variant's ServerlessConfig."""

    memory_mb: int
    max_concurrency: int

    def described(self) -> dict[str, int]:
        return {"MemorySizeInMB": self.memory_mb, "MaxConcurrency": self.max_concurrency}


def is_serverless(config: Mapping[str, Any]) -> bool:
    """Whether an endpoint config's variant is one; it then has no other."""
    return any("ServerlessConfig" in variant for variant in config.get("ProductionVariants", ()))


def read_config(variant: Mapping[str, Any]) -> ServerlessConfig:
    """Raises ServiceError for what SageMaker refuses, or the laptop does not run."""
    config = variant["ServerlessConfig"]
    memory_mb, most = config["MemorySizeInMB"], config["MaxConcurrency"]
    if memory_mb not in MEMORY_SIZES_MB:
        sizes = ", ".join(map(str, MEMORY_SIZES_MB))
        raise invalid(f"MemorySizeInMB {memory_mb} is not valid for a serverless variant: it is one of {sizes}.")
    provisioned = config.get("ProvisionedConcurrency")
    if provisioned is not None and provisioned > most:
        raise invalid(f"ProvisionedConcurrency {provisioned} must be at most MaxConcurrency, which is {most}.")
    if provisioned is not None:
        raise invalid("The laptop does not run ProvisionedConcurrency; leave it out.")
    return ServerlessConfig(memory_mb, most)


def check_config(request: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """CreateEndpointConfig with a serverless variant: the guide's feature exclusions. Raises ServiceError."""
    variants = request["ProductionVariants"]
    if len(variants) > 1:
        raise invalid("Serverless Inference does not support multiple production variants: give one variant only.")
    (variant,) = variants
    for member in ("InstanceType", "InitialInstanceCount", "VolumeSizeInGB", "ManagedInstanceScaling", "RoutingConfig"):
        if member in variant:
            raise invalid(f"{member} can't be specified with ServerlessConfig: a serverless variant has no instances.")
    excluded = {
        "data capture": request.get("DataCaptureConfig", {}).get("EnableCapture"),
        "VPC configuration": request.get("VpcConfig") or model.get("VpcConfig"),
        "network isolation": request.get("EnableNetworkIsolation") or model.get("EnableNetworkIsolation"),
        "asynchronous inference": request.get("AsyncInferenceConfig"),
        "shadow variants": request.get("ShadowProductionVariants"),
        "explainers": request.get("ExplainerConfig"),
        "inference pipelines": len(model.get("Containers", ())) > 1,
    }
    for feature, wanted in excluded.items():
        if wanted:
            raise invalid(f"Serverless Inference does not support {feature}.")
    read_config(variant)


def refused_update() -> ServiceError:
    """UpdateEndpoint: "you cannot convert your instance-based, real-time endpoint to a serverless endpoint"; the other
    way is allowed, and there is no way back from it."""
    return invalid(
        "Cannot update an instance-based endpoint to a serverless endpoint. Create a new endpoint with the serverless "
        "endpoint configuration."
    )


class Containers:
    """The containers of one serverless variant. Safe to use from the event loop and from threads."""

    def __init__(
        self,
        config: ServerlessConfig,
        make: Callable[[], Instance],
        now: Callable[[], datetime],
        tell: Callable[[str], None],
    ) -> None:
        """`make` gives a container that is not started yet; `tell` writes a line of the event log."""
        self.config = config
        self._make, self._now, self._tell = make, now, tell
        self._lock = threading.Lock()
        self._used_at: dict[Instance, datetime] = {}  # the warm ones without a request
        self._working: set[Instance] = set()  # started, or just starting
        self._requests = 0
        self._closed = False
        self._counters = ServerlessCounters()

    @property
    def running(self) -> tuple[Instance, ...]:
        """Those with a process."""
        with self._lock:
            return tuple(one for one in (*self._used_at, *self._working) if hasattr(one, "process"))

    def stand_up(self) -> None:
        """Tries whether a container comes up at all, as CreateEndpoint and UpdateEndpoint do. Raises LaunchError."""
        container = self._make()
        container.start()
        with self._lock:
            self._working.add(container)
        healthy = container.wait_healthy(START_SECONDS)
        with self._lock:
            self._working.discard(container)
        container.stop(drain=False)
        if not healthy:
            raise LaunchError(STAND_UP_FAILURE)

    async def take(self) -> tuple[Instance, float]:
        """A container for one request, and the seconds that the caller waited for it to start, 0 if it was warm.

        Raises ThrottledError at the variant's concurrency, LaunchError if a new container does not come up.
        """
        with self._lock:
            if self._requests >= self.config.max_concurrency:
                self._counters.concurrency.add(1.0)
                raise ThrottledError
            self._requests += 1
            self._counters.concurrency.add(self._requests / self.config.max_concurrency)
            while self._used_at:
                container = max(self._used_at, key=lambda one: self._used_at[one])  # the rest may go cold
                del self._used_at[container]
                if container.alive:
                    container.in_flight = 1
                    self._working.add(container)
                    return container, 0.0
        began = time.perf_counter()
        try:
            container = await asyncio.get_running_loop().run_in_executor(None, self._start)
        except BaseException:
            with self._lock:
                self._requests -= 1
            raise
        seconds = time.perf_counter() - began
        with self._lock:
            self._counters.setup_us.add(seconds * 1e6)
        self._tell(f"cold start: a container of {self.config.memory_mb} MB was up after {seconds:.2f} s")
        return container, seconds

    def _start(self) -> Instance:
        container = self._make()
        container.in_flight = 1  # the request that waits for it: an update must not end it before
        container.start()
        with self._lock:
            self._working.add(container)
        if container.wait_healthy(START_SECONDS) and not self._over_memory(container):
            return container
        with self._lock:
            self._working.discard(container)
        container.stop(drain=False)
        raise LaunchError(STAND_UP_FAILURE)

    def give_back(self, container: Instance, *, broken: bool) -> None:
        """The request has ended; `broken` if the container gave no answer to it, which ends the container."""
        over = not broken and self._over_memory(container)
        container.in_flight = 0
        with self._lock:
            self._requests -= 1
            self._working.discard(container)
            warm = not (broken or over or self._closed) and container.alive
            if warm:
                self._used_at[container] = self._now()
        if not warm:
            threading.Thread(target=container.stop, kwargs={"drain": False}, daemon=True).start()

    def _over_memory(self, container: Instance) -> bool:
        used_mb = container.memory_bytes() / 1024**2
        with self._lock:
            if used_mb:
                self._counters.memory_percent.add(min(100 * used_mb / self.config.memory_mb, 100.0))
        if used_mb <= self.config.memory_mb:
            return False
        self._tell(f"a container took {used_mb:.0f} MB, of {self.config.memory_mb}, and was ended")
        return True

    def look_after(self) -> None:
        """Ends what has not been called for long enough, and what takes more memory than the variant has."""
        cold_before = self._now() - timedelta(seconds=WARM_SECONDS)
        with self._lock:
            cold = [one for one, used in self._used_at.items() if used <= cold_before or not one.alive]
            for container in cold:
                del self._used_at[container]
            working = [one for one in self._working if hasattr(one, "process") and one.alive]
        if cold:
            stop_all(cold, drain=False)
            self._tell(f"{len(cold)} container(s) without a request for {WARM_SECONDS:.0f} s went cold")
        for container in working:
            if container.alive and self._over_memory(container):
                container.stop(drain=False)

    def update(self, change: Mapping[str, Any]) -> None:
        """A ServerlessUpdateConfig of UpdateEndpointWeightsAndCapacities."""
        self.config = replace(self.config, max_concurrency=change.get("MaxConcurrency", self.config.max_concurrency))

    def close(self, *, drain: bool) -> None:
        """Ends them all; with `drain` each only after its request."""
        with self._lock:
            self._closed = True
            idle = tuple(self._used_at)
            self._used_at.clear()
        stop_all((*idle, *self.running), drain=drain)

    def take_counters(self) -> ServerlessCounters:
        """What was counted; counting starts again at nothing."""
        with self._lock:
            taken, self._counters = self._counters, ServerlessCounters()
        return taken
