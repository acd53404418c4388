"""Which trainings, tunings and pipeline executions have ended, whether an event told of it or not.

SageMaker's events are delivered on a best-effort basis ("Events from AWS services", EventBridge user guide). Jobs are
pages of SageMaker's Search, tags included; an execution is found neither by its tags nor by its end, so that those of
each pipeline are listed by their start.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mlplatform import names
from mlplatform.aws_calls import Call, is_missing, pages
from mlplatform.aws_runs import search
from mlplatform.aws_tuning import read_tuning
from mlplatform.deployment import is_own
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, STACK_TAG, Ended, JobStatus, PipelineEnded, TrainingEnded, TuningEnded
from mlplatform.pipelines import DEFINITIONS, pipeline_name
from mlplatform.settings import Settings
from mlplatform.tuning import skip_tuning

_ENDED_JOB = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED})
_ENDED_EXECUTION = frozenset({"Succeeded", "Failed", "Stopped"})


def read_ended(call: Call, settings: Settings, since: datetime, until: datetime) -> Iterator[Ended]:
    """What of the stack has ended in between and is to be dealt with by itself: no trials, and no steps of pipelines.

    Raises AwsError.
    """
    for found, tags in _jobs(call, "TrainingJob", settings, since, until):
        name, status = found["TrainingJobName"], found["TrainingJobStatus"]
        if status in _ENDED_JOB and is_own(name, tags, settings):
            done = names.outcome_key(tags[DATASET_TAG], name)
            yield Ended(TrainingEnded(name, JobStatus(status)), name, (done,))
    for found, tags in _jobs(call, "HyperParameterTuningJob", settings, since, until):
        job = read_tuning(found, tags)
        if skip_tuning(job, False, settings) is None:
            done = names.outcome_key(tags[DATASET_TAG], job.best or job.name)
            yield Ended(TuningEnded(job.name, job.status), job.name, (done,))
    for definition in DEFINITIONS:
        yield from _executions(call, pipeline_name(settings.stack_name, definition), settings, since, until)


def _jobs(
    call: Call, kind: str, settings: Settings, since: datetime, until: datetime
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Those that changed last in between, each with its tags."""
    filters = [{"Name": f"Tags.{STACK_TAG}", "Operator": "Equals", "Value": settings.stack_name}]
    for operator, moment in (("GreaterThanOrEqualTo", since), ("LessThanOrEqualTo", until)):
        # In this format and no other ("Filter", SageMaker API reference), so without a zone
        value = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
        filters.append({"Name": "LastModifiedTime", "Operator": operator, "Value": value})
    for one in search(call, kind, {"Filters": filters}):
        found: dict[str, Any] = one[kind]
        yield found, {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}


def _executions(call: Call, pipeline: str, settings: Settings, since: datetime, until: datetime) -> Iterator[Ended]:
    """Of those that began in between. One is known by its name, which is that of its model."""
    try:
        found = list(
            pages(
                call,
                "PipelineExecutionSummaries",
                "sagemaker",
                "list_pipeline_executions",
                PipelineName=pipeline,
                CreatedAfter=since,
                CreatedBefore=until,
            )
        )
    except AwsError as error:
        if not is_missing(error):
            raise
        return  # a stack makes its pipelines when it is deployed
    for one in found:
        name, status = one.get("PipelineExecutionDisplayName", ""), one["PipelineExecutionStatus"]
        dataset = names.dataset_of(settings.stack_name, name)
        if status in _ENDED_EXECUTION and dataset is not None:
            done = (names.outcome_key(dataset, name), names.lineage_key(dataset, name))
            yield Ended(PipelineEnded(one["PipelineExecutionArn"], status), name, done)
