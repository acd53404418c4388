"""The AWS wire protocols: which operation of which service an HTTP request calls, and how its answer is written.

Routing, parsing and serialising by the service models are moto's own (`moto.core.routing`, `parse`, `serialize`). The
shapes of errors per protocol follow https://smithy.io/2.0/aws/protocols/index.html.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from laptop import service_model
from laptop.errors import ServiceError

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d+/([^/]+)/([^/]+)/aws4_request")
# Signing names that differ from botocore's name of the service.
_SIGNING_NAMES = {
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "tagging": "resourcegroupstaggingapi",
    "eventbridge": "events",
}
_ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class HttpRequest:
    """What came over the wire; header names in lower case, the path still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """One AWS API call. `params` are spelled as in boto3, timestamps are aware datetimes."""

    service: str
    operation: str
    protocol: str
    params: dict[str, Any]
    access_key: str


def access_key_and_signing_name(request: HttpRequest) -> tuple[str, str]:
    """Who signed the request, for which service. Signatures themselves are not checked: the laptop has no secrets."""
    match = _CREDENTIAL.search(request.headers.get("authorization", ""))
    if match is None and "X-Amz-Credential=" in request.query:
        scope = parse_qs(request.query)["X-Amz-Credential"][0]
        match = _CREDENTIAL.search(f"Credential={scope}")
    if match is None:
        return _ANONYMOUS, "s3"  # as AWS has it, only buckets may be public
    return unquote(match[1]), match[3].lower()


def service_of(request: HttpRequest, signing_name: str) -> str:
    """Botocore's name of the service that a signing name and a request point at."""
    if signing_name == "sagemaker" and "x-amz-target" not in request.headers:
        return "sagemaker-metrics" if request.path.endswith("BatchPutMetrics") else "sagemaker-runtime"
    return _SIGNING_NAMES.get(signing_name, signing_name)


def parse(request: HttpRequest) -> Call:
    """Raises ServiceError for an unknown service or operation, or a body that can't be read."""
    from botocore.exceptions import UnknownServiceError
    from moto.core.parse import PROTOCOL_PARSERS
    from moto.core.request import determine_request_protocol
    from moto.core.routing import get_service_router
    from werkzeug.exceptions import NotFound

    access_key, signing_name = access_key_and_signing_name(request)
    service = service_of(request, signing_name)
    try:
        router = get_service_router(service)
    except UnknownServiceError:
        raise ServiceError("UnknownServiceException", f"The laptop knows no service '{signing_name}'.", 404) from None
    if service != "s3" and request.headers.get("content-encoding") == "gzip":
        # SDKs compress large PutMetricData calls; S3's Content-Encoding describes an object and is kept with it
        request = replace(request, body=gzip.decompress(request.body))
    wire = wsgi_request(request)
    try:
        operation, uri_params = router.match(wire)
        protocol = determine_request_protocol(service_model.model(service), wire.content_type)
    except (NotFound, NotImplementedError):
        target = request.headers.get("x-amz-target") or f"{request.method} {request.path}"
        raise ServiceError("UnknownOperationException", f"{service} has no operation for '{target}'.", 404) from None
    parser = PROTOCOL_PARSERS[protocol](operation, timestamp_parser=_timestamp)
    try:
        params = parser.parse(
            {
                "method": request.method,
                "values": wire.values,
                "headers": wire.headers,
                "body": wire.data,
                "url_path": wire.path,
                "url_params": uri_params,
            }
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ServiceError("SerializationException", f"The request can't be read: {error}") from error
    return Call(service, operation.name, protocol, params or {}, access_key)


def wsgi_request(request: HttpRequest) -> Any:
    """The request as moto's own class, as if it came from a WSGI server."""
    from moto.core.request import (
        PRESERVED_HEADER_NAMES_ENVIRON_KEY,
        environ_key_for_header,
        should_preserve_original_header_name,
    )

    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(request.path, "latin-1"),
        "RAW_URI": request.path + (f"?{request.query}" if request.query else ""),
        "QUERY_STRING": request.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": io.StringIO(),
    }
    kept: dict[str, str] = {}
    for name, value in request.headers.items():
        if name == "transfer-encoding":  # the body is complete by now
            continue
        key = environ_key_for_header(name)
        environ[key] = value
        if should_preserve_original_header_name(name):
            kept[key] = name
    environ["CONTENT_LENGTH"] = str(len(request.body))
    environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = kept
    return _request_class()(environ)


@functools.cache
def _request_class() -> type[Any]:
    from moto.core.request import Request

    return type("WireRequest", (Request,), {"from_wsgi_server": True})


def _timestamp(value: Any) -> datetime:
    from botocore.utils import parse_timestamp

    parsed: datetime = parse_timestamp(value)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def new_request_id() -> str:
    return str(uuid.uuid4())


def success(call: Call, result: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """An operation's response members, written as the call's protocol wants them."""
    from moto.core.serialize import SerializationContext, get_serializer_class

    operation = service_model.model(call.service).operation_model(call.operation)
    request_id = new_request_id()
    serializer = get_serializer_class(call.service, call.protocol)(operation, SerializationContext(request_id))
    answer = serializer.serialize(result)
    body = answer["body"]
    return (
        answer["status_code"],
        {**answer["headers"], "x-amzn-requestid": request_id},
        body.encode() if isinstance(body, str) else body,
    )


def failure(protocol: str, service: str, error: ServiceError) -> tuple[int, dict[str, str], bytes]:
    """An error, written as the protocol wants it."""
    request_id = new_request_id()
    headers = {"x-amzn-requestid": request_id}
    code, message = error.code, error.message
    if protocol in {"json", "rest-json"}:
        headers["content-type"] = "application/x-amz-json-1.1" if protocol == "json" else "application/json"
        headers["x-amzn-errortype"] = code
        if service == "sqs":  # it moved from the query protocol and keeps its old codes in this header
            headers["x-amzn-query-error"] = f"{code};{'Sender' if error.status < 500 else 'Receiver'}"
        body = json.dumps({"__type": code, "message": message, "Message": message})
    elif protocol == "rest-xml":
        headers.update({"content-type": "application/xml", "x-amz-request-id": request_id})
        body = (
            f"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message><RequestId>{request_id}</RequestId></Error>"
        )
    else:
        headers["content-type"] = "text/xml"
        side = "Sender" if error.status < 500 else "Receiver"
        body = (
            f"<ErrorResponse><Error><Type>{side}</Type><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    return error.status, headers, body.encode()


def protocol_of(request: HttpRequest) -> str:
    """The protocol of a request whose operation isn't known; enough to write an error that its client can read."""
    if "x-amz-target" in request.headers:
        return "json"
    _, signing_name = access_key_and_signing_name(request)
    if signing_name == "s3":
        return "rest-xml"
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return "query"
    return "rest-json"
