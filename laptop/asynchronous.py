"""Asynchronous endpoints: InvokeEndpointAsync puts a request in the endpoint's queue, and its answer goes to S3.

SageMaker runtime's API reference (InvokeEndpointAsync), AsyncInferenceConfig in the API reference, and the developer
guide ("Asynchronous inference", "Check prediction results", "Alarms and logs for tracking metrics from asynchronous
endpoints", "Autoscale an asynchronous endpoint"). The queue belongs to the endpoint: it is kept while no instance runs
and while the endpoint is updated. Ages count on the account's clock. What is read and written is read and written with
the model's execution role.

The words of the notifications are those that have been seen
(https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-check-predictions.html leads to them): a JSON object
with `invocationStatus`, `requestParameters`, `responseParameters` and `inferenceId`. Assumed: an instance gets
DEFAULT_CONCURRENCY requests at a time where the config leaves it to SageMaker, and the reasons of what fails around
the model.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.hosting_process import Instance, InstanceLostError
from laptop.invocation import ModelAnswer, ask, pick_variant, request_bytes
from laptop.metrics import AsyncCounters
from laptop.sagemaker_common import invalid, split_s3_uri

if TYPE_CHECKING:
    from laptop.hosting import Endpoint, Hosting, Variant

DEFAULT_CONCURRENCY = 4
DEFAULT_TTL_SECONDS, DEFAULT_TIMEOUT_SECONDS = 21_600, 900  # InvokeEndpointAsync
MAX_INPUT_BYTES = 1024**3  # "large payload sizes (up to 1GB)"
MAX_NOTIFIED_BYTES = 128 * 1024  # of an answer that IncludeInferenceResponseIn puts in the notification
_LOOK_SECONDS = 0.05  # between two looks for a free instance, while requests wait for one


@dataclass(frozen=True)
class AsyncConfig:
    """An endpoint config's AsyncInferenceConfig."""

    output: str  # s3://bucket/prefix, without a slash at the end
    failures: str | None = None
    success_topic: str | None = None
    error_topic: str | None = None
    included: tuple[str, ...] = ()  # SUCCESS_NOTIFICATION_TOPIC, ERROR_NOTIFICATION_TOPIC
    concurrency: int = DEFAULT_CONCURRENCY


def read_config(config: Mapping[str, Any]) -> AsyncConfig | None:
    """None for a config of another kind. Raises ServiceError for what SageMaker refuses, or the laptop lacks."""
    asynchronous = config.get("AsyncInferenceConfig")
    if not asynchronous:
        return None
    if config.get("DataCaptureConfig", {}).get("EnableCapture"):
        raise invalid("Data capture is not supported for asynchronous endpoints.")
    output = asynchronous["OutputConfig"]
    if not output.get("S3OutputPath"):
        raise invalid("The laptop needs an S3OutputPath in AsyncInferenceConfig.OutputConfig to write answers to.")
    paths = {name: output[name].rstrip("/") for name in ("S3OutputPath", "S3FailurePath") if output.get(name)}
    for path in paths.values():
        split_s3_uri(path)
    topics = output.get("NotificationConfig", {})
    for name in ("SuccessTopic", "ErrorTopic"):
        if name in topics and not topics[name].startswith(f"arn:aws:sns:{REGION}:"):
            raise invalid(f"{name} {topics[name]} is not the ARN of an SNS topic in {REGION}.")
    return AsyncConfig(
        output=paths["S3OutputPath"],
        failures=paths.get("S3FailurePath"),
        success_topic=topics.get("SuccessTopic"),
        error_topic=topics.get("ErrorTopic"),
        included=tuple(topics.get("IncludeInferenceResponseIn", ())),
        concurrency=asynchronous.get("ClientConfig", {}).get(
            "MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENCY
        ),
    )


@dataclass(frozen=True)
class Request:
    """One request of the queue."""

    inference_id: str
    headers: Mapping[str, str]  # for the container, with lower-case names
    body: bytes | None  # None: it lies at `location`
    location: str
    output: str
    failure: str | None
    received: datetime
    ttl_seconds: int
    timeout_seconds: int

    @property
    def parameters(self) -> dict[str, str]:
        """`requestParameters` of a notification."""
        names = {
            "accept": "accept",
            "content-type": "contentType",
            "x-amzn-sagemaker-custom-attributes": "customAttributes",
        }
        shown = {shown: self.headers[name] for name, shown in names.items() if name in self.headers}
        return {**shown, **({"inputLocation": self.location} if self.location else {})}


@dataclass(eq=False)
class Queue:
    """The requests of one endpoint. Its work is done on the loop of Workers; the rest may look from any thread."""

    endpoint: Endpoint
    config: AsyncConfig
    account: Account
    hosting: Hosting
    waiting: deque[Request] = field(default_factory=deque)
    working: set[str] = field(default_factory=set)  # inference ids
    counters: dict[str, AsyncCounters] = field(default_factory=dict)  # by variant
    closed: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def backlog(self) -> int:
        """ "currently being processed or yet to be processed"."""
        return len(self.waiting) + len(self.working)

    def age_seconds(self) -> float:
        """Of the oldest request in the queue."""
        oldest = next(iter(self.waiting), None)
        return (self.account.clock.now() - oldest.received).total_seconds() if oldest else 0.0

    def take_counters(self) -> dict[str, AsyncCounters]:
        """What was counted, by variant; counting starts again at nothing."""
        taken, self.counters = self.counters, {}
        return taken

    def count(self, variant: str) -> AsyncCounters:
        return self.counters.setdefault(variant, AsyncCounters())

    def wake(self) -> None:
        """There is a request, or the end."""
        self._woken.set()

    # --- on the loop ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hands requests to instances until the endpoint goes."""
        tasks: set[asyncio.Task[None]] = set()
        while not self.closed:
            if not self.waiting:
                self._woken.clear()
                await self._woken.wait()
                continue
            await self._expire()
            slot = self._slot()
            if slot is None:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            variant, instance = slot
            request = self.waiting.popleft()
            self.working.add(request.inference_id)
            instance.in_flight += 1
            task = asyncio.create_task(self._work(request, variant, instance))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def _slot(self) -> tuple[Variant, Instance] | None:
        if not (self.waiting and self.endpoint.variants):
            return None
        variant, old = pick_variant(self.endpoint)
        for choice in (variant, old):
            free = [one for one in choice.fleet if one.in_flight < self.config.concurrency] if choice else []
            if choice is not None and free:
                return choice, min(free, key=lambda one: one.in_flight)
        return None

    async def _expire(self) -> None:
        now = self.account.clock.now()
        over = [one for one in self.waiting if now - one.received > timedelta(seconds=one.ttl_seconds)]
        for request in over:
            self.waiting.remove(request)
            variant = self.endpoint.variants[0]
            self.count(variant.name).expired += 1
            reason = (
                f"ClientError: The request was in the queue for more than its RequestTTLSeconds {request.ttl_seconds}."
            )
            await self._fail(request, variant, reason, None)

    async def _work(self, request: Request, variant: Variant, instance: Instance) -> None:
        counters = self.count(variant.name)
        began = self.account.clock.now()
        try:
            try:
                body = request.body if request.body is not None else await self._download(request, variant)
            except Exception as error:
                counters.download_failures += 1
                await self._fail(request, variant, f"ClientError: Unable to download {request.location}: {error}", None)
                return
            try:
                answer = await ask(instance, request_bytes(request.headers, body), request.timeout_seconds)
            except InstanceLostError:
                self.waiting.appendleft(request)  # nothing reached the model: another instance gets it
                return
            counters.backlog_us.add((began - request.received).total_seconds() * 1e6)
            variant.counters.record(answer.counted_as, answer.seconds, 0.0)
            if answer.good:
                await self._succeed(request, variant, answer)
            else:
                side = "client" if 400 <= answer.status < 500 else "server"
                told = f"Received {side} error ({answer.status}) from model." if answer.status else answer.why
                reason = f"ClientError: {told} See the SageMaker Endpoint logs in your account for more information."
                self._log(instance, request, told)
                await self._fail(request, variant, reason, answer)
        finally:
            instance.in_flight -= 1
            self.working.discard(request.inference_id)

    async def _download(self, request: Request, variant: Variant) -> bytes:
        bucket, key = split_s3_uri(request.location)
        began = time.perf_counter()

        def read() -> bytes:
            answer = self.account.client("s3", variant.role).get_object(Bucket=bucket, Key=key)
            if answer["ContentLength"] > MAX_INPUT_BYTES:
                raise ValueError(f"it has {answer['ContentLength']} bytes, more than {MAX_INPUT_BYTES}")
            return bytes(answer["Body"].read())

        body = await asyncio.to_thread(read)
        self.count(variant.name).download_us.add((time.perf_counter() - began) * 1e6)
        return body

    async def _succeed(self, request: Request, variant: Variant, answer: ModelAnswer) -> None:
        content_type = answer.headers.get("content-type", "application/octet-stream")
        try:
            await self._upload(request.output, variant, answer.content, content_type)
        except Exception as error:
            self.count(variant.name).upload_failures += 1
            reason = f"ClientError: Unable to upload to {request.output}: {error}"
            await self._fail(request, variant, reason, None)
            return
        self._count_end(request, variant)
        parameters = {"contentType": content_type, "outputLocation": request.output}
        included = answer if "SUCCESS_NOTIFICATION_TOPIC" in self.config.included else None
        await self._notify(
            self.config.success_topic, variant, request, "Completed", {"responseParameters": parameters}, included
        )

    async def _fail(self, request: Request, variant: Variant, reason: str, answer: ModelAnswer | None) -> None:
        self._count_end(request, variant)
        self.count(variant.name).failures += 1
        self.account.journal.record(
            "asynchronous", endpoint=self.endpoint.name, inference=request.inference_id, reason=reason
        )
        told: dict[str, Any] = {"failureReason": reason}
        if request.failure:
            content = answer.content if answer is not None and answer.content else reason.encode()
            try:
                await self._upload(request.failure, variant, content, "text/plain")
                told["failureLocation"] = request.failure
            except Exception as error:
                self.count(variant.name).upload_failures += 1
                said = f"Unable to upload to {request.failure}: {error}"
                self.account.journal.record(
                    "asynchronous", endpoint=self.endpoint.name, inference=request.inference_id, reason=said
                )
        included = answer if "ERROR_NOTIFICATION_TOPIC" in self.config.included else None
        await self._notify(self.config.error_topic, variant, request, "Failed", told, included)

    def _count_end(self, request: Request, variant: Variant) -> None:
        counters = self.count(variant.name)
        counters.processed += 1
        counters.total_ms.add((self.account.clock.now() - request.received).total_seconds() * 1e3)

    async def _upload(self, uri: str, variant: Variant, content: bytes, content_type: str) -> None:
        bucket, key = split_s3_uri(uri)
        began = time.perf_counter()
        s3 = self.account.client("s3", variant.role)
        await asyncio.to_thread(s3.put_object, Bucket=bucket, Key=key, Body=content, ContentType=content_type)
        self.count(variant.name).upload_us.add((time.perf_counter() - began) * 1e6)

    async def _notify(
        self,
        topic: str | None,
        variant: Variant,
        request: Request,
        status: str,
        told: Mapping[str, Any],
        included: ModelAnswer | None,
    ) -> None:
        if topic is None:
            return
        message = {
            "awsRegion": REGION,
            "eventTime": _time(self.account.clock.now()),
            "receivedTime": _time(request.received),
            "invocationStatus": status,
            "requestParameters": {"endpointName": self.endpoint.name, **request.parameters},
            **told,
            "inferenceId": request.inference_id,
            "eventVersion": "1.0",
            "eventSource": "aws:sagemaker",
            "eventName": "InferenceResult",
        }
        if included is not None and len(included.content) <= MAX_NOTIFIED_BYTES:
            content = base64.b64encode(included.content).decode()
            where = "Check S3 path location(if configured) or Cloudwatch for additional details."
            message["responseBody"] = {"content": content, "message": where, "encoding": "BASE64"}
        try:
            sns = self.account.client("sns", variant.role)
            await asyncio.to_thread(sns.publish, TopicArn=topic, Message=json.dumps(message))
        except Exception as error:
            self.count(variant.name).notification_failures += 1
            self.account.journal.record(
                "asynchronous", endpoint=self.endpoint.name, inference=request.inference_id, reason=str(error)
            )

    def _log(self, instance: Instance, request: Request, line: str) -> None:
        """The platform's log: "Log lines contain the request's inference ID"."""
        stream = f"{instance.stream}/data-log"
        self.hosting.logs.endpoint(self.endpoint.name, stream, f"[sagemaker logs] [{request.inference_id}] {line}")


class Workers:
    """InvokeEndpointAsync, and the loop on which all queues are worked off."""

    def __init__(self, account: Account, hosting: Hosting) -> None:
        self.account, self.hosting = account, hosting
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def open(self, endpoint: Endpoint, config: AsyncConfig) -> Queue:
        """The queue of a new endpoint, and somebody who works it off."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="asynchronous").start()
        queue = Queue(endpoint, config, self.account, self.hosting)
        asyncio.run_coroutine_threadsafe(queue.run(), self._loop)
        return queue

    def _add(self, queue: Queue, request: Request) -> None:
        queue.waiting.append(request)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(queue.wake)

    def end(self, queue: Queue) -> None:
        """With its endpoint: what waits is lost."""
        queue.closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(queue.wake)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def invoke(self, request: dict[str, Any]) -> dict[str, Any]:
        """InvokeEndpointAsync. Raises ServiceError."""
        name = request["EndpointName"]
        endpoint = self.hosting.endpoints.get(name)
        if endpoint is None or not endpoint.answers:
            raise ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT_ID} not found.")
        queue = endpoint.queue
        if queue is None:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {name} of account {ACCOUNT_ID} has no AsyncInferenceConfig: call InvokeEndpoint.",
            )
        location, body = request.get("InputLocation", ""), request.get("Body") or None
        if bool(location) == bool(body):
            raise ServiceError("ValidationError", "Provide exactly one of InputLocation and Body.")
        if location and not location.startswith("s3://"):
            raise ServiceError("ValidationError", f"InputLocation {location} must be an S3 URI, s3://bucket/key.")
        put = _headers(request)
        inference_id = request.get("InferenceId") or str(uuid.uuid4())
        file = str(uuid.uuid4())
        folder = "/".join(filter(None, (queue.config.output, request.get("S3OutputPathExtension", "").strip("/"))))
        output = f"{folder}/{request.get('Filename') or f'{file}.out'}"
        failure = f"{queue.config.failures}/{file}-error.out" if queue.config.failures else None
        self._add(
            queue,
            Request(
                inference_id=inference_id,
                headers={**put, "x-amzn-sagemaker-inference-id": inference_id},
                body=bytes(body) if body else None,
                location=location,
                output=output,
                failure=failure,
                received=self.account.clock.now(),
                ttl_seconds=request.get("RequestTTLSeconds", DEFAULT_TTL_SECONDS),
                timeout_seconds=request.get("InvocationTimeoutSeconds", DEFAULT_TIMEOUT_SECONDS),
            ),
        )
        told = {"InferenceId": inference_id, "OutputLocation": output}
        return {**told, **({"FailureLocation": failure} if failure else {})}


def _headers(request: Mapping[str, Any]) -> dict[str, str]:
    members = {
        "ContentType": "content-type",
        "Accept": "accept",
        "CustomAttributes": "x-amzn-sagemaker-custom-attributes",
    }
    return {name: request[member] for member, name in members.items() if member in request}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
