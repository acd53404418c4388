"""What is read and started of SageMaker Pipelines: a part of Aws (aws.py), which has the calls themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Any

from mlplatform import names
from mlplatform.decisions import Decision, Skip, StartPipeline
from mlplatform.errors import AwsError
from mlplatform.facts import PipelineRun, PipelineStep
from mlplatform.settings import Settings


class PipelineCalls:
    """Mixed into Aws."""

    _settings: Settings

    def _call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _unless(self, expected: Callable[[AwsError], bool], service: str, operation: str, **parameters: Any) -> bool:
        raise NotImplementedError

    def _found(self, service: str, operation: str, **parameters: Any) -> dict[str, Any] | None:
        raise NotImplementedError

    def _pages(self, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _put(self, bucket: str, key: str, content: bytes) -> None:
        raise NotImplementedError

    # ---- facts ----

    def pipeline_run(self, arn: str) -> PipelineRun | None:
        found = self._found("sagemaker", "describe_pipeline_execution", PipelineExecutionArn=arn)
        if found is None:
            return None
        steps = [
            step
            for page in self._pages(
                "sagemaker", "list_pipeline_execution_steps", PipelineExecutionArn=arn, SortOrder="Ascending"
            )
            for step in page["PipelineExecutionSteps"]
        ]
        given = {
            one["Name"]: one["Value"]
            for page in self._pages("sagemaker", "list_pipeline_parameters_for_execution", PipelineExecutionArn=arn)
            for one in page["PipelineParameters"]
        }
        return PipelineRun(
            arn=arn,
            pipeline=found["PipelineArn"].rsplit("/", 1)[-1],
            name=found.get("PipelineExecutionDisplayName", arn.rsplit("/", 1)[-1]),
            status=found["PipelineExecutionStatus"],
            failure_reason=found.get("FailureReason"),
            created=found["CreationTime"].astimezone(UTC),
            steps=tuple(map(_step, steps)),
            parameters=given,
        )

    def processing_message(self, name: str) -> str | None:
        """What the program of a processing job wrote for people, if it wrote anything."""
        found = self._found("sagemaker", "describe_processing_job", ProcessingJobName=name) or {}
        message: str | None = found.get("ExitMessage")
        return message

    # ---- decisions ----

    def _start_pipeline(self, decision: StartPipeline) -> Decision:
        bucket = self._settings.artifact_bucket
        self._put(bucket, names.manifest_key(decision.dataset, decision.version), decision.manifest.encode())
        # RegisterModel would make the group, but without tags.
        self._unless(_is_there, "sagemaker", "create_model_package_group", **decision.group)
        # The same token gives the same execution, and is refused where meanwhile another model is live.
        started = self._unless(_is_repeated, "sagemaker", "start_pipeline_execution", **decision.request)
        if started:
            return decision
        return Skip(f"Pipeline execution {decision.job_name} was started already; each version is trained once.")


def _step(found: Mapping[str, Any]) -> PipelineStep:
    kind, about = next(iter(found.get("Metadata", {}).items()), ("", {}))
    return PipelineStep(
        name=found["StepName"],
        kind=kind,
        status=found["StepStatus"],
        arn=about.get("Arn", ""),
        failure_reason=found.get("FailureReason"),
        cached="CacheHitResult" in found,
    )


def _is_there(error: AwsError) -> bool:
    return "already exist" in error.aws_message.lower()


def _is_repeated(error: AwsError) -> bool:
    return error.code == "ConflictException"
