"""SageMaker Pipelines on this machine: the API of pipelines and their executions.

The definition's own JSON is executed (laptop/pipeline_execution.py), by the account's own jobs. Versions of a pipeline,
selective execution and the callbacks of steps that the laptop does not run are refused by name.

Source: the API reference of the operations (https://docs.aws.amazon.com/sagemaker/latest/APIReference/).
"""

from __future__ import annotations

import secrets
import string
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from laptop import service_model
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.pipeline_definition import BadDefinition, BadParameters, Definition, chosen_parameters, parse
from laptop.pipeline_execution import Execution, Runner, StepRun, tell_execution
from laptop.sagemaker_common import (
    arn,
    assert_role_trusts_sagemaker,
    between,
    invalid,
    page,
    read_tags,
)

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_ENDED = {"Succeeded", "Failed", "Stopped"}


@dataclass
class Pipeline:
    """A pipeline, and the executions that were started of it."""

    name: str
    arn: str
    definition: Definition
    role: str
    created: datetime
    modified: datetime
    display_name: str | None = None
    description: str | None = None
    at_most: int | None = None
    last_run: datetime | None = None
    executions: dict[str, Execution] = field(default_factory=dict)  # by ARN, oldest first


class Pipelines:
    """The account's pipelines."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._pipelines: dict[str, Pipeline] = {}
        self._tokens: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.RLock()
        self._closed = False

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreatePipeline": self.create,
            "UpdatePipeline": self.update,
            "DescribePipeline": self.describe,
            "ListPipelines": self.list,
            "DeletePipeline": self.delete,
            "StartPipelineExecution": self.start,
            "StopPipelineExecution": self.stop,
            "RetryPipelineExecution": self.retry,
            "UpdatePipelineExecution": self.update_execution,
            "DescribePipelineExecution": self.describe_execution,
            "DescribePipelineDefinitionForExecution": self.describe_definition,
            "ListPipelineExecutions": self.list_executions,
            "ListPipelineExecutionSteps": self.list_steps,
            "ListPipelineParametersForExecution": self.list_parameters,
        }

    def close(self) -> None:
        self._closed = True
        with self._lock:
            executions = [one for pipeline in self._pipelines.values() for one in pipeline.executions.values()]
            threads = list(self._threads)
        for execution in executions:
            with execution.changed:
                execution.changed.notify_all()
        for thread in threads:
            thread.join(timeout=2)

    # -- pipelines -------------------------------------------------------------------------------------------------

    def create(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name, pipeline_arn = parameters["PipelineName"], arn("pipeline", parameters["PipelineName"].lower())
        tags = read_tags(parameters.get("Tags"))
        definition = self._definition(parameters)
        assert_role_trusts_sagemaker(self._account, parameters["RoleArn"])
        now = self._account.clock.now()

        def make() -> dict[str, Any]:
            if name in self._pipelines:
                raise invalid(
                    f"Pipeline names must be unique within an AWS account and region. Pipeline with name "
                    f"({name}) already exists."
                )
            self._pipelines[name] = Pipeline(
                name,
                pipeline_arn,
                definition,
                parameters["RoleArn"],
                now,
                now,
                parameters.get("PipelineDisplayName"),
                parameters.get("PipelineDescription"),
                _at_most(parameters),
            )
            self._account.tags[pipeline_arn] = tags
            return {"PipelineArn": pipeline_arn}

        return self._once(parameters, make)

    def update(self, parameters: dict[str, Any]) -> dict[str, Any]:
        pipeline = self._pipeline(parameters["PipelineName"])
        if "PipelineDefinition" in parameters or "PipelineDefinitionS3Location" in parameters:
            pipeline.definition = self._definition(parameters)
        if "RoleArn" in parameters:
            assert_role_trusts_sagemaker(self._account, parameters["RoleArn"])
            pipeline.role = parameters["RoleArn"]
        pipeline.display_name = parameters.get("PipelineDisplayName", pipeline.display_name)
        pipeline.description = parameters.get("PipelineDescription", pipeline.description)
        pipeline.at_most = _at_most(parameters) or pipeline.at_most
        pipeline.modified = self._account.clock.now()
        return {"PipelineArn": pipeline.arn}

    def describe(self, parameters: dict[str, Any]) -> dict[str, Any]:
        _refuse(parameters, "PipelineVersionId", "PipelineVersionAlias")
        pipeline = self._pipeline(parameters["PipelineName"])
        return _known(
            {
                "PipelineArn": pipeline.arn,
                "PipelineName": pipeline.name,
                "PipelineDisplayName": pipeline.display_name,
                "PipelineDefinition": pipeline.definition.text,
                "PipelineDescription": pipeline.description,
                "RoleArn": pipeline.role,
                "PipelineStatus": "Active",
                "CreationTime": pipeline.created,
                "LastModifiedTime": pipeline.modified,
                "LastRunTime": pipeline.last_run,
                "ParallelismConfiguration": _parallelism(pipeline.at_most),
            }
        )

    def list(self, parameters: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = [
                one
                for one in self._pipelines.values()
                if one.name.startswith(parameters.get("PipelineNamePrefix", ""))
                and between(one.created, parameters.get("CreatedAfter"), parameters.get("CreatedBefore"))
            ]
        by_name = parameters.get("SortBy") == "Name"
        found.sort(
            key=lambda one: one.name if by_name else one.created.isoformat(),
            reverse=parameters.get("SortOrder", "Descending") == "Descending",
        )
        chosen, more = page(found, parameters, lambda one: one.name, default_size=10)
        summaries = [
            _known(
                {
                    "PipelineArn": one.arn,
                    "PipelineName": one.name,
                    "PipelineDisplayName": one.display_name,
                    "PipelineDescription": one.description,
                    "RoleArn": one.role,
                    "CreationTime": one.created,
                    "LastModifiedTime": one.modified,
                    "LastExecutionTime": one.last_run,
                }
            )
            for one in chosen
        ]
        return {"PipelineSummaries": summaries, **more}

    def delete(self, parameters: dict[str, Any]) -> dict[str, Any]:
        pipeline = self._pipeline(parameters["PipelineName"])
        with self._lock:
            if any(one.status not in _ENDED for one in pipeline.executions.values()):
                raise ServiceError(
                    "ConflictException", f"Pipeline {pipeline.name} can't be deleted while an execution of it runs."
                )
            del self._pipelines[pipeline.name]
            self._account.tags.pop(pipeline.arn, None)
        return {"PipelineArn": pipeline.arn}

    def _pipeline(self, name_or_arn: str) -> Pipeline:
        name = name_or_arn.rsplit("/", 1)[-1]
        with self._lock:
            found = self._pipelines.get(name) or next(
                (one for one in self._pipelines.values() if one.arn == name_or_arn), None
            )
        if found is None:
            raise ServiceError("ResourceNotFound", f"Pipeline '{arn('pipeline', name.lower())}' does not exist.")
        return found

    def _definition(self, parameters: Mapping[str, Any]) -> Definition:
        text, location = parameters.get("PipelineDefinition"), parameters.get("PipelineDefinitionS3Location")
        if (text is None) == (location is None):
            raise invalid("Provide either PipelineDefinition or PipelineDefinitionS3Location.")
        if location is not None:
            text = self._stored(location)
        try:
            return parse(str(text), _members)
        except BadDefinition as error:
            raise invalid(f"Unable to parse pipeline definition. {_sentence(str(error))}") from None
        except (KeyError, TypeError, AttributeError) as error:
            raise invalid(f"Unable to parse pipeline definition. It is malformed: {error!r}") from None

    def _stored(self, location: Mapping[str, str]) -> str:
        from botocore.exceptions import ClientError

        version = {"VersionId": location["VersionId"]} if "VersionId" in location else {}
        try:
            stored = self._account.client("s3").get_object(
                Bucket=location["Bucket"], Key=location["ObjectKey"], **version
            )
        except ClientError as error:
            uri = f"s3://{location['Bucket']}/{location['ObjectKey']}"
            raise invalid(
                f"Unable to read the pipeline definition at {uri}: {error.response['Error']['Message']}"
            ) from None
        return str(stored["Body"].read().decode())

    # -- executions ------------------------------------------------------------------------------------------------

    def start(self, parameters: dict[str, Any]) -> dict[str, Any]:
        _refuse(parameters, "SelectiveExecutionConfig", "PipelineVersionId", "PipelineVersionAlias")
        pipeline = self._pipeline(parameters["PipelineName"])
        given: dict[str, str] = {}
        for one in parameters.get("PipelineParameters", []):
            if one["Name"] in given:
                raise invalid(f"PipelineParameters has {one['Name']} twice.")
            given[one["Name"]] = one["Value"]
        try:
            values = chosen_parameters(pipeline.definition, given)
        except BadParameters as error:
            raise invalid(_sentence(str(error))) from None
        role = parameters.get("RoleArn", pipeline.role)
        assert_role_trusts_sagemaker(self._account, role)

        def begin() -> dict[str, Any]:
            identity = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(12))
            execution = Execution(
                arn=f"{pipeline.arn}/execution/{identity}",
                pipeline_name=pipeline.name,
                pipeline_arn=pipeline.arn,
                definition=pipeline.definition,
                role=role,
                parameters=values,
                given=given,
                created=self._account.clock.now(),
                display_name=parameters.get("PipelineExecutionDisplayName", f"execution-{identity}"),
                description=parameters.get("PipelineExecutionDescription"),
                at_most=_at_most(parameters) or pipeline.at_most,
            )
            pipeline.executions[execution.arn] = execution
            pipeline.last_run = execution.created
            tell_execution(self._account, execution, None)
            self._run(pipeline, execution)
            return {"PipelineExecutionArn": execution.arn}

        return self._once(parameters, begin)

    def _run(self, pipeline: Pipeline, execution: Execution) -> None:
        runner = Runner(self._account, execution, lambda key: self._cached(pipeline, key), lambda: self._closed)
        thread = threading.Thread(target=runner.run, name=f"pipeline-{execution.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _cached(self, pipeline: Pipeline, key: str) -> tuple[StepRun, str] | None:
        """The newest successful run of this pipeline that a cache key stands for, if it is young enough."""
        now = self._account.clock.now()
        with self._lock:
            executions = list(pipeline.executions.values())
        found: list[tuple[datetime, StepRun, str]] = []
        for execution in executions:
            with execution.lock:
                for run in execution.runs.values():
                    if run.key != key or run.status != "Succeeded" or run.cache_source or run.ended is None:
                        continue
                    if run.step.cache_for is not None and now - run.ended <= run.step.cache_for:
                        found.append((run.ended, run, execution.arn))
        if not found:
            return None
        _, run, source = max(found, key=lambda one: one[0])
        return run, source

    def stop(self, parameters: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(parameters["PipelineExecutionArn"])
        with execution.changed:
            if execution.status in _ENDED:
                raise invalid(f"Pipeline execution {execution.arn} is {execution.status}, and can't be stopped.")
            if not execution.stopping:
                before, execution.status, execution.stopping = execution.status, "Stopping", True
                execution.modified = self._account.clock.now()
                tell_execution(self._account, execution, before)
                execution.changed.notify_all()
        return {"PipelineExecutionArn": execution.arn}

    def retry(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Goes on with an execution that failed or was stopped: what has succeeded is kept."""
        execution = self._execution(parameters["PipelineExecutionArn"])
        pipeline = self._pipeline(execution.pipeline_name)
        with execution.lock:
            if execution.status not in ("Failed", "Stopped"):
                raise invalid(f"Pipeline execution {execution.arn} is {execution.status}, and can't be retried.")
            before, execution.status, execution.stopping = execution.status, "Executing", False
            execution.failure_reason = execution.ended = None
            execution.runs = {name: run for name, run in execution.runs.items() if run.status == "Succeeded"}
            execution.skipped = set()
            execution.modified = self._account.clock.now()
            tell_execution(self._account, execution, before)
        with self._lock:
            self._run(pipeline, execution)
        return {"PipelineExecutionArn": execution.arn}

    def update_execution(self, parameters: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(parameters["PipelineExecutionArn"])
        with execution.changed:
            execution.display_name = parameters.get("PipelineExecutionDisplayName", execution.display_name)
            execution.description = parameters.get("PipelineExecutionDescription", execution.description)
            execution.at_most = _at_most(parameters) or execution.at_most
            execution.modified = self._account.clock.now()
            execution.changed.notify_all()
        return {"PipelineExecutionArn": execution.arn}

    def describe_execution(self, parameters: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(parameters["PipelineExecutionArn"])
        with execution.lock:
            return _known(
                {
                    "PipelineArn": execution.pipeline_arn,
                    "PipelineExecutionArn": execution.arn,
                    "PipelineExecutionDisplayName": execution.display_name,
                    "PipelineExecutionStatus": execution.status,
                    "PipelineExecutionDescription": execution.description,
                    "FailureReason": execution.failure_reason,
                    "CreationTime": execution.created,
                    "LastModifiedTime": execution.modified,
                    "ParallelismConfiguration": _parallelism(execution.at_most),
                    "RoleArn": execution.role,
                }
            )

    def describe_definition(self, parameters: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(parameters["PipelineExecutionArn"])
        return {"PipelineDefinition": execution.definition.text, "CreationTime": execution.created}

    def list_executions(self, parameters: dict[str, Any]) -> dict[str, Any]:
        _refuse(parameters, "PipelineVersionAlias")
        pipeline = self._pipeline(parameters["PipelineName"])
        with self._lock:
            found = [
                one
                for one in pipeline.executions.values()
                if between(one.created, parameters.get("CreatedAfter"), parameters.get("CreatedBefore"))
            ]
        if parameters.get("SortBy") == "PipelineExecutionArn":
            found.sort(key=lambda one: one.arn)
        if parameters.get("SortOrder", "Descending") == "Descending":
            found.reverse()
        chosen, more = page(found, parameters, lambda one: one.arn, default_size=10)
        summaries = [
            _known(
                {
                    "PipelineExecutionArn": one.arn,
                    "StartTime": one.created,
                    "PipelineExecutionStatus": one.status,
                    "PipelineExecutionDescription": one.description,
                    "PipelineExecutionDisplayName": one.display_name,
                    "PipelineExecutionFailureReason": one.failure_reason,
                }
            )
            for one in chosen
        ]
        return {"PipelineExecutionSummaries": summaries, **more}

    def list_steps(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Newest first unless asked otherwise. Steps that have not started, or never will, are absent."""
        execution = self._execution(parameters.get("PipelineExecutionArn", ""))
        with execution.lock:
            runs = sorted(execution.runs.values(), key=lambda run: run.number)
            if parameters.get("SortOrder", "Descending") == "Descending":
                runs.reverse()
            chosen, more = page(runs, parameters, lambda run: run.step.name, default_size=10)
            steps = [
                _known(
                    {
                        "StepName": run.step.name,
                        "StepDisplayName": run.step.display_name,
                        "StepDescription": run.step.description,
                        "StartTime": run.started,
                        "EndTime": run.ended,
                        "StepStatus": run.status,
                        "CacheHitResult": (
                            {"SourcePipelineExecutionArn": run.cache_source} if run.cache_source else None
                        ),
                        "FailureReason": run.failure_reason,
                        "Metadata": dict(run.metadata) or None,
                        "AttemptCount": run.attempts,
                    }
                )
                for run in chosen
            ]
        return {"PipelineExecutionSteps": steps, **more}

    def list_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        execution = self._execution(parameters["PipelineExecutionArn"])
        values = [{"Name": name, "Value": value} for name, value in execution.given.items()]
        chosen, more = page(values, parameters, lambda one: one["Name"], default_size=50)
        return {"PipelineParameters": chosen, **more}

    def _execution(self, execution_arn: str) -> Execution:
        with self._lock:
            for pipeline in self._pipelines.values():
                if execution_arn in pipeline.executions:
                    return pipeline.executions[execution_arn]
        raise ServiceError("ResourceNotFound", f"Pipeline execution with ARN {execution_arn} not found.")

    def _once(self, parameters: Mapping[str, Any], act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """By its ClientRequestToken an operation "completes no more than once": the first answer is given again."""
        token = parameters["ClientRequestToken"]
        with self._lock:
            if token in self._tokens:
                earlier, answer = self._tokens[token]
                if earlier != parameters:
                    raise ServiceError(
                        "ConflictException", f"ClientRequestToken {token} was used before with other parameters."
                    )
                return answer
            answer = act()
            self._tokens[token] = (dict(parameters), answer)
            return answer


def _members(operation: str) -> frozenset[str]:
    return frozenset(service_model.model("sagemaker").operation_model(operation).input_shape.members)


def _known(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _at_most(parameters: Mapping[str, Any]) -> int | None:
    at_most: int | None = parameters.get("ParallelismConfiguration", {}).get("MaxParallelExecutionSteps")
    return at_most


def _parallelism(at_most: int | None) -> dict[str, int] | None:
    return None if at_most is None else {"MaxParallelExecutionSteps": at_most}


def _refuse(parameters: Mapping[str, Any], *members: str) -> None:
    for member in members:
        if member in parameters:
            raise invalid(f"The laptop runs whole pipelines in their newest version; {member} needs AWS.")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def install(account: Account) -> None:
    """Registers pipelines and their executions."""
    pipelines = Pipelines(account)
    account.operations.setdefault("sagemaker", {}).update(pipelines.operations())
    account.closers.append(pipelines.close)
