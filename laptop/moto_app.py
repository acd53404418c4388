"""Moto's service implementations, called in this process: its request handlers without its web framework."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION
from laptop.aws_request import HttpRequest, access_key_and_signing_name, wsgi_request
from laptop.clock import Clock
from laptop.errors import ServiceError

# Read by moto when it is imported.
os.environ.setdefault("S3_IGNORE_SUBDOMAIN_BUCKETNAME", "true")  # one address: buckets are always in the path
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # each has a snapshot: a thousand to list, nobody's
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # SAM attaches AWSLambdaBasicExecutionRole
os.environ.setdefault("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")

# Hosts that don't follow <signing name>.<region>.amazonaws.com in moto's URL patterns.
_HOSTS = {
    "sagemaker": "api.sagemaker.{region}.amazonaws.com",
    "budgets": "budgets.amazonaws.com",
}
_HOP_BY_HOP = {"connection", "content-length", "date", "status", "transfer-encoding"}
_Handler = Callable[[Any, str, Any], Any]
_loading = threading.Lock()
# The operation that the current thread is carrying out; what moto calls on the way may want to know.
current_operation: ContextVar[str] = ContextVar("current_operation", default="")


@functools.cache
def _handlers(host: str) -> list[tuple[re.Pattern[str], _Handler]]:
    from moto import backend_index, backends
    from moto.core.base_backend import BackendDict

    for service, pattern in backend_index.backend_url_patterns:
        if pattern.match(f"https://{host}"):
            if service == "ssm":
                import_without("moto.ec2", "moto.ssm.models")
            loaded: Any = backends.get_backend(service)  # type: ignore[call-overload,unused-ignore]
            if isinstance(loaded, BackendDict):
                regions = loaded[ACCOUNT_ID]
                loaded = regions[REGION] if REGION in regions else regions["aws"]
            else:
                loaded = loaded["global"]
            return [(re.compile(url), handler) for url, handler in loaded.urls.items()]
    raise ServiceError("UnknownServiceException", f"The laptop has no service at {host}.", 404)


class _LateBackends:
    """Stands in for moto's backends of a service until somebody wants something of one."""

    def __init__(self, module: str, name: str, keys: tuple[str, ...] = ()) -> None:
        self._module, self._name, self._keys = module, name, keys

    def __getitem__(self, key: str) -> _LateBackends:
        return _LateBackends(self._module, self._name, (*self._keys, key))

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self._module), self._name)
        for key in self._keys:
            found = found[key]
        return getattr(found, name)


def import_without(absent: str, module: str) -> None:
    """Imports a module of moto's, and not the service `absent` (such as moto.ec2) that it wants for rare cases.

    Importing EC2, which ECS wants too, takes a tenth of the laptop's whole start, and 100 MB.
    """
    if absent in sys.modules:
        return
    stand_in, backends = types.ModuleType(absent), f"{absent.rpartition('.')[2]}_backends"
    stand_in.__dict__[backends] = _LateBackends(f"{absent}.models", backends)
    sys.modules[absent] = stand_in
    try:
        importlib.import_module(module)
    finally:
        del sys.modules[absent]


def call(request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
    """The answer of moto's implementation. Raises ServiceError if it has none of this service or operation."""
    _, signing_name = access_key_and_signing_name(request)
    host = _HOSTS.get(signing_name, f"{signing_name}.{{region}}.amazonaws.com").format(region=REGION)
    url = f"https://{host}{request.path or '/'}"
    with _loading:  # two threads must not import the same backend at once
        handlers = _handlers(host)
    handler = next((handler for pattern, handler in handlers if pattern.match(url)), None)
    if handler is None:
        raise ServiceError("UnknownOperationException", f"{signing_name} has nothing at {request.path}.", 404)
    return _answer(handler, request)


def _answer(handler: _Handler, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
    from botocore.exceptions import ClientError
    from moto.core.exceptions import HTTPException  # type: ignore[attr-defined,unused-ignore]
    from werkzeug.exceptions import HTTPException as WerkzeugHTTPException

    wire = wsgi_request(request)
    try:
        result = handler(wire, wire.raw_url, wire.headers)
    except NotImplementedError as error:
        raise ServiceError("NotImplemented", f"The laptop can't do this: {error}", 501) from error
    except ClientError as error:
        raise ServiceError(error.response["Error"]["Code"], error.response["Error"]["Message"]) from error
    except (HTTPException, WerkzeugHTTPException) as error:
        result = error.code or 400, dict(error.get_headers()), error.get_body()
    status, headers, body = result if len(result) == 3 else (200, {}, result)
    # An answer to HEAD has the length of a body that it doesn't carry.
    dropped = _HOP_BY_HOP - ({"content-length"} if request.method == "HEAD" else set())
    kept = {str(name): str(value) for name, value in dict(headers).items() if str(name).lower() not in dropped}
    return int(status), kept, body.encode() if isinstance(body, str) else bytes(body)


def refusal(answer: tuple[int, Mapping[str, str], bytes]) -> ServiceError | None:
    """The error that an answer is, whichever protocol it is written in; None where it is none."""
    status, headers, body = answer
    if status < 400:
        return None
    lower = {name.lower(): value for name, value in headers.items()}
    code = lower.get("x-amzn-errortype", "").split(":")[0]
    if not code and (found := re.search(rb'<Code>([^<]+)</Code>|"__type":\s*"([^"]+)"', body)):
        code = (found[1] or found[2]).decode().rpartition("#")[2]
    return ServiceError(code or str(status), body[:300].decode("utf-8", "replace"), status)


def use_clock(clock: Clock) -> None:
    """Lets moto's services live on the account's time: objects, messages and metrics are stamped with it.

    All of them ask one function, `moto.core.utils.utcnow`, which each imports under its name. They live on that time
    until another clock is used: where the account ends and its process does not, one that nobody has moved.
    """
    from moto.core import utils

    def utcnow() -> datetime:
        return clock.now().replace(tzinfo=None)

    before = utils.utcnow
    for name, module in list(sys.modules.items()):
        if name.startswith("moto.") and getattr(module, "utcnow", None) is before:
            setattr(module, "utcnow", utcnow)  # noqa: B010
    _date_buckets(clock)


def _date_buckets(clock: Clock) -> None:
    """S3 asks the machine when a bucket is made."""
    from moto.s3.models import FakeBucket

    original = getattr(FakeBucket.__init__, "__wrapped__", FakeBucket.__init__)

    @functools.wraps(original)
    def made(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self.creation_date = clock.now()

    FakeBucket.__init__ = made  # type: ignore[method-assign]


def reset() -> None:
    """Forgets all that moto's services hold; they live as long as the process, an account does not."""
    from moto.core.base_backend import BackendDict

    everything: list[Any] = BackendDict._instances  # type: ignore[misc]
    for loaded in everything:
        for regions in list(loaded.values()):
            regions.reset()
