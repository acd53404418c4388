"""One AWS account on this machine: the parts that every service of the laptop shares."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from laptop.clock import Clock
from laptop.faults import Faults
from laptop.journal import Journal

if TYPE_CHECKING:
    from laptop.aws_request import Call
    from laptop.errors import ServiceError
    from laptop.iam import Session
    from laptop.training import Training

ACCOUNT_ID = "123456789012"
SERVICE_KEY = "laptop-service"  # the access key with which the laptop's services call each other
REGION = "us-east-1"

# An operation of a service that the laptop implements itself: request parameters in, response members out, both
# spelled as in the service model. Raises ServiceError. Timestamps are returned as aware datetimes.
Operation = Callable[[dict[str, Any]], dict[str, Any]]
# Told of every API call: the call, its result where the laptop itself made it, and how it failed.
Listener = Callable[["Call", Mapping[str, Any] | None, "ServiceError | None"], None]

# InvokeEndpoint: endpoint name, request headers (lower-case names), body in; HTTP status, response headers, body out.
# Awaited on the server's event loop; answers errors of the model or the caller in place of raising them.
Invoke = Callable[[str, Mapping[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]]

# An HTTP answer: status, headers, body.
Answer = tuple[int, Mapping[str, str], bytes]
# Lambda's runtime API, natively asynchronous: method, path (from /_lambda/ on, still percent-encoded), headers, body.
RuntimeApi = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Answer]]
# One of the laptop's own routes: the request's JSON object in, a JSON-serialisable answer out. Raises ServiceError.
Route = Callable[[dict[str, Any]], Any]


class EventBus(Protocol):
    """The default EventBridge bus (laptop/events.py)."""

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        """Matches the event against the account's rules and delivers it to their targets, asynchronously."""


class Functions(Protocol):
    """Lambda (laptop/functions.py)."""

    def invoke(self, function: str, payload: bytes) -> tuple[bytes, str | None]:
        """Synchronously, by name or ARN: the response payload, and the function error ("Unhandled") if there was."""

    def invoke_event(self, function: str, payload: bytes) -> str | None:
        """Like `invoke_async`, but returns when the event has been handled, with the function's last error."""

    def invoke_async(
        self, function: str, payload: bytes, principal: str | None = None, source_arn: str | None = None
    ) -> None:
        """Event invocation: queued, retried twice, then sent to the on-failure destination.

        With a `principal` ("events.amazonaws.com") the function's resource policy must let it invoke for `source_arn`.
        """


class Identities(Protocol):
    """Who may do what (laptop/iam.py)."""

    def credentials(self, role_arn: str, session_name: str = "laptop", principal: str | None = None) -> dict[str, str]:
        """Fresh credentials of a role: `aws_access_key_id`, `aws_secret_access_key`, `aws_session_token`.

        `principal` is the service that takes the role, such as `lambda.amazonaws.com`: the role must trust it.
        """

    def session(self, access_key: str) -> Session | None:
        """The role's session behind an access key; None for any other key."""

    def authorize(self, call: Call) -> None:
        """Raises ServiceError if the caller is a role and its policies do not allow all that the call needs."""

    def allowed(self, access_key: str, action: str, resource: str) -> bool:
        """Whether the caller behind an access key may do that."""

    def assert_allowed(self, role_arn: str, action: str, resource: str) -> None:
        """Raises ServiceError("AccessDenied...") if the role's policies do not allow it, naming both."""


class Meter(Protocol):
    """What the services tell the bill (laptop/bill.py)."""

    def instance_started(self, instance_id: str, instance_type: str, endpoint_arn: str) -> None:
        """An endpoint's instance serves from now on."""

    def instance_stopped(self, instance_id: str) -> None:
        """An instance has ended, whether it ever served or not."""

    def training_ended(self, arn: str, resources: Mapping[str, Any], billable_seconds: int) -> None:
        """A training job has ended; `resources` is its ResourceConfig."""

    def processing_ended(self, arn: str, resources: Mapping[str, Any], seconds: int) -> None:
        """A processing job has ended; `resources` is its ClusterConfig."""

    def serverless_ran(self, arn: str, memory_mb: int, billed_ms: int, bytes_in: int, bytes_out: int) -> None:
        """One request of a serverless endpoint, with its ARN."""

    def function_ran(self, tags: Mapping[str, str], billed_ms: int, memory_mb: int, architecture: str) -> None:
        """One invocation of a Lambda function."""


class Unmetered:
    """The meter of an account without a bill."""

    def instance_started(self, instance_id: str, instance_type: str, endpoint_arn: str) -> None: ...

    def instance_stopped(self, instance_id: str) -> None: ...

    def training_ended(self, arn: str, resources: Mapping[str, Any], billable_seconds: int) -> None: ...

    def processing_ended(self, arn: str, resources: Mapping[str, Any], seconds: int) -> None: ...

    def serverless_ran(self, arn: str, memory_mb: int, billed_ms: int, bytes_in: int, bytes_out: int) -> None: ...

    def function_ran(self, tags: Mapping[str, str], billed_ms: int, memory_mb: int, architecture: str) -> None: ...


class Mailbox(Protocol):
    """Where messages to people end up (laptop/inbox.py)."""

    def add(self, channel: str, text: str, *, subject: str | None = None, blocks: Any = None, to: str = "") -> None:
        """One more message; `channel` is "slack" or "email"."""


@dataclass
class Account:
    """What a service of the laptop gets to work with. Filled by laptop/server.py in the order of the fields."""

    port: int
    home: Path  # a fresh folder per run; removed at the end
    clock: Clock
    journal: Journal
    events: EventBus = field(init=False)
    functions: Functions = field(init=False)
    identities: Identities = field(init=False)
    invoke: Invoke = field(init=False)
    training: Training = field(init=False)
    # service name as in botocore ("sagemaker") -> operation name ("CreateTrainingJob") -> implementation
    operations: dict[str, dict[str, Operation]] = field(default_factory=dict)
    runtime_api: RuntimeApi = field(init=False)
    # "POST /_laptop/interrupt" -> what answers it; for routes that laptop/server.py does not have itself
    routes: dict[str, Route] = field(default_factory=dict)
    dashboard: Callable[[str], str] = field(init=False)  # a CloudWatch dashboard's name -> its page
    # what GET /_laptop/health tells; laptop/__main__.py fills it once the stack is deployed
    stack: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    ready: bool = False
    # resource ARN -> its tags; for the services that the laptop implements itself
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    bill: Meter = field(default_factory=Unmetered)
    faults: Faults = field(default_factory=Faults)
    inbox: Mailbox = field(init=False)
    listeners: list[Listener] = field(default_factory=list)
    # called in reverse order at shutdown
    closers: list[Callable[[], None]] = field(default_factory=list)
    _clients: dict[tuple[str, str | None], Any] = field(default_factory=dict)  # by service and role

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, role_arn: str | None = None) -> Any:
        """A boto3 client of this account: as the administrator, or with a role's rights.

        There is one for each, because they are slow to make and safe to share. Raises ServiceError for an unknown role.
        """
        from botocore.config import Config

        credentials = (
            self.identities.credentials(role_arn)
            if role_arn
            else {"aws_access_key_id": SERVICE_KEY, "aws_secret_access_key": "laptop"}
        )
        config = Config(retries={"max_attempts": 2}, s3={"addressing_style": "path"}, max_pool_connections=50)
        # One session for all keeps the parsed service models, which cost six times the client; it is not thread-safe.
        with _making_clients:
            if (service, role_arn) not in self._clients:
                self._clients[service, role_arn] = _session().client(
                    service, region_name=REGION, endpoint_url=self.url, config=config, **credentials
                )
            return self._clients[service, role_arn]


_making_clients = threading.Lock()


@functools.cache
def _session() -> Any:
    import boto3

    return boto3.session.Session()
