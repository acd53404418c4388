"""AWS Lambda: moto keeps the functions, layers and mappings; here they run.

Each function runs in processes of the official runtime client (laptop/runtime_api.py), started at the first invocation
and kept warm, at most `ENVIRONMENTS` at once per function; more calls wait their turn. Asynchronous calls are retried
as AWS does, but after `RETRY_SECONDS` instead of one and two minutes. What calls them is in laptop/lambda_api.py.

On AWS the layer holds its third-party packages. A layer that the laptop's own deployment packed holds only the
platform's code, and the rest comes from the interpreter's site-packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import threading
import uuid
import zipfile
from collections.abc import Iterator
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
        for found in lambda_backend().list_functions():
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
            version = lambda_backend().layers_versions_by_arn(layer["Arn"])
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
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group_of(found),
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
        answer = parsed(outcome.payload)
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
            decisions=[{key: one[key] for key in ("decision", "reason") if key in one} for one in decisions],
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
        answer = parsed(outcome.payload)
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
            "requestPayload": parsed(payload),
            "responseContext": context,
            "responsePayload": parsed(outcome.payload),
        }
        self._send(found, target, json.dumps(record), {}, "DestinationDeliveryFailures", record)

    def _dead_letter(self, found: Any, target: str, payload: bytes, outcome: Outcome, request_id: str) -> None:
        """The event itself, with the error in message attributes, as AWS sends it to a DeadLetterConfig's target."""
        answer = parsed(outcome.payload)
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


class _Logs:
    """CloudWatch Logs of the functions: dropped silently if the function's role may not write them, as in AWS."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def write(self, found: Any, stream: str, lines: list[tuple[int, str]]) -> None:
        from moto.logs.models import logs_backends

        logs = logs_backends[ACCOUNT_ID][REGION]
        group = log_group_of(found)
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


def lambda_backend() -> Any:
    """moto's Lambda of the account."""
    from moto.awslambda.models import lambda_backends

    return lambda_backends[ACCOUNT_ID][REGION]


def log_group_of(found: Any) -> str:
    """The log group of one of moto's functions."""
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
        log_group_of(found),
    )


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def parsed(payload: bytes) -> Any:
    """What a function was sent or answered: JSON, or else text; None where it is empty."""
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
        document = parsed(text.encode())
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
