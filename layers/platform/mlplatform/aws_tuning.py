"""What the platform reads of tuning jobs and their trials, and does to them: a part of Aws (aws.py).

Earlier tunings of a dataset, those that run, and a tuning's trials are pages of SageMaker's Search by tag, never a call
per job ("Search", SageMaker API reference): a tuning's trials carry its tags ("CreateHyperParameterTuningJob", same
place).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlplatform import names
from mlplatform.aws_calls import is_there
from mlplatform.aws_drops import DropCalls
from mlplatform.decisions import Decision, Request, Skip, StartTuning, StopTuning
from mlplatform.errors import AwsError, NotAsPlanned, TryAgain
from mlplatform.facts import DATASET_TAG, STACK_TAG, JobStatus, Run, TuningJob

_TAG_PAUSES_SECONDS = (1.0, 2.0)


def read_tuning(found: Mapping[str, Any], tags: Mapping[str, str]) -> TuningJob:
    """From DescribeHyperParameterTuningJob, or from what Search finds: both spell it alike."""
    config = found["HyperParameterTuningJobConfig"]
    definition = found.get("TrainingJobDefinition", {})
    objective = config.get("HyperParameterTuningJobObjective", {})
    best = found.get("BestTrainingJob", {})
    status = found["HyperParameterTuningJobStatus"]
    return TuningJob(
        name=found["HyperParameterTuningJobName"],
        arn=found["HyperParameterTuningJobArn"],
        # Deleting and DeleteFailed: nothing of it runs any more.
        status=JobStatus(status) if status in set(JobStatus) else JobStatus.STOPPED,
        failure_reason=found.get("FailureReason"),
        objective=objective.get("MetricName", ""),
        maximize=objective.get("Type") == "Maximize",
        jobs=config["ResourceLimits"].get("MaxNumberOfTrainingJobs", 0),
        trials=found.get("TrainingJobStatusCounters", {}),
        best=best.get("TrainingJobName"),
        best_value=best.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value"),
        best_values=best.get("TunedHyperParameters", {}),
        static={
            name: value
            for name, value in definition.get("StaticHyperParameters", {}).items()
            if not name.startswith(names.OF_SAGEMAKER)
        },
        ranges=_kinds(config.get("ParameterRanges", {})),
        choices={
            one["Name"]: len(one["Values"])
            for one in config.get("ParameterRanges", {}).get("CategoricalParameterRanges", ())
        },
        spot=bool(definition.get("EnableManagedSpotTraining")),
        tags=tags,
        created=found.get("CreationTime"),
    )


class TuningCalls(DropCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def tuning_job(self, name: str) -> TuningJob | None:
        found = self._found("sagemaker", "describe_hyper_parameter_tuning_job", HyperParameterTuningJobName=name)
        return None if found is None else read_tuning(found, self._tags(found["HyperParameterTuningJobArn"]))

    def tunings_of(self, dataset: str) -> tuple[TuningJob, ...]:
        """All that the stack has started for a dataset."""
        return tuple(self._tunings({"Name": f"Tags.{DATASET_TAG}", "Operator": "Equals", "Value": dataset}))

    def _tunings(self, chosen: Mapping[str, str]) -> Iterator[TuningJob]:
        from mlplatform.aws_runs import search  # most functions ask for no jobs

        ours = {"Name": f"Tags.{STACK_TAG}", "Operator": "Equals", "Value": self._settings.stack_name}
        for found in search(self._call, "HyperParameterTuningJob", {"Filters": [ours, chosen]}):
            job = found["HyperParameterTuningJob"]
            yield read_tuning(job, {tag["Key"]: tag["Value"] for tag in job.get("Tags", [])})

    def running_tunings(self) -> tuple[tuple[TuningJob, tuple[Run, ...]], ...]:
        """The tuning jobs that run, each with all of its trials, ended ones too."""
        running = {"Name": "HyperParameterTuningJobStatus", "Operator": "Equals", "Value": "InProgress"}
        return tuple((job, self.trials_of(job.name)) for job in self._tunings(running))

    def trials_of(self, tuning: str) -> tuple[Run, ...]:
        """A tuning job's trials, as far as their price goes."""
        from mlplatform.aws_runs import search, training_run  # as above

        own = {"Name": f"Tags.{names.TUNING_TAG}", "Operator": "Equals", "Value": tuning}
        found = search(self._call, "TrainingJob", {"Filters": [own]})
        return tuple(training_run(one["TrainingJob"]) for one in found)

    # ---- decisions ----

    def _start_tuning(self, decision: StartTuning) -> Decision:
        self._put_manifest(decision)
        created = self._unless(is_there, "sagemaker", "create_hyper_parameter_tuning_job", **decision.request)
        self._assert_tunes_as_planned(decision.request)
        self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
        if not created:
            return Skip(f"Tuning job {decision.job_name} exists already; each version is tuned once.")
        return decision

    def _assert_tunes_as_planned(self, request: Request) -> None:
        """Reads the tuning job back, as a training job is: its trials inherit what it has, so it has to be right."""
        name = request["HyperParameterTuningJobName"]
        for seconds in (*_TAG_PAUSES_SECONDS, 0.0):
            job = self.tuning_job(name)
            lacking = [tag["Key"] for tag in request["Tags"] if job and job.tags.get(tag["Key"]) != tag["Value"]]
            if job is not None and not lacking:
                break
            self._sleep(seconds)
        if job is None:
            raise TryAgain(f"Tuning job {name} was created but can't be described yet.")
        wrong = [] if job.spot else ["its trials do not run on spot"]
        if lacking:
            wrong.append(f"it lacks the tags {', '.join(lacking)}")
        if not wrong:
            return
        if job.status is JobStatus.IN_PROGRESS:
            self._unless(_has_ended, "sagemaker", "stop_hyper_parameter_tuning_job", HyperParameterTuningJobName=name)
        raise NotAsPlanned(f"Tuning job {name} was stopped, because {' and '.join(wrong)} although that was asked for.")

    def _stop_tuning(self, decision: StopTuning) -> Decision:
        """The message first, as for a hold: one that is stopped is looked at no more."""
        self._announce(decision)
        stopped = self._unless(
            _has_ended,
            "sagemaker",
            "stop_hyper_parameter_tuning_job",
            HyperParameterTuningJobName=decision.tuning_name,
        )
        return decision if stopped else Skip(f"{decision.tuning_name} had ended already.")


def _has_ended(error: AwsError) -> bool:
    """There is nothing to stop: ResourceNotFound by the API reference, ValidationException in practice."""
    return error.code in {"ResourceNotFound", "ValidationException"}


def _kinds(ranges: Mapping[str, Any]) -> dict[str, str]:
    """ParameterRanges of a description: hyperparameter -> Continuous, Integer or Categorical."""
    return {
        one["Name"]: kind.removesuffix("ParameterRanges")
        for kind, entries in ranges.items()
        if kind.endswith("ParameterRanges")
        for one in entries
    }
