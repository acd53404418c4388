"""The API of AWS Lambda as moto has it, with those parts replaced that would run functions, or that moto gets wrong.

moto's own classes are changed, for the whole process: moto makes their objects. The account that was installed last
runs the functions.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.functions import LambdaFunctions, log_group_of
from laptop.queue_poller import SqsPoller

_TAIL_BYTES = 4096  # of the log, in an Invoke answer with LogType Tail
_Method = Callable[..., Any]
_originals: dict[tuple[Any, str], _Method] = {}  # moto's own methods, by class and name


def install(account: Account) -> None:
    """Makes `account.functions`, and has moto's Lambda and SNS hand over what is to run."""
    from moto.awslambda.models import LambdaBackend, LambdaFunction
    from moto.sns.models import Subscription

    functions = LambdaFunctions(account)
    account.functions = functions
    account.closers.append(functions.close)
    runs = _Runs(account, functions)
    account.closers.append(runs.close)
    _replace(LambdaFunction, "invoke", runs.invoke)
    _replace(LambdaFunction, "update_configuration", _update_configuration)
    _replace(LambdaFunction, "get_configuration", _get_configuration)
    _replace(LambdaBackend, "create_function", _create_function)
    _replace(LambdaBackend, "create_event_source_mapping", runs.create_event_source_mapping)
    _replace(LambdaBackend, "list_event_source_mappings", runs.list_event_source_mappings)
    _replace(LambdaBackend, "put_function_event_invoke_config", _put_function_event_invoke_config)
    _replace(LambdaBackend, "update_function_event_invoke_config", _update_function_event_invoke_config)
    _replace(Subscription, "publish", runs.publish)


def _replace(owner: Any, name: str, replacement: _Method) -> None:
    """Has `replacement` called for a method of moto's, with moto's object first; `_motos` has the method itself."""
    _originals.setdefault((owner, name), getattr(owner, name))  # not what an account before this one put there

    def method(this: Any, *arguments: Any, **named: Any) -> Any:
        return replacement(this, *arguments, **named)

    setattr(owner, name, method)


def _motos(this: Any, name: str) -> _Method:
    """moto's own method of one of its objects."""
    owner = next(one for one in type(this).__mro__ if (one, name) in _originals)
    return _originals[owner, name].__get__(this)  # type: ignore[no-any-return]


class _Runs:
    """Where moto would run a function, this account does. Each method takes moto's object first."""

    def __init__(self, account: Account, functions: LambdaFunctions) -> None:
        self._account = account
        self._functions = functions
        self._pollers: dict[str, SqsPoller] = {}

    def close(self) -> None:
        for poller in self._pollers.values():
            poller.stop()

    def invoke(self, function: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        """LambdaFunction.invoke"""
        from moto.awslambda.exceptions import LambdaClientError

        payload = body.encode() if isinstance(body, str) else bytes(body or b"")
        try:
            json.loads(payload or b"{}")
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise LambdaClientError("InvalidRequestContentException", message) from None
        kind = request_headers.get("X-Amz-Invocation-Type") or request_headers.get("x-amz-invocation-type")
        if kind == "Event":
            self._functions.invoke_async(function.function_name, payload)
            return b""
        if kind == "DryRun":
            return b""
        outcome, _, log = self._functions.run(function.function_name, payload)
        if outcome.error:
            response_headers["x-amz-function-error"] = outcome.error
        response_headers["x-amz-executed-version"] = "$LATEST"
        response_headers["x-amz-log-result"] = base64.b64encode(log.encode()[-_TAIL_BYTES:]).decode()
        return outcome.payload

    def create_event_source_mapping(self, backend: Any, spec: dict[str, Any]) -> Any:
        """LambdaBackend.create_event_source_mapping"""
        from moto.awslambda.exceptions import InvalidParameterValueException
        from moto.sqs.models import sqs_backends

        mapping = _motos(backend, "create_event_source_mapping")(spec)
        # moto would call the function inside SendMessage; the poller does it as AWS does.
        for queue in sqs_backends[ACCOUNT_ID][REGION].queues.values():
            if queue.queue_arn == mapping.event_source_arn:
                queue.lambda_event_source_mappings.clear()
        role = self._functions.find(mapping.function_arn).role
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            try:
                self._account.identities.assert_allowed(role, f"sqs:{action}", mapping.event_source_arn)
            except ServiceError:
                backend.delete_event_source_mapping(mapping.uuid)
                raise InvalidParameterValueException(
                    f"The function execution role does not have permissions to call {action} on SQS"
                ) from None
        self._pollers[mapping.uuid] = SqsPoller(self._account, self._functions, mapping)
        return mapping

    def list_event_source_mappings(
        self, backend: Any, event_source_arn: str | None, function_name: str | None
    ) -> list[Any]:
        """LambdaBackend.list_event_source_mappings, which finds only mappings that were made with the same spelling of
        the function: name or ARN."""
        wanted = self._functions.find(function_name).function_name if function_name else None
        return [
            mapping
            for mapping in list(backend._event_source_mappings.values())
            if event_source_arn in (None, mapping.event_source_arn)
            and wanted in (None, self._functions.find(mapping.function_arn).function_name)
        ]

    def publish(
        self,
        subscription: Any,
        message: str,
        message_id: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> None:
        """sns.Subscription.publish"""
        if subscription.protocol != "lambda":
            _motos(subscription, "publish")(
                message, message_id, subject, message_attributes, group_id, deduplication_id, message_structure
            )
            return
        matcher = subscription._filter_policy_matcher
        if matcher is not None and not matcher.matches(message_attributes, message):
            return
        if message_structure == "json":
            message = subscription._parse_message_structure(message, subscription.protocol)
        topic, error = subscription.topic_arn, None
        try:
            now = self._account.clock.now()
            record = _sns_record(subscription, message, message_id, subject, message_attributes, at=now)
            self._functions.invoke_async(subscription.endpoint, record, "sns.amazonaws.com", topic)
        except ServiceError as refused:
            error = refused.message
            redrive = json.loads(subscription.attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
            if redrive:  # https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
                other = _to_queue(subscription, redrive)
                _motos(other, "publish")(message, message_id, subject, message_attributes)
        self._account.journal.record("delivery", target=subscription.endpoint, source=topic, error=error)


def _create_function(backend: Any, spec: dict[str, Any]) -> Any:
    from moto.awslambda.exceptions import ConflictException

    name = str(spec.get("FunctionName", ""))
    if any(existing.function_name == name for existing in backend.list_functions()):
        raise ConflictException(f"Function already exist: {name}")
    created = _motos(backend, "create_function")(spec)
    created.dead_letter_config = spec.get("DeadLetterConfig")
    created.logging_config = spec.get("LoggingConfig")
    return created


def _update_configuration(function: Any, updates: dict[str, Any]) -> Any:
    for key, name in (
        ("DeadLetterConfig", "dead_letter_config"),
        ("LoggingConfig", "logging_config"),
        ("Architectures", "architectures"),
        ("TracingConfig", "tracing_config"),
    ):
        if key in updates:
            setattr(function, name, updates[key])
    return _motos(function, "update_configuration")(updates)


def _get_configuration(function: Any, on_create: bool = False) -> Any:
    shown = _motos(function, "get_configuration")(on_create)
    if getattr(function, "dead_letter_config", None):
        shown["DeadLetterConfig"] = function.dead_letter_config
    logging = getattr(function, "logging_config", None) or {}
    shown["LoggingConfig"] = {"LogFormat": "Text", **logging, "LogGroup": log_group_of(function)}
    return shown


def _put_function_event_invoke_config(backend: Any, function_name: str, config: dict[str, Any]) -> Any:
    """moto keeps every configuration it was ever given and shows the first."""
    from moto.awslambda.models import EventInvokeConfig

    found = backend.get_function(function_name)
    found.event_invoke_config = [EventInvokeConfig(found.function_arn, found.last_modified, config)]
    return found.event_invoke_config[0].response()


def _update_function_event_invoke_config(backend: Any, function_name: str, config: dict[str, Any]) -> Any:
    found = backend.get_function(function_name)
    before = found.event_invoke_config[-1].config if found.event_invoke_config else {}
    return _put_function_event_invoke_config(backend, function_name, {**before, **config})


def _sns_record(
    subscription: Any, message: str, message_id: str, subject: str | None, attributes: Any, *, at: datetime
) -> bytes:
    """As in https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html; for Lambda only it is `SigningCertUrl`."""
    host = f"https://sns.{REGION}.amazonaws.com"
    sns = {
        "SignatureVersion": "1",
        "Timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "Signature": "not-signed-on-the-laptop",
        "SigningCertUrl": f"{host}/SimpleNotificationService.pem",
        "MessageId": message_id,
        "Message": message,
        "MessageAttributes": {
            name: {"Type": value["Type"], "Value": str(value["Value"])} for name, value in (attributes or {}).items()
        },
        "Type": "Notification",
        "UnsubscribeUrl": f"{host}/?Action=Unsubscribe&SubscriptionArn={subscription.arn}",
        "TopicArn": subscription.topic_arn,
        "Subject": subject,
    }
    record = {
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription.arn,
        "EventSource": "aws:sns",
        "Sns": sns,
    }
    return json.dumps({"Records": [record]}).encode()


def _to_queue(subscription: Any, queue_arn: str) -> Any:
    """The same subscription with a queue at its end."""
    other = copy.copy(subscription)
    other.protocol, other.endpoint, other.attributes = "sqs", queue_arn, {}
    other._filter_policy_matcher = None
    return other
