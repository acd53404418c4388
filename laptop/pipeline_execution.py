"""One execution of a SageMaker pipeline: a thread that starts each step when what it needs has succeeded.

Steps are the account's own CreateProcessingJob, CreateTrainingJob, CreateModel and CreateModelPackage, called with the
pipeline's role: IAM and the service model hold for them as for anybody. What can be seen from outside is what AWS
shows: the steps of ListPipelineExecutionSteps with their times, and an event for every change of a status.

After a step has failed no further step starts; those that run are let end. Whether AWS lets them, its guide does not
say. **Shortened:** a retry waits a second at the most, whatever its policy says.

Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-build.html and, for job names,
https://docs.aws.amazon.com/sagemaker/latest/dg/build-and-manage-access.html#build-and-manage-step-permissions-prefix.
"""

from __future__ import annotations

import json
import secrets
import string
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.pipeline_definition import (
    Definition,
    Step,
    Unresolved,
    at_path,
    cache_key,
    outcome,
    resolved,
)
from laptop.sagemaker_common import split_s3_uri

WATCH_SECONDS = 0.1  # between two looks at a step's job
RETRY_SECONDS = 1.0  # the longest wait before a retry
REASON_LIMIT = 1024  # a step's FailureReason
FAILED_STEPS = "Step failure: One or multiple steps failed."  # all that an execution says itself, on AWS too
_TOKEN_CHARACTERS = string.ascii_lowercase + string.digits

# Step type -> the resource's member in the names of operations, requests and metadata, for jobs
_JOBS = {"Processing": "ProcessingJob", "Training": "TrainingJob"}
_RUNNING = {"InProgress", "Stopping"}


class StepFailure(Exception):
    """Why a step failed: the message, and the class of it that a retry policy may name."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class Stopped(Exception):
    """The execution was asked to stop."""


@dataclass
class StepRun:
    """A step that was started, as ListPipelineExecutionSteps shows it."""

    step: Step
    started: datetime
    number: int  # in the order of their starts
    status: str = "Starting"
    ended: datetime | None = None
    failure_reason: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    cache_source: str | None = None  # the execution whose run stands for this one
    properties: dict[str, Any] = field(default_factory=dict)  # what Steps.Name.* refers to
    key: str | None = None  # what a later run may be recognised by


@dataclass
class Execution:
    """What was asked, and what has become of it. `lock` is held while anything in it changes."""

    arn: str
    pipeline_name: str
    pipeline_arn: str
    definition: Definition
    role: str
    parameters: Mapping[str, Any]  # every parameter's value
    given: Mapping[str, str]  # those that the caller gave
    created: datetime
    display_name: str | None = None
    description: str | None = None
    at_most: int | None = None  # steps that run at a time
    status: str = "Executing"
    failure_reason: str | None = None
    modified: datetime = field(init=False)
    ended: datetime | None = None
    runs: dict[str, StepRun] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)  # steps of a branch that is not taken
    stopping: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self.modified = self.created
        self.changed = threading.Condition(self.lock)

    @property
    def id(self) -> str:
        return self.arn.rsplit("/", 1)[-1]


Cached = Callable[[str], "tuple[StepRun, str] | None"]  # a cache key -> an earlier run, and its execution's ARN


class Runner:
    """Executes one execution; `run` returns when it has ended, or when the laptop closes."""

    def __init__(self, account: Account, execution: Execution, cached: Cached, closing: Callable[[], bool]) -> None:
        self._account = account
        self._execution = execution
        self._cached = cached
        self._closing = closing
        self._client: Any = None
        self._making = threading.Lock()

    # -- the order of steps ------------------------------------------------------------------------------------------

    def run(self) -> None:
        execution = self._execution
        threads: list[threading.Thread] = []
        with execution.changed:
            while not self._closing():
                running = [run for run in execution.runs.values() if run.ended is None]
                failed = any(run.status == "Failed" for run in execution.runs.values())
                ready = [] if failed or execution.stopping else self._ready()
                for step in ready:
                    if execution.at_most is not None and len(running) >= execution.at_most:
                        break
                    running.append(self._start(step))
                    thread = threading.Thread(
                        target=self._step, args=(execution.runs[step.name],), name=f"step-{step.name}", daemon=True
                    )
                    threads.append(thread)
                    thread.start()
                if not running:
                    break
                execution.changed.wait(1.0)
        if self._closing():
            return
        with execution.lock:
            statuses = {run.status for run in execution.runs.values()}
            execution.ended = self._account.clock.now()
            if "Failed" in statuses:
                execution.failure_reason = FAILED_STEPS
                self.enter("Failed")
            elif execution.stopping:
                self.enter("Stopped")
            else:
                self.enter("Succeeded")

    def _ready(self) -> list[Step]:
        """The steps that may start now; those that never may are put aside."""
        execution = self._execution
        found = []
        for step in execution.definition.steps.values():
            if step.name in execution.runs or step.name in execution.skipped:
                continue
            if step.needs & execution.skipped:
                execution.skipped.add(step.name)
                continue
            needed = [execution.runs.get(name) for name in step.needs]
            if any(run is None or run.status != "Succeeded" for run in needed):
                continue
            if step.branch is not None:
                condition, wanted = step.branch
                if execution.runs[condition].properties["Outcome"] != wanted:
                    execution.skipped.add(step.name)
                    continue
            found.append(step)
        return found

    def _start(self, step: Step) -> StepRun:
        execution = self._execution
        run = StepRun(step, self._account.clock.now(), len(execution.runs))
        execution.runs[step.name] = run
        self._tell_step(run, None)
        return run

    # -- one step ------------------------------------------------------------------------------------------------------

    def _step(self, run: StepRun) -> None:
        status, reason = "Failed", None
        try:
            arguments = resolved(run.step.arguments, self._scope, self._read_json)
            self._enter_step(run, "Executing")
            self._perform(run, arguments)
            status = "Succeeded"
        except Stopped:
            status = "Stopped"
        except Unresolved as error:
            reason = f"ClientError: {error}."
        except StepFailure as error:
            reason = str(error)
        except Exception as error:
            if self._closing():
                return
            # A defect of the laptop, not of the pipeline: the details go to the log.
            self._account.journal.record("pipeline", step=run.step.name, error=traceback.format_exc())
            reason = f"InternalServerError: {error}"
        if self._closing():
            return
        with self._execution.changed:
            run.ended = self._account.clock.now()
            run.failure_reason = reason[:REASON_LIMIT] if reason is not None else None
            self._enter_step(run, status)
            self._execution.changed.notify_all()

    def _perform(self, run: StepRun, arguments: Any) -> None:
        step = run.step
        match step.type:
            case "Condition":
                taken = "True" if outcome(arguments["Conditions"]) else "False"
                run.properties = {"Outcome": taken}
                run.metadata = {"Condition": {"Outcome": taken}}
            case "Fail":
                message = str(arguments.get("ErrorMessage", ""))
                run.metadata = {"Fail": {"ErrorMessage": message}}
                raise StepFailure(message)
            case _:
                run.key = cache_key(step, arguments)
                earlier = self._cached(run.key) if run.key is not None else None
                if earlier is not None:
                    found, run.cache_source = earlier
                    run.properties, run.metadata = found.properties, found.metadata
                    return
                self._retried(run, arguments)

    def _retried(self, run: StepRun, arguments: Mapping[str, Any]) -> None:
        """Does a step's call, again as its retry policies have it ("Retry Policy for Pipeline Steps", same guide)."""
        failures: dict[int, int] = {}  # policy -> failures that it has forgiven
        while True:
            try:
                self._call(run, arguments)
                return
            except StepFailure as failure:
                chosen = next(
                    (
                        (number, policy)
                        for number, policy in enumerate(run.step.retry_policies)
                        if failure.kind in policy.get("ExceptionType", [])
                    ),
                    None,
                )
                if chosen is None:
                    raise
                number, policy = chosen
                failures[number] = failures.get(number, 0) + 1
                expired = (self._account.clock.now() - run.started).total_seconds() > 60 * policy.get(
                    "ExpireAfterMin", 10**6
                )
                if expired or failures[number] > policy.get("MaxAttempts", 10**6):
                    raise
                wait = policy.get("IntervalSeconds", 1) * policy.get("BackoffRate", 2.0) ** (failures[number] - 1)
                time.sleep(min(wait, RETRY_SECONDS))
                with self._execution.lock:
                    run.attempts += 1
                self._check_stop()

    def _call(self, run: StepRun, arguments: Mapping[str, Any]) -> None:
        match run.step.type:
            case "Processing" | "Training":
                self._job(run, arguments)
            case "Model":
                name = arguments.get("ModelName") or self._job_name(run)
                arn = self._api("create_model", **{**arguments, "ModelName": name})["ModelArn"]
                self._describe(run, "Model", arn, "describe_model", ModelName=name)
            case "RegisterModel":
                arn = self._api("create_model_package", **arguments)["ModelPackageArn"]
                self._describe(run, "RegisterModel", arn, "describe_model_package", ModelPackageName=arn)

    def _job(self, run: StepRun, arguments: Mapping[str, Any]) -> None:
        kind = _JOBS[run.step.type]
        operation = "processing_job" if kind == "ProcessingJob" else "training_job"
        name = self._job_name(run, arguments.get(f"{kind}Name", "pipelines"))
        request = {**arguments, f"{kind}Name": name}
        # A step without a role of its own takes the pipeline's.
        request.setdefault("RoleArn", self._execution.role)
        arn = self._api(f"create_{operation}", **request)[f"{kind}Arn"]
        with self._execution.lock:
            run.metadata = {_JOBS[run.step.type]: {"Arn": arn}}
        described = self._await_job(run, operation, kind, name)
        status = described[f"{kind}Status"]
        if status == "Stopped":
            self._check_stop()
            raise StepFailure(f"ClientError: {kind} {name} was stopped.")
        if status != "Completed":
            reason = described.get("FailureReason", f"{kind} {name} is {status}.")
            internal = reason.startswith("InternalServerError")
            capacity = reason.startswith("CapacityError")
            raise StepFailure(
                reason,
                "SageMaker.JOB_INTERNAL_ERROR" if internal else "SageMaker.CAPACITY_ERROR" if capacity else "",
            )
        with self._execution.lock:
            run.properties = described

    def _await_job(self, run: StepRun, operation: str, kind: str, name: str) -> dict[str, Any]:
        """The job's description at its end. The first and the last look are calls; in between the state is read."""
        described = self._api(f"describe_{operation}", **{f"{kind}Name": name})
        look = self._account.operations["sagemaker"][f"Describe{kind}"]
        told = False
        while described[f"{kind}Status"] in _RUNNING:
            if self._closing():
                raise Stopped
            if self._execution.stopping and not told:
                told = True
                self._enter_step(run, "Stopping")
                try:
                    self._api(f"stop_{operation}", **{f"{kind}Name": name})
                except StepFailure as failure:  # it has ended meanwhile, or the role may not
                    self._account.journal.record("pipeline", step=run.step.name, message=str(failure))
            time.sleep(WATCH_SECONDS)
            described = look({f"{kind}Name": name})
        return self._api(f"describe_{operation}", **{f"{kind}Name": name})

    def _describe(self, run: StepRun, member: str, arn: str, operation: str, **request: Any) -> None:
        with self._execution.lock:
            run.metadata = {member: {"Arn": arn}}
        properties = self._api(operation, **request)
        with self._execution.lock:
            run.properties = properties

    def _check_stop(self) -> None:
        if self._execution.stopping:
            raise Stopped

    def _job_name(self, run: StepRun, prefix: str = "pipelines") -> str:
        """`pipelines-<execution>-<step's first 20 characters>-<token>`, and the number of failures after one."""
        token = "".join(secrets.choice(_TOKEN_CHARACTERS) for _ in range(10))
        parts = [prefix, self._execution.id]
        if prefix == "pipelines":
            parts.append(run.step.name[:20].strip("-_").replace("_", "-"))
        parts.append(token)
        if run.attempts > 1:
            parts.append(str(run.attempts - 1))
        return "-".join(parts)

    def _api(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """One call with the pipeline's role. Raises StepFailure."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self._making:
            if self._client is None:
                try:
                    self._client = self._account.client("sagemaker", self._execution.role)
                except ServiceError as error:
                    raise StepFailure(f"ClientError: {error.message}") from None
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**parameters)
        except ClientError as error:
            details, status = error.response["Error"], error.response["ResponseMetadata"].get("HTTPStatusCode", 400)
            kind = {"ThrottlingException": "Step.THROTTLING", "ResourceLimitExceeded": "SageMaker.RESOURCE_LIMIT"}.get(
                details["Code"], "Step.SERVICE_FAULT" if status >= 500 else ""
            )
            raise StepFailure(f"ClientError: {details['Code']}: {details['Message']}", kind) from None
        except BotoCoreError as error:
            raise StepFailure(f"ClientError: {error}") from None
        answer.pop("ResponseMetadata", None)
        return answer

    # -- expressions ---------------------------------------------------------------------------------------------------

    def _scope(self, reference: str) -> Any:
        execution = self._execution
        head, _, rest = reference.partition(".")
        if head == "Parameters":
            return execution.parameters[rest]
        if head == "Execution":
            known = {
                "PipelineName": execution.pipeline_name,
                "PipelineArn": execution.pipeline_arn,
                "PipelineExecutionId": execution.id,
                "PipelineExecutionArn": execution.arn,
                "StartDateTime": execution.created.isoformat(),
                "CurrentDateTime": self._account.clock.now().isoformat(),
            }
            if rest not in known:
                raise Unresolved(f"an execution has no {rest}")
            return known[rest]
        name, _, path = rest.partition(".")
        return at_path(execution.runs[name].properties, path)

    def _read_json(self, get: Mapping[str, Any]) -> Any:
        """The document of a Std:JsonGet: a property file of a processing step, or any object of S3."""
        if "PropertyFile" in get:
            _, step, _, name = get["PropertyFile"]["Get"].split(".", 3)
            run = self._execution.runs[step]
            output, path = (run.step.property_files or {})[name]
            folder = at_path(run.properties, f"ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri")
            uri = f"{folder.rstrip('/')}/{path}"
        else:
            uri = resolved(get["S3Uri"], self._scope, self._read_json)
        from botocore.exceptions import ClientError

        bucket, key = split_s3_uri(uri)
        try:
            body = self._account.client("s3", self._execution.role).get_object(Bucket=bucket, Key=key)["Body"].read()
            return json.loads(body)
        except ClientError as error:
            raise Unresolved(f"{uri} can't be read: {error.response['Error']['Message']}") from None
        except ValueError:
            raise Unresolved(f"{uri} is not JSON") from None

    # -- what others see -----------------------------------------------------------------------------------------------

    def enter(self, status: str) -> None:
        """The execution's next status, for all to see."""
        execution = self._execution
        with execution.lock:
            before, execution.status = execution.status, status
            execution.modified = self._account.clock.now()
        tell_execution(self._account, execution, before)

    def _enter_step(self, run: StepRun, status: str) -> None:
        with self._execution.lock:
            before, run.status = run.status, status
            self._execution.modified = self._account.clock.now()
            self._tell_step(run, before)

    def _tell_step(self, run: StepRun, before: str | None) -> None:
        """The step's event (https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html)."""
        execution = self._execution
        detail: dict[str, Any] = {
            "metadata": {
                member[:1].lower() + member[1:]: {name[:1].lower() + name[1:]: value for name, value in about.items()}
                for member, about in run.metadata.items()
            },
            "stepStartTime": event_time(run.started),
            "stepName": run.step.name,
            "stepType": run.step.type,
            "currentStepStatus": run.status,
            "pipelineArn": execution.pipeline_arn,
            "pipelineExecutionArn": execution.arn,
        }
        if before is not None:
            detail["previousStepStatus"] = before
        if run.ended is not None:
            detail["stepEndTime"] = event_time(run.ended)
        if run.failure_reason is not None:
            detail["failureReason"] = run.failure_reason
        if run.cache_source is not None:
            detail["cacheHitResult"] = {"sourcePipelineExecutionArn": run.cache_source}
        self._account.journal.record(
            "pipeline",
            pipeline=execution.pipeline_name,
            execution=execution.display_name or execution.id,
            step=run.step.name,
            status=run.status,
            message=run.failure_reason or "",
        )
        self._account.events.put(
            "aws.sagemaker",
            "SageMaker Model Building Pipeline Execution Step Status Change",
            detail,
            (execution.pipeline_arn, execution.arn),
        )


def tell_execution(account: Account, execution: Execution, before: str | None) -> None:
    """The execution's event, in lower camel case and with ISO times, unlike those of jobs (same page)."""
    detail: dict[str, Any] = {
        "currentPipelineExecutionStatus": execution.status,
        "executionStartTime": event_time(execution.created),
        "pipelineArn": execution.pipeline_arn,
        "pipelineExecutionArn": execution.arn,
    }
    optional = {
        "previousPipelineExecutionStatus": before,
        "executionEndTime": event_time(execution.ended) if execution.ended is not None else None,
        "pipelineExecutionDisplayName": execution.display_name,
        "pipelineExecutionDescription": execution.description,
    }
    detail |= {name: value for name, value in optional.items() if value is not None}
    account.journal.record(
        "pipeline",
        pipeline=execution.pipeline_name,
        execution=execution.display_name or execution.id,
        status=execution.status,
        message=execution.failure_reason or "",
    )
    account.events.put(
        "aws.sagemaker",
        "SageMaker Model Building Pipeline Execution Status Change",
        detail,
        (execution.pipeline_arn, execution.arn),
    )


def event_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
