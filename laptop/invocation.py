"""InvokeEndpoint, the hot path: which variant and which instance a request goes to, and what its caller gets back.

Behaviour and messages follow the SageMaker runtime's API reference (InvokeEndpoint) and the developer guide ("How
containers serve requests", "Serverless Inference").
"""

from __future__ import annotations

import json
import math
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laptop import inference_components, serverless
from laptop.account import ACCOUNT_ID, REGION
from laptop.hosting_process import Instance, InstanceLostError, LaunchError

if TYPE_CHECKING:
    from laptop.hosting import Endpoint, Hosting, Variant

MAX_BODY_BYTES = 6_291_456  # InvokeEndpoint's BodyBlob in the service model
INVOCATION_TIMEOUT_SECONDS = 60.0  # "model containers must respond to requests within 60 seconds" (InvokeEndpoint)
_COLD_TRIES = 3
Headers = Mapping[str, str]
Reply = tuple[int, dict[str, str], bytes]  # HTTP status, headers, body

# What reaches the container (developer guide, "How containers serve requests"): type, accept, attributes, id.
_PASSED = (
    ("content-type", "content-type"),
    ("accept", "accept"),
    ("x-amzn-sagemaker-custom-attributes", "X-Amzn-SageMaker-Custom-Attributes"),
    ("x-amzn-sagemaker-inference-id", "X-Amzn-SageMaker-Inference-Id"),
)


@dataclass(frozen=True)
class ModelAnswer:
    """What a container made of a request."""

    status: int  # its HTTP status; 0: no answer came
    headers: Mapping[str, str]
    content: bytes
    seconds: float
    why: str = ""  # no answer came

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def counted_as(self) -> int:
        """The status that the metrics know it by."""
        return self.status or 500


def request_bytes(headers: Headers, body: bytes) -> bytes:
    """POST /invocations as the container gets it; `headers` have lower-case names."""
    lines = ["POST /invocations HTTP/1.1\r\nhost: localhost\r\n"]
    for name, passed in _PASSED:
        value = headers.get(name)
        if value is not None:
            lines.append(f"{passed}: {value}\r\n".replace("\r", "").replace("\n", "") + "\r\n")
    lines.append(f"content-length: {len(body)}\r\n\r\n")
    return "".join(lines).encode("latin-1", "replace") + body


async def ask(instance: Instance, data: bytes, timeout_seconds: float) -> ModelAnswer:
    """Raises InstanceLostError if nothing reached the model, so that another instance may be asked."""
    began = time.perf_counter()
    try:
        status, headers, content = await instance.invoke(data, timeout_seconds)
    except InstanceLostError as lost:
        if not lost.sent:
            raise
        why = "Received server error (0) from primary and could not load the entire response body."
        return ModelAnswer(0, {}, b"", time.perf_counter() - began, why)
    except TimeoutError:
        why = "Your invocation timed out while waiting for a response from container primary."
        return ModelAnswer(0, {}, b"", time.perf_counter() - began, why)
    return ModelAnswer(status, headers, content, time.perf_counter() - began)


def model_error(endpoint_name: str, answer: ModelAnswer) -> dict[str, Any]:
    """The members of a ModelError."""
    original = answer.content.decode("utf-8", "replace")
    message = answer.why
    if answer.status:
        side = "client" if 400 <= answer.status < 500 else "server"
        message = f'Received {side} error ({answer.status}) from primary with message "{original}".'
    group = f"/aws/sagemaker/Endpoints/{endpoint_name}"
    console = f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}"
    message += f" See {console}#logEventViewer:group={group} in account {ACCOUNT_ID} for more information."
    return {
        "Message": message,
        "OriginalStatusCode": answer.status,
        "OriginalMessage": original,
        "LogStreamArn": f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}",
    }


def error(status: int, code: str, members: Mapping[str, Any]) -> Reply:
    """An error of the runtime API, which speaks REST JSON: the code in a header, the members in the body."""
    return status, {"content-type": "application/json", "x-amzn-errortype": code}, json.dumps(members).encode()


def refusal(message: str) -> Reply:
    return error(400, "ValidationError", {"message": message})


def _reply(endpoint_name: str, variant_name: str, answer: ModelAnswer) -> Reply:
    if not answer.good:
        return error(424, "ModelError", model_error(endpoint_name, answer))
    headers = {
        "content-type": answer.headers.get("content-type", "application/octet-stream"),
        "x-amzn-invoked-production-variant": variant_name,
    }
    attributes = "x-amzn-sagemaker-custom-attributes"
    if attributes in answer.headers:
        headers[attributes] = answer.headers[attributes]
    return 200, headers, answer.content


def pick_variant(endpoint: Endpoint, target: str | None = None) -> tuple[Variant, Variant | None]:
    """The variant that a request goes to, by weight or by name; where it is an update's new fleet, also the old one,
    which answers if the new has no healthy instance. Raises LookupError for a name that there is not."""
    # An update ends by putting the new fleet in the place of the old one and then emptying `pending`: read in the
    # other order, one of them is there.
    pending = endpoint.pending if endpoint.share and random.random() < endpoint.share else ()  # noqa: S311
    variants = pending or endpoint.variants
    if target:
        variants = tuple(variant for variant in variants if variant.name == target)
        if not variants:
            raise LookupError(target)
    variant = variants[0]
    if len(variants) > 1:
        variant = random.choices(variants, [max(one.weight, 0.0) for one in variants])[0]  # noqa: S311
    old = next((one for one in endpoint.variants if one.name == variant.name), None) if pending else None
    return variant, old


async def _ask_any(instances: tuple[Instance, ...], data: bytes) -> ModelAnswer | None:
    """Of the instance with the fewest requests; None if none of them can be reached."""
    tried: set[str] = set()
    while True:
        instance = min((one for one in instances if one.id not in tried), key=lambda one: one.in_flight, default=None)
        if instance is None:
            return None
        instance.in_flight += 1
        try:
            return await ask(instance, data, INVOCATION_TIMEOUT_SECONDS)
        except InstanceLostError:
            tried.add(instance.id)
        finally:
            instance.in_flight -= 1


class Invocations:
    """What sagemaker-runtime does with the account's endpoints."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting

    async def invoke(self, endpoint_name: str, headers: Headers, body: bytes) -> Reply:
        """InvokeEndpoint. `headers` have lower-case names; the answer's body is the model's, or an AWS error's JSON."""
        began = time.perf_counter()
        endpoint = self._hosting.endpoints.get(endpoint_name)
        if endpoint is None or not endpoint.answers:
            return refusal(f"Endpoint {endpoint_name} of account {ACCOUNT_ID} not found.")
        if len(body) > MAX_BODY_BYTES:
            return refusal(
                f"1 validation error detected: Value at 'body' failed to satisfy constraint: "
                f"Member must have length less than or equal to {MAX_BODY_BYTES}"
            )
        if endpoint.queue is not None:
            # "the endpoint can only receive asynchronous invocations" (developer guide, "Asynchronous inference")
            return refusal(
                f"Endpoint {endpoint_name} of account {ACCOUNT_ID} is for asynchronous inference: call "
                "InvokeEndpointAsync."
            )
        component = headers.get("x-amzn-sagemaker-inference-component")
        if endpoint.hosts_components:
            if not component:
                return refusal(inference_components.NAME_REQUIRED)
            return await self._component(endpoint, component, headers, body, began)
        if component:
            return refusal(inference_components.NAME_NOT_ALLOWED)
        target = headers.get("x-amzn-sagemaker-target-variant")
        try:
            variant, old = pick_variant(endpoint, target)
        except LookupError:
            return refusal(f"Variant {target} not found for Request {uuid.uuid4()}")
        if variant.serverless is not None:
            return await self._serverless(endpoint, variant, variant.serverless, headers, body, began)
        return await self._real_time(endpoint, variant, old, headers, body, began)

    async def _real_time(
        self, endpoint: Endpoint, variant: Variant, old: Variant | None, headers: Headers, body: bytes, began: float
    ) -> Reply:
        """`old` answers where the variant, which is an update's new fleet, has no healthy instance."""
        data = request_bytes(headers, body)
        answer = await _ask_any(variant.fleet, data)
        if answer is None and old is not None:
            variant = old
            answer = await _ask_any(variant.fleet, data)
        if answer is None:
            message = "The endpoint has no healthy instance at the moment."
            return error(503, "ServiceUnavailable", {"Message": message})
        overhead_seconds = time.perf_counter() - began - answer.seconds
        variant.counters.record(answer.counted_as, answer.seconds, overhead_seconds)
        return _reply(endpoint.name, variant.name, answer)

    async def _component(self, endpoint: Endpoint, name: str, headers: Headers, body: bytes, began: float) -> Reply:
        component = self._hosting.components.of(endpoint.name, name)
        if component is None:
            return refusal(f"Inference Component {name} of account {ACCOUNT_ID} not found.")
        answer = await _ask_any(component.copies, request_bytes(headers, body))
        if answer is None:
            with component.lock:
                component.without_capacity += 1
            return refusal(inference_components.NO_CAPACITY)
        component.counters.record(answer.counted_as, answer.seconds, time.perf_counter() - began - answer.seconds)
        return _reply(endpoint.name, component.variant, answer)

    async def _serverless(
        self,
        endpoint: Endpoint,
        variant: Variant,
        containers: serverless.Containers,
        headers: Headers,
        body: bytes,
        began: float,
    ) -> Reply:
        if len(body) > serverless.MAX_BODY_BYTES:
            # the words that callers have seen: https://github.com/aws/sagemaker-python-sdk/issues/4271
            return refusal(f"Request {uuid.uuid4()} has oversize body.")
        data = request_bytes(headers, body)
        for _ in range(_COLD_TRIES):
            try:
                container, _ = await containers.take()
            except serverless.ThrottledError:
                # Without a message, as callers see it: https://github.com/opensearch-project/ml-commons/issues/2429
                return error(400, "ThrottlingException", {"message": None})
            except LaunchError as failure:
                return error(429, "ModelNotReadyException", {"Message": str(failure)})
            answer = None
            try:
                answer = await ask(container, data, INVOCATION_TIMEOUT_SECONDS)
                break
            except InstanceLostError:
                continue  # a warm container that has just ended
            finally:
                containers.give_back(container, broken=answer is None or not answer.status)
        else:
            message = "The resources of the serverless variant are still being provisioned."
            return error(429, "ModelNotReadyException", {"Message": message})
        overhead_seconds = time.perf_counter() - began - answer.seconds
        variant.counters.record(answer.counted_as, answer.seconds, overhead_seconds)
        self._hosting.account.bill.serverless_ran(
            endpoint.arn, containers.config.memory_mb, math.ceil(answer.seconds * 1000), len(body), len(answer.content)
        )
        return _reply(endpoint.name, variant.name, answer)
