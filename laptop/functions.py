"""AWS Lambda: moto keeps the functions, layers and mappings; here they run.

Each function runs in processes of the official runtime client (laptop/runtime_api.py), started at the first invocation
and kept warm, at most `ENVIRONMENTS` at once per function; more calls wait their turn. Asynchronous calls are retried
as AWS does, but after `RETRY_SECONDS` instead of one and two minutes. SQS event source mappings are polled here.

On AWS the layer holds its third-party packages. A layer that the laptop's own deployment packed holds only the
platform's code, and the rest comes from the interpreter's site-packages.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import io
import json
import math
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laptop import iam
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.runtime_api import Call, Environment, Outcome

ENVIRONMENTS = 2
RETRY_SECONDS = (
    1.0,
    2.0,
)  # AWS: 60 and 120, https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
POLL_SECONDS = 0.05
_TAIL_BYTES = 4096  # of the log, in an Invoke answer with LogType Tail


class LambdaFunctions:
    """`account.functions`. All methods may be called from any thread."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Condition()
        self._idle: dict[str, list[Environment]] = {}
        self._count: dict[str, int] = {}
        self._all: set[Environment] = set()
        self._unpacking = threading.Lock()
        self._closed = threading.Event()
        self._asynchronous = ThreadPoolExecutor(max_workers=16, thread_name_prefix="lambda-async")
        self._logs = _Logs(account)

    # Invocation

    def invoke(self, function: str, payload: bytes) -> tuple[bytes, str | None]:
        """Synchronously, by name or ARN. Raises ServiceError(ResourceNotFoundException) for an unknown function."""
        outcome, _, _ = self.run(function, payload)
        return outcome.payload, outcome.error

    def invoke_async(
        self, function: str, payload: bytes, principal: str | None = None, source_arn: str | None = None
    ) -> None:
        """Event invocation: queued, retried twice, then sent to the on-failure destination or the dead-letter queue.

        With a `principal` ("events.amazonaws.com") the function's resource policy must let it invoke for `source_arn`.
        Raises ServiceError: ResourceNotFoundException, AccessDeniedException.
        """
        found = self.find(function)
        if principal is not None:
            self._assert_invokable(found, principal, source_arn or "")
        if not self._closed.is_set():
            self._account.clock.under_way.submit(self._asynchronous, self._run_async, found.function_name, payload)

    def invoke_event(self, function: str, payload: bytes) -> str | None:
        """Like `invoke_async`, but returns when the event has been handled, with the function's last error.

        Raises ServiceError(ResourceNotFoundException).
        """
        return self._run_async(self.find(function).function_name, payload)

    def run(self, function: str, payload: bytes) -> tuple[Outcome, str, str]:
        """One invocation: its outcome, its request id, and its log."""
        found = self.find(function)
        request_id = str(uuid.uuid4())
        call = Call(request_id, found.function_arn, payload or b"{}", int(found.timeout))
        with self._environment(found) as environment:
            started_ms = self._account.clock.now_ms()
            outcome = environment.invoke(call)
            log = self._report(found, environment, call, outcome, started_ms)
        return outcome, request_id, log

    def find(self, function: str) -> Any:
        """moto's LambdaFunction by name, partial or full ARN. Raises ServiceError(ResourceNotFoundException)."""
        name = function.rsplit(":function:", maxsplit=1)[-1].split(":", maxsplit=1)[0]
        for found in _backend().list_functions():
            if found.function_name == name:
                return found
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"
        raise ServiceError("ResourceNotFoundException", f"Function not found: {arn}", 404)

    def close(self) -> None:
        """Kills all environments. Safe to call twice."""
        self._closed.set()
        self._asynchronous.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            environments, self._all = list(self._all), set()
            self._idle.clear()
            self._lock.notify_all()
        for environment in environments:
            environment.close()

    @contextlib.contextmanager
    def _environment(self, found: Any) -> Iterator[Environment]:
        name = found.function_name
        key = _configuration_key(found)
        limit = min(ENVIRONMENTS, int(found.reserved_concurrency or ENVIRONMENTS))
        environment = None
        stale = []
        with self._lock:
            while environment is None:
                if self._closed.is_set():
                    raise ServiceError("ServiceException", "The laptop is shutting down.", 500)
                idle = self._idle.setdefault(name, [])
                while idle and environment is None:
                    candidate = idle.pop()
                    if candidate.usable and candidate.key == key:
                        environment = candidate
                    else:
                        stale.append(candidate)
                        self._count[name] -= 1
                        self._all.discard(candidate)
                if environment is None:
                    if self._count.get(name, 0) < limit:
                        self._count[name] = self._count.get(name, 0) + 1
                        break
                    self._lock.wait()
        for old in stale:
            old.close()
        try:
            if environment is None:
                environment = self._start(found, key)
                with self._lock:
                    self._all.add(environment)
            yield environment
        finally:
            with self._lock:
                if environment is not None and environment.usable and not self._closed.is_set():
                    self._idle.setdefault(name, []).append(environment)
                else:
                    self._count[name] -= 1
                    if environment is not None:
                        self._all.discard(environment)
                self._lock.notify_all()
            if environment is not None and self._closed.is_set():
                environment.close()

    def _start(self, found: Any, key: str) -> Environment:
        name = found.function_name
        code = self._unpacked("code", found.code_digest[:32], found.code_bytes)
        contents = []
        for layer in found.layers:
            version = _backend().layers_versions_by_arn(layer["Arn"])
            assert version is not None, f"layer {layer['Arn']} was deleted"
            contents.append(version.code_bytes)
        opt = self._unpacked("opt", _digest(*(layer["Arn"] for layer in found.layers)), *contents)
        tmp = self._account.home / "lambda" / "tmp" / uuid.uuid4().hex
        tmp.mkdir(parents=True)
        stream = f"{self._account.clock.now():%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
        role = self._account.identities.credentials(found.role)
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html lists the runtime's own variables. The
        # caller's environment is not passed on, nor its AWS configuration files.
        environment = {
            **{name: str(value) for name, value in found.environment_vars.items()},
            "_HANDLER": found.handler,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{found.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(found.memory_size),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": _log_group(found),
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
            "AWS_ACCESS_KEY_ID": role["aws_access_key_id"],
            "AWS_SECRET_ACCESS_KEY": role["aws_secret_access_key"],
            "AWS_SESSION_TOKEN": role["aws_session_token"],
            "LAMBDA_TASK_ROOT": str(code),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "PYTHONPATH": str(opt / "python"),
            "PYTHONNOUSERSITE": "1",
            "AWS_ENDPOINT_URL": self._account.url,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            # There is no X-Ray daemon here.
            "AWS_XRAY_SDK_ENABLED": "false",
            "POWERTOOLS_TRACE_DISABLED": "true",
        }
        return Environment(found.handler, code, tmp, environment, key, clock=self._account.clock)

    def _unpacked(self, kind: str, label: str, *contents: bytes) -> Path:
        """One folder for archives that AWS lays over each other: a function's code, or all its layers in /opt."""
        folder = self._account.home / "lambda" / kind / label
        with self._unpacking:
            if not folder.exists():
                partial = folder.with_name(f"{folder.name}.partial")
                partial.mkdir(parents=True)
                for content in contents:
                    with zipfile.ZipFile(io.BytesIO(content)) as archive:
                        archive.extractall(partial)
                partial.rename(folder)
        return folder

    def _report(self, found: Any, environment: Environment, call: Call, outcome: Outcome, started_ms: int) -> str:
        """Writes the log, the metrics and the journal entry of an invocation; returns its log."""
        init_ms = outcome.init_ms or 0.0
        billed = math.ceil(outcome.duration_ms + init_ms)
        ended_ms = self._account.clock.now_ms()
        report = (
            f"REPORT RequestId: {call.request_id}\tDuration: {outcome.duration_ms:.2f} ms\t"
            f"Billed Duration: {billed} ms\tMemory Size: {found.memory_size} MB\t"
            f"Max Memory Used: {outcome.max_memory_mib} MB\t"
        )
        if outcome.init_ms is not None:
            report += f"Init Duration: {init_ms:.2f} ms\t"
        answer = _json(outcome.payload)
        error = None
        if outcome.error:
            error = f"{answer['errorType']}: {answer['errorMessage']}" if _is_error(answer) else str(answer)
            if _is_error(answer) and str(answer["errorType"]).startswith(("Sandbox.", "Runtime.")):
                report += f"Status: {'timeout' if answer['errorType'] == 'Sandbox.Timedout' else 'error'}"
        printed = environment.take_lines()
        lines = [(started_ms, f"START RequestId: {call.request_id} Version: $LATEST"), *printed]
        if _is_error(answer) and answer["errorType"] == "Sandbox.Timedout":
            now = self._account.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
            text = f"{now}Z {call.request_id} Task timed out after {call.timeout_seconds}.00 seconds\n"
            lines.append((ended_ms, text))
        lines += [(ended_ms, f"END RequestId: {call.request_id}"), (ended_ms, report)]
        self._logs.write(found, environment.log_stream, lines)
        _put_metrics(found.function_name, outcome)
        _put_embedded_metrics(printed)
        self._account.bill.function_ran(found.tags, billed, found.memory_size, found.architectures[0])
        decisions = _decisions(answer)
        self._account.journal.record(
            "function",
            function=found.function_name,
            request_id=call.request_id,
            decision=_joined(decisions, "decision"),
            reason=_joined(decisions, "reason"),
            duration_ms=round(outcome.duration_ms, 2),
            billed_ms=billed,
            init_ms=None if outcome.init_ms is None else round(init_ms, 2),
            error=error,
        )
        return "\n".join(text for _, text in lines) + "\n"

    # Asynchronous invocation

    def _run_async(self, function: str, payload: bytes) -> str | None:
        """Tries, retries and hands over to a destination. The last try's error, if that failed."""
        try:
            found = self.find(function)
            config = found.event_invoke_config[-1].config if found.event_invoke_config else {}
            retries = int(config.get("MaximumRetryAttempts", len(RETRY_SECONDS)))
            attempts = 0
            while True:
                outcome, request_id, _ = self.run(function, payload)
                attempts += 1
                if outcome.error is None or attempts > retries:
                    break
                if self._closed.wait(RETRY_SECONDS[attempts - 1]):
                    return "The laptop is shutting down."
            destinations = config.get("DestinationConfig") or {}
            failed = outcome.error is not None
            target = (destinations.get("OnFailure" if failed else "OnSuccess") or {}).get("Destination")
            if target:
                self._deliver(found, target, payload, outcome, request_id, attempts)
            dead_letters = getattr(found, "dead_letter_config", None) or {}
            if failed and dead_letters.get("TargetArn"):
                self._dead_letter(found, dead_letters["TargetArn"], payload, outcome, request_id)
        except Exception as error:
            # The function or a queue may be gone by now, or the role may not send: AWS drops the event too.
            if not self._closed.is_set():
                self._account.journal.record("delivery", target=function, error=f"{type(error).__name__}: {error}")
            return str(error)
        if not failed:
            return None
        answer = _json(outcome.payload)
        return f"{answer['errorType']}: {answer['errorMessage']}" if _is_error(answer) else str(answer)

    def _deliver(
        self, found: Any, target: str, payload: bytes, outcome: Outcome, request_id: str, attempts: int
    ) -> None:
        """An invocation record, https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html."""
        failed = outcome.error is not None
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": "$LATEST"}
        if failed:
            context["functionError"] = outcome.error
        record = {
            "version": "1.0",
            "timestamp": self._account.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": request_id,
                "functionArn": f"{found.function_arn}:$LATEST",
                "condition": "RetriesExhausted" if failed else "Success",
                "approximateInvokeCount": attempts,
            },
            "requestPayload": _json(payload),
            "responseContext": context,
            "responsePayload": _json(outcome.payload),
        }
        self._send(found, target, json.dumps(record), {}, "DestinationDeliveryFailures", record)

    def _dead_letter(self, found: Any, target: str, payload: bytes, outcome: Outcome, request_id: str) -> None:
        """The event itself, with the error in message attributes, as AWS sends it to a DeadLetterConfig's target."""
        answer = _json(outcome.payload)
        message = str(answer.get("errorMessage", "")) if isinstance(answer, dict) else ""
        attributes = {
            "RequestID": {"DataType": "String", "StringValue": request_id},
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {"DataType": "String", "StringValue": message[:1024] or "Unhandled"},
        }
        self._send(found, target, payload.decode(), attributes, "DeadLetterErrors", None)

    def _send(
        self, found: Any, target: str, body: str, attributes: dict[str, Any], failure_metric: str, record: Any
    ) -> None:
        journal = self._account.journal
        try:
            service = target.split(":")[2]
            if service == "sqs":
                url = f"{self._account.url}/{ACCOUNT_ID}/{target.rsplit(':', maxsplit=1)[-1]}"
                client = self._account.client("sqs", found.role)
                client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
            elif service == "sns":
                client = self._account.client("sns", found.role)
                client.publish(TopicArn=target, Message=body, MessageAttributes=attributes)
            elif service == "lambda":
                self._account.identities.assert_allowed(found.role, "lambda:InvokeFunction", target)
                self.invoke_async(target, body.encode())
            elif service == "events":
                self._account.identities.assert_allowed(found.role, "events:PutEvents", target)
                result = "Success" if record["requestContext"]["condition"] == "Success" else "Failure"
                detail_type = f"Lambda Function Invocation Result - {result}"
                self._account.events.put("lambda", detail_type, record, (target, found.function_arn))
            else:
                raise ServiceError("InvalidParameterValueException", f"{target} cannot be a destination.")
            journal.record("delivery", target=target, source=found.function_name, error=None)
        except Exception as error:
            _put_metric(found.function_name, failure_metric, 1, "Count")
            journal.record("delivery", target=target, source=found.function_name, error=str(error))

    def _assert_invokable(self, found: Any, principal: str, source_arn: str) -> None:
        policy = {"Statement": found.policy.statements}
        context = {"aws:SourceArn": source_arn, "aws:SourceAccount": ACCOUNT_ID}
        if iam.allows_service(policy, principal, "lambda:InvokeFunction", found.function_arn, context):
            return
        raise ServiceError(
            "AccessDeniedException",
            f"{principal} is not authorized to perform: lambda:InvokeFunction on resource: {found.function_arn} "
            f"because no resource-based policy allows the lambda:InvokeFunction action for {source_arn}",
            403,
        )


class SqsPoller:
    """Feeds a function from a queue for as long as the mapping exists and is enabled.

    Batches, partial batch responses and the messages' shape: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html.
    The queue's visibility timeout and redrive policy are moto's. The function's role must allow sqs:ReceiveMessage,
    sqs:DeleteMessage and sqs:GetQueueAttributes, as in AWS.
    """

    def __init__(self, account: Account, functions: LambdaFunctions, mapping: Any) -> None:
        self._account = account
        self._functions = functions
        self._mapping = mapping
        self._stopped = threading.Event()
        self._refused = ""
        threading.Thread(target=self._poll, daemon=True, name="lambda-sqs").start()

    def stop(self) -> None:
        self._stopped.set()

    def _poll(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            mapping = self._mapping
            if _backend().get_event_source_mapping(mapping.uuid) is not mapping:
                return
            try:
                if mapping.enabled:
                    self._poll_once()
            except Exception as error:
                if str(error) != self._refused and not self._stopped.is_set():
                    self._refused = str(error)
                    self._account.journal.record(
                        "refused", source=mapping.event_source_arn, target=mapping.function_arn, reason=str(error)
                    )
                self._stopped.wait(1.0)

    def _poll_once(self) -> None:
        from moto.sqs.models import sqs_backends

        arn = self._mapping.event_source_arn
        sqs = sqs_backends[ACCOUNT_ID][REGION]
        name = arn.split(":")[-1]
        queue = sqs.queues.get(name)
        if queue is None or not queue.messages:
            return
        role = self._functions.find(self._mapping.function_arn).role
        for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
            self._account.identities.assert_allowed(role, action, arn)
        visible_again = getattr(queue, "visibility_timeout", None)
        window = float(self._mapping.max_batch_window or 0)
        until = time.monotonic() + window
        size = int(self._mapping.batch_size)
        messages: list[Any] = []
        while True:
            # One receive call never returns more than ten messages.
            messages += sqs.receive_message(name, min(10, size - len(messages)), 0, int(visible_again or 0), ["All"])
            if len(messages) >= size or time.monotonic() >= until or self._stopped.wait(POLL_SECONDS):
                break
        if not messages:
            return
        event = {"Records": [_sqs_record(message, arn) for message in messages]}
        payload, error = self._functions.invoke(self._mapping.function_arn, json.dumps(event).encode())
        failed = {message.id for message in messages} if error else self._failures(payload, messages)
        for message in messages:
            if message.id not in failed:
                with contextlib.suppress(Exception):  # its visibility timeout has passed: it will come again
                    sqs.delete_message(name, message.receipt_handle)
        self._refused = ""

    def _failures(self, payload: bytes, messages: list[Any]) -> set[str]:
        """Which messages stay. A malformed batchItemFailures means all of them, as AWS documents."""
        if "ReportBatchItemFailures" not in (self._mapping.function_response_types or ()):
            return set()
        everything = {message.id for message in messages}
        answer = _json(payload)
        if answer is None or answer in ("", {}):
            return set()
        failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
        if isinstance(answer, dict) and not failures:
            return set()
        try:
            named = {failure["itemIdentifier"] for failure in failures or ()}
        except (TypeError, KeyError):
            return everything
        return named if named and named <= everything else everything


class _Logs:
    """CloudWatch Logs of the functions: dropped silently if the function's role may not write them, as in AWS."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def write(self, found: Any, stream: str, lines: list[tuple[int, str]]) -> None:
        from moto.logs.models import logs_backends

        logs = logs_backends[ACCOUNT_ID][REGION]
        group = _log_group(found)
        arn = f"arn:aws:logs:{REGION}:{ACCOUNT_ID}:log-group:{group}"
        allowed = self._account.identities.assert_allowed
        with self._lock:
            try:
                if group not in logs.groups:
                    allowed(found.role, "logs:CreateLogGroup", f"{arn}:*")
                    logs.ensure_log_group(group)
                if stream not in logs.groups[group].streams:
                    allowed(found.role, "logs:CreateLogStream", f"{arn}:log-stream:{stream}")
                    logs.ensure_log_stream(group, stream)
                allowed(found.role, "logs:PutLogEvents", f"{arn}:log-stream:{stream}")
            except ServiceError as error:
                if found.function_name not in self._refused:
                    self._refused.add(found.function_name)
                    self._account.journal.record("refused", source=found.function_name, reason=error.message)
                return
            events: list[dict[str, Any]] = []
            for at, text in sorted(lines, key=lambda line: line[0]):
                events.append({"timestamp": at, "message": text if text.endswith("\n") else f"{text}\n"})
            logs.put_log_events(group, stream, events)


def _backend() -> Any:
    from moto.awslambda.models import lambda_backends

    return lambda_backends[ACCOUNT_ID][REGION]


def _log_group(found: Any) -> str:
    logging: dict[str, str] = getattr(found, "logging_config", None) or {}
    return logging.get("LogGroup") or f"/aws/lambda/{found.function_name}"


def _configuration_key(found: Any) -> str:
    return _digest(
        found.code_sha_256,
        found.handler,
        found.role,
        found.timeout,
        found.memory_size,
        sorted(found.environment_vars.items()),
        [layer["Arn"] for layer in found.layers],
        _log_group(found),
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode("utf-8", "replace") or None


def _is_error(answer: Any) -> bool:
    return isinstance(answer, dict) and "errorType" in answer and "errorMessage" in answer


def _decisions(answer: Any) -> list[dict[str, Any]]:
    """What a function decided: its answer, the members of its answer, or those under `decisions` (batches)."""
    if isinstance(answer, dict) and isinstance(answer.get("decisions"), list):
        answer = answer["decisions"]
    return [entry for entry in (answer if isinstance(answer, list) else [answer]) if isinstance(entry, dict)]


def _joined(decisions: list[dict[str, Any]], key: str) -> str | None:
    values = [str(entry[key]) for entry in decisions if entry.get(key) is not None]
    return "; ".join(values) or None


def _sqs_record(message: Any, queue_arn: str) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    for name, value in (
        ("MessageGroupId", message.group_id),
        ("MessageDeduplicationId", message.deduplication_id),
        ("SequenceNumber", message.sequence_number),
    ):
        if value is not None:
            attributes[name] = str(value)
    own = {}
    for name, value in message.message_attributes.items():
        shown: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
        if value.get("StringValue") is not None:
            shown["stringValue"] = value["StringValue"]
        if value.get("BinaryValue") is not None:
            binary = value["BinaryValue"]
            shown["binaryValue"] = base64.b64encode(binary).decode() if isinstance(binary, bytes) else binary
        own[name] = shown
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": own,
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }


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


def _put_metric(function: str, name: str, value: float, unit: str) -> None:
    from moto.cloudwatch.models import cloudwatch_backends

    datum = {
        "MetricName": name,
        "Dimensions": [{"Name": "FunctionName", "Value": function}],
        "Value": value,
        "Unit": unit,
    }
    cloudwatch_backends[ACCOUNT_ID][REGION].put_metric_data("AWS/Lambda", [datum])


def _put_metrics(function: str, outcome: Outcome) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html"""
    _put_metric(function, "Invocations", 1, "Count")
    _put_metric(function, "Errors", 1 if outcome.error else 0, "Count")
    _put_metric(function, "Duration", outcome.duration_ms, "Milliseconds")


def _put_embedded_metrics(lines: list[tuple[int, str]]) -> None:
    """Metrics that a function prints in CloudWatch's embedded metric format become metrics, as they do in AWS.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    from moto.cloudwatch.models import cloudwatch_backends

    for at, text in lines:
        if '"CloudWatchMetrics"' not in text:
            continue
        document = _json(text.encode())
        directives = document.get("_aws", {}).get("CloudWatchMetrics", ()) if isinstance(document, dict) else ()
        for directive in directives:
            for dimensions in directive.get("Dimensions") or [[]]:
                data = []
                for metric in directive.get("Metrics", ()):
                    value = document.get(metric["Name"], [])
                    for number in value if isinstance(value, list) else [value]:
                        datum = {
                            "MetricName": metric["Name"],
                            "Dimensions": [{"Name": name, "Value": str(document[name])} for name in dimensions],
                            "Value": float(number),
                            "Unit": metric.get("Unit", "None"),
                            "Timestamp": datetime.fromtimestamp(at / 1000, UTC).replace(tzinfo=None),
                        }
                        data.append(datum)
                cloudwatch_backends[ACCOUNT_ID][REGION].put_metric_data(directive["Namespace"], data)


def install(account: Account) -> None:
    """Makes `account.functions`, and replaces those parts of moto's Lambda, SQS and SNS that would run functions."""
    import moto.awslambda.exceptions as moto_errors
    import moto.awslambda.models as moto_lambda
    import moto.sns.models as moto_sns

    functions = LambdaFunctions(account)
    account.functions = functions
    account.closers.append(functions.close)
    pollers: dict[str, SqsPoller] = {}

    def close_pollers() -> None:
        for poller in pollers.values():
            poller.stop()

    account.closers.append(close_pollers)
    backend = moto_lambda.LambdaBackend

    def invoke(function: Any, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        payload = body.encode() if isinstance(body, str) else bytes(body or b"")
        try:
            json.loads(payload or b"{}")
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise moto_errors.LambdaClientError("InvalidRequestContentException", message) from None
        kind = request_headers.get("X-Amz-Invocation-Type") or request_headers.get("x-amz-invocation-type")
        if kind == "Event":
            functions.invoke_async(function.function_name, payload)
            return b""
        if kind == "DryRun":
            return b""
        outcome, _, log = functions.run(function.function_name, payload)
        if outcome.error:
            response_headers["x-amz-function-error"] = outcome.error
        response_headers["x-amz-executed-version"] = "$LATEST"
        response_headers["x-amz-log-result"] = base64.b64encode(log.encode()[-_TAIL_BYTES:]).decode()
        return outcome.payload

    original_create = _original(backend, "create_function")

    def create_function(self: Any, spec: dict[str, Any]) -> Any:
        name = str(spec.get("FunctionName", ""))
        if any(existing.function_name == name for existing in self.list_functions()):
            raise moto_errors.ConflictException(f"Function already exist: {name}")
        created = original_create(self, spec)
        created.dead_letter_config = spec.get("DeadLetterConfig")
        created.logging_config = spec.get("LoggingConfig")
        return created

    original_update = _original(moto_lambda.LambdaFunction, "update_configuration")

    def update_configuration(self: Any, updates: dict[str, Any]) -> Any:
        for key, name in (("DeadLetterConfig", "dead_letter_config"), ("LoggingConfig", "logging_config")):
            if key in updates:
                setattr(self, name, updates[key])
        for key, name in (("Architectures", "architectures"), ("TracingConfig", "tracing_config")):
            if key in updates:
                setattr(self, name, updates[key])
        return original_update(self, updates)

    original_configuration = _original(moto_lambda.LambdaFunction, "get_configuration")

    def get_configuration(self: Any, on_create: bool = False) -> Any:
        shown = original_configuration(self, on_create)
        if getattr(self, "dead_letter_config", None):
            shown["DeadLetterConfig"] = self.dead_letter_config
        logging = getattr(self, "logging_config", None) or {}
        shown["LoggingConfig"] = {"LogFormat": "Text", **logging, "LogGroup": _log_group(self)}
        return shown

    original_mapping = _original(backend, "create_event_source_mapping")

    def create_event_source_mapping(self: Any, spec: dict[str, Any]) -> Any:
        from moto.sqs.models import sqs_backends

        mapping = original_mapping(self, spec)
        # moto would call the function inside SendMessage; the poller does it as AWS does.
        for queue in sqs_backends[ACCOUNT_ID][REGION].queues.values():
            if queue.queue_arn == mapping.event_source_arn:
                queue.lambda_event_source_mappings.clear()
        role = functions.find(mapping.function_arn).role
        for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            try:
                account.identities.assert_allowed(role, f"sqs:{action}", mapping.event_source_arn)
            except ServiceError:
                self.delete_event_source_mapping(mapping.uuid)
                raise moto_errors.InvalidParameterValueException(
                    f"The function execution role does not have permissions to call {action} on SQS"
                ) from None
        pollers[mapping.uuid] = SqsPoller(account, functions, mapping)
        return mapping

    def list_event_source_mappings(self: Any, event_source_arn: str | None, function_name: str | None) -> list[Any]:
        # moto finds only mappings that were made with the same spelling of the function: name or ARN.
        wanted = functions.find(function_name).function_name if function_name else None
        return [
            mapping
            for mapping in list(self._event_source_mappings.values())
            if event_source_arn in (None, mapping.event_source_arn)
            and wanted in (None, functions.find(mapping.function_arn).function_name)
        ]

    def put_function_event_invoke_config(self: Any, function_name: str, config: dict[str, Any]) -> Any:
        # moto keeps every configuration it was ever given and shows the first.
        found = self.get_function(function_name)
        found.event_invoke_config = [moto_lambda.EventInvokeConfig(found.function_arn, found.last_modified, config)]
        return found.event_invoke_config[0].response()

    def update_function_event_invoke_config(self: Any, function_name: str, config: dict[str, Any]) -> Any:
        found = self.get_function(function_name)
        before = found.event_invoke_config[-1].config if found.event_invoke_config else {}
        return put_function_event_invoke_config(self, function_name, {**before, **config})

    original_publish = _original(moto_sns.Subscription, "publish")

    def publish(
        self: Any,
        message: str,
        message_id: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> None:
        if self.protocol != "lambda":
            original_publish(
                self, message, message_id, subject, message_attributes, group_id, deduplication_id, message_structure
            )
            return
        matcher = self._filter_policy_matcher
        if matcher is not None and not matcher.matches(message_attributes, message):
            return
        if message_structure == "json":
            message = self._parse_message_structure(message, self.protocol)
        error = None
        try:
            record = _sns_record(self, message, message_id, subject, message_attributes, at=account.clock.now())
            functions.invoke_async(self.endpoint, record, "sns.amazonaws.com", self.topic_arn)
        except ServiceError as refused:
            error = refused.message
            redrive = json.loads(self.attributes.get("RedrivePolicy") or "{}").get("deadLetterTargetArn")
            if redrive:  # https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
                original_publish(_to_queue(self, redrive), message, message_id, subject, message_attributes)
        account.journal.record("delivery", target=self.endpoint, source=self.topic_arn, error=error)

    replacements: list[tuple[Any, str, Callable[..., Any]]] = [
        (moto_lambda.LambdaFunction, "invoke", invoke),
        (moto_lambda.LambdaFunction, "update_configuration", update_configuration),
        (moto_lambda.LambdaFunction, "get_configuration", get_configuration),
        (backend, "create_function", create_function),
        (backend, "create_event_source_mapping", create_event_source_mapping),
        (backend, "list_event_source_mappings", list_event_source_mappings),
        (backend, "put_function_event_invoke_config", put_function_event_invoke_config),
        (backend, "update_function_event_invoke_config", update_function_event_invoke_config),
        (moto_sns.Subscription, "publish", publish),
    ]
    for owner, name, replacement in replacements:
        setattr(owner, name, replacement)


def _to_queue(subscription: Any, queue_arn: str) -> Any:
    """The same subscription with a queue at its end."""
    other = copy.copy(subscription)
    other.protocol, other.endpoint, other.attributes = "sqs", queue_arn, {}
    other._filter_policy_matcher = None
    return other


_originals: dict[tuple[Any, str], Callable[..., Any]] = {}


def _original(owner: Any, name: str) -> Callable[..., Any]:
    """moto's own method, also when a second account is installed in the same process."""
    return _originals.setdefault((owner, name), getattr(owner, name))
