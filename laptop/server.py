"""One address that speaks the AWS API: an ASGI application under uvicorn, in one process.

A call passes through: a failure on order (faults.py), the service model (service_model.py), the caller's policies
(iam.py), and then the laptop's own implementation of the operation, or moto's. InvokeEndpoint takes a shorter way on
the event loop itself, without a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from laptop import aws_request, moto_app, service_model
from laptop.account import Account, Answer
from laptop.aws_request import Call, HttpRequest
from laptop.clock import Clock
from laptop.errors import ServiceError
from laptop.journal import Journal

# Threads are held by long polls of queues and by slow calls; they cost little while they wait.
_THREADS = 96
_SERVICES = (
    "iam",
    "events",
    "scheduler",
    "bill",
    "logs",
    "lambda_api",
    "cloudformation",
    "inbox",
    "training",
    "tuning",
    "processing",
    "registry",
    "pipelines",
    "hosting",
    "search",
    "quotas",
    "savings_plans",
    "scaling",
    "tagging",
    "trail",
    "cost_explorer",
    "anomalies",
    "budgets",
)
_CONSOLE = Path(__file__).parent / "console.html"
_CONSOLE_OBJECT = "/s3/object/"
_DASHBOARDS = "GET /_laptop/dashboards/"
_JSON = {"content-type": "application/json"}

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Server:
    """The laptop's HTTP server on 127.0.0.1. `start` returns when all services answer; `stop` leaves nothing behind."""

    def __init__(self, port: int = 0, at: datetime | None = None) -> None:
        """Port 0 takes a free one, and the clock begins at `at` or now.

        Raises OSError if the port is in use, ValueError if `at` is over.
        """
        clock = Clock(at)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self.account = Account(
            port=self._socket.getsockname()[1],
            home=Path(tempfile.mkdtemp(prefix="laptop-")),
            clock=clock,
            journal=Journal(clock),
        )
        self._pool = ThreadPoolExecutor(_THREADS, "api")
        self._installed = threading.Event()
        self._conditional_writes = threading.Lock()
        self._routes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "GET /_laptop/health": lambda _: self._health(),
            "POST /_laptop/fault": self.account.faults.order,
        }
        self._uvicorn: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Answers from the first moment (health says `starting`); API calls wait until all services are installed."""
        import uvicorn

        config = uvicorn.Config(
            self.application,
            http="httptools",
            loop="uvloop",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,  # the account's time is told in its place
            proxy_headers=False,
            interface="asgi3",
            backlog=2048,
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._socket],), name="server", daemon=True)
        self._thread.start()
        moto_app.use_clock(self.account.clock)
        moto_app.reset()  # another account may have lived in this process before
        for name in _SERVICES:
            importlib.import_module(f"laptop.{name}").install(self.account)
        self._installed.set()
        deadline = time.monotonic() + 10
        while not self._uvicorn.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The HTTP server did not start.")
            time.sleep(0.005)

    def stop(self) -> None:
        """Stops services in reverse order, then the server, and removes the run's folder."""
        for close in reversed(self.account.closers):
            try:
                close()
            except Exception:
                traceback.print_exc()
        moto_app.use_clock(Clock())
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._socket.close()
        shutil.rmtree(self.account.home, ignore_errors=True)

    async def application(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        request = await _read(scope, receive)
        try:
            status, headers, body = await self._answer(request)
        except ServiceError as error:
            own = request.path.startswith("/_laptop/")
            protocol = "rest-json" if own else aws_request.protocol_of(request)
            status, headers, body = aws_request.failure(protocol, "", error)
        except Exception as error:
            self._log_own_failure(request, error)
            failure = ServiceError("InternalFailure", f"The laptop itself failed: {error!r}", 500)
            status, headers, body = aws_request.failure(aws_request.protocol_of(request), "", failure)
        raw = [(name.lower().encode("latin-1"), value.encode("utf-8")) for name, value in headers.items()]
        if not (request.method == "HEAD" and "content-length" in {name.lower() for name in headers}):
            raw.append((b"content-length", str(len(body)).encode()))
        raw.append((b"date", formatdate(self.account.clock.now().timestamp(), usegmt=True).encode()))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})

    async def _answer(self, request: HttpRequest) -> Answer:
        path = request.path
        loop = asyncio.get_running_loop()
        if not self._installed.is_set() and not path.startswith("/_laptop/"):
            await loop.run_in_executor(self._pool, self._installed.wait, 30)
        if path.startswith("/endpoints/") and path.endswith("/invocations"):
            return await self._invoke_endpoint(request)
        if path.startswith("/_lambda/"):
            return await self.account.runtime_api(request.method, path, request.headers, request.body)
        if path.startswith("/_laptop/"):
            return await loop.run_in_executor(self._pool, self._own_route, request)
        signed = "authorization" in request.headers or "X-Amz-" in request.query
        if path == "/" and request.method == "GET" and not signed:
            return 200, {"content-type": "text/html; charset=utf-8"}, _CONSOLE.read_bytes()
        if path.startswith(_CONSOLE_OBJECT) and request.method == "GET" and not signed:
            return await loop.run_in_executor(self._pool, self._console_object, request)
        return await loop.run_in_executor(self._pool, self._api_call, request)

    # --- the laptop's own routes ---------------------------------------------------------------------------------

    def _own_route(self, request: HttpRequest) -> Answer:
        route = f"{request.method} {request.path}"
        if route == "GET /_laptop/events":
            after = parse_qs(request.query).get("after", ["0"])[0]
            if not after.isdigit():
                raise ServiceError("ValidationException", "'after' must be the number of an entry.")
            return 200, _JSON, _json(self.account.journal.entries(int(after)))
        if route.startswith(_DASHBOARDS):
            page = self.account.dashboard(unquote(route[len(_DASHBOARDS) :]))
            return 200, {"content-type": "text/html; charset=utf-8"}, page.encode()
        handler = self.account.routes.get(route) or self._routes.get(route)
        if handler is None:
            raise ServiceError("NotFound", f"There is no {route}.", 404)
        try:
            payload = json.loads(request.body) if request.body else {}
        except ValueError as error:
            raise ServiceError("ValidationException", f"The body is not JSON: {error}") from error
        if not isinstance(payload, dict):
            raise ServiceError("ValidationException", "The body must be a JSON object.")
        return 200, _JSON, _json(handler(payload))

    def _console_object(self, request: HttpRequest) -> Answer:
        """What the S3 console shows at `/s3/object/BUCKET?prefix=KEY`: here the object, for the person at the laptop.

        No bucket can be in the way: a bucket's name has three characters or more. The browser runs no script of it.
        """
        bucket = unquote(request.path[len(_CONSOLE_OBJECT) :])
        key = parse_qs(request.query).get("prefix", [""])[0]
        s3 = self.account.client("s3")
        try:
            stored = s3.get_object(Bucket=bucket, Key=key)
        except s3.exceptions.ClientError as error:
            raise ServiceError("NotFound", f"There is no object {key} in {bucket}.", 404) from error
        headers = {"content-type": stored["ContentType"], "content-security-policy": "sandbox"}
        return 200, headers, stored["Body"].read()

    def _health(self) -> dict[str, Any]:
        account = self.account
        return {
            "status": "ready" if account.ready else "starting",
            "stack": account.stack,
            "outputs": account.outputs,
        }

    # --- the AWS API ---------------------------------------------------------------------------------------------

    async def _invoke_endpoint(self, request: HttpRequest) -> Answer:
        """sagemaker-runtime InvokeEndpoint on the event loop; the model server does the work."""
        endpoint = unquote(request.path[len("/endpoints/") : -len("/invocations")])
        fault = self.account.faults.next("sagemaker-runtime", "InvokeEndpoint")
        if fault is not None:
            return aws_request.failure("rest-json", "sagemaker-runtime", fault)
        access_key, _ = aws_request.access_key_and_signing_name(request)
        params = {"EndpointName": endpoint}
        if component := request.headers.get("x-amzn-sagemaker-inference-component"):
            params["InferenceComponentName"] = component
        call = Call("sagemaker-runtime", "InvokeEndpoint", "rest-json", params, access_key)
        try:
            self._authorize(call)
        except ServiceError as error:
            return aws_request.failure("rest-json", "sagemaker-runtime", error)
        return await self.account.invoke(endpoint, request.headers, request.body)

    def _api_call(self, request: HttpRequest) -> Answer:
        call = aws_request.parse(request)
        result: dict[str, Any] | None = None
        failed: ServiceError | None = None
        try:
            answer, result = self._dispatch(call, request)
            failed = moto_app.refusal(answer)
        except ServiceError as error:
            failed, answer = error, aws_request.failure(call.protocol, call.service, error)
        except Exception as error:
            self._log_own_failure(request, error)
            failed = ServiceError("InternalFailure", f"The laptop itself failed: {error!r}", 500)
            answer = aws_request.failure(call.protocol, call.service, failed)
        for listener in self.account.listeners:
            listener(call, result, failed)
        return answer

    def _dispatch(self, call: Call, request: HttpRequest) -> tuple[Answer, dict[str, Any] | None]:
        """The answer, and the result in it where the laptop itself made it. Raises ServiceError."""
        moto_app.current_operation.set(call.operation)
        fault = self.account.faults.next(call.service, call.operation)
        if fault is not None:
            raise fault
        self._validate(call)
        self._authorize(call)
        own = self.account.operations.get(call.service, {}).get(call.operation)
        if own is not None:
            result = own(call.params)
            return aws_request.success(call, result), result
        if call.service == "s3" and request.headers.get("if-none-match") == "*":
            # S3 decides atomically which of several conditional writes is first.
            with self._conditional_writes:
                return moto_app.call(request), None
        answer = moto_app.call(request)
        if answer[0] == 404 and call.operation in {"GetObject", "HeadObject"}:
            self._hide_absence(call)
        return answer, None

    def _hide_absence(self, call: Call) -> None:
        """Who may not list a bucket learns "forbidden" of an object that does not exist, as GetObject documents."""
        bucket = f"arn:aws:s3:::{call.params['Bucket']}"
        if not self.account.identities.allowed(call.access_key, "s3:ListBucket", bucket):
            reason = f"Access Denied: the object may be missing, but without s3:ListBucket on {bucket} S3 does not tell"
            self.account.journal.record("refused", service="s3", operation=call.operation, reason=reason)
            raise ServiceError("AccessDenied", reason, 403)

    def _validate(self, call: Call) -> None:
        errors = service_model.validate(call.service, call.operation, call.params)
        if not errors:
            return
        message = service_model.summary(errors)
        self.account.journal.record("refused", service=call.service, operation=call.operation, reason=message)
        raise ServiceError(_validation_code(call), message)

    def _authorize(self, call: Call) -> None:
        """Raises ServiceError if the caller is a role whose policies do not allow the call."""
        self.account.identities.authorize(call)

    def _log_own_failure(self, request: HttpRequest, error: Exception) -> None:
        target = request.headers.get("x-amz-target", "")
        print(f"{request.method} {request.path} {target} failed:", file=sys.stderr)
        traceback.print_exception(error)
        self.account.journal.record("failure", call=f"{request.method} {request.path} {target}", error=repr(error))


def _validation_code(call: Call) -> str:
    """How each service calls the error for a request that breaks its model."""
    if call.service in {"s3"}:
        return "InvalidArgument"
    if call.service == "sns":
        return "InvalidParameter"
    if call.service == "sqs":
        return "InvalidParameterValue"
    if call.service == "logs":
        return "InvalidParameterException"
    if call.service == "sagemaker-runtime":
        return "ValidationError"
    return "ValidationError" if call.protocol == "query" else "ValidationException"


async def _read(scope: MutableMapping[str, Any], receive: _Receive) -> HttpRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    path = scope["raw_path"].decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return HttpRequest(scope["method"], path, query, headers, b"".join(chunks))


def _json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


@contextmanager
def running(port: int = 0) -> Iterator[Account]:
    """A laptop for as long as the block runs."""
    server = Server(port)
    try:
        server.start()
        yield server.account
    finally:
        server.stop()
