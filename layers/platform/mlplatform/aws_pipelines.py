"""What is read and started of SageMaker Pipelines: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from mlplatform.aws_calls import is_there
from mlplatform.aws_drops import DropCalls
from mlplatform.decisions import Decision, Skip, StartPipeline
from mlplatform.errors import AwsError
from mlplatform.facts import PipelineRun, PipelineStep


class PipelineCalls(DropCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def pipeline_run(self, arn: str) -> PipelineRun | None:
        found = self._found("sagemaker", "describe_pipeline_execution", PipelineExecutionArn=arn)
        if found is None:
            return None
        steps = self._listed("sagemaker", "list_pipeline_execution_steps", "PipelineExecutionSteps", arn)
        given = self._listed("sagemaker", "list_pipeline_parameters_for_execution", "PipelineParameters", arn)
        return PipelineRun(
            arn=arn,
            pipeline=found["PipelineArn"].rsplit("/", 1)[-1],
            name=found.get("PipelineExecutionDisplayName", arn.rsplit("/", 1)[-1]),
            status=found["PipelineExecutionStatus"],
            failure_reason=found.get("FailureReason"),
            created=found["CreationTime"].astimezone(UTC),
            steps=tuple(map(_step, sorted(steps, key=lambda step: step.get("StartTime", found["CreationTime"])))),
            parameters={one["Name"]: one["Value"] for one in given},
        )

    def _listed(self, service: str, operation: str, member: str, arn: str) -> list[dict[str, Any]]:
        pages = self._pages(service, operation, PipelineExecutionArn=arn)
        return [one for page in pages for one in page[member]]

    def processing_message(self, name: str) -> str | None:
        """What the program of a processing job wrote for people, if it wrote anything."""
        found = self._found("sagemaker", "describe_processing_job", ProcessingJobName=name) or {}
        message: str | None = found.get("ExitMessage")
        return message

    # ---- decisions ----

    def _start_pipeline(self, decision: StartPipeline) -> Decision:
        self._put_manifest(decision)
        # RegisterModel would make the group, but without tags.
        self._unless(is_there, "sagemaker", "create_model_package_group", **decision.group)
        # The same token gives the same execution, and is refused where meanwhile another model is live.
        started = self._unless(_is_repeated, "sagemaker", "start_pipeline_execution", **decision.request)
        if decision.verdict:
            self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
        if started:
            return decision
        return Skip(f"Pipeline execution {decision.job_name} was started already; each version is trained once.")


def _step(found: Mapping[str, Any]) -> PipelineStep:
    metadata: Mapping[str, Mapping[str, str]] = found.get("Metadata", {})
    kind = next(iter(metadata), "")
    return PipelineStep(
        name=found["StepName"],
        kind=kind,
        status=found["StepStatus"],
        arn=metadata[kind].get("Arn", "") if kind else "",
        failure_reason=found.get("FailureReason"),
        cached="CacheHitResult" in found,
    )


def _is_repeated(error: AwsError) -> bool:
    return error.code == "ConflictException"
