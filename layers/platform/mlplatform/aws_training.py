"""Training jobs, read and started: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC

from mlplatform.aws_calls import is_invalid, is_there
from mlplatform.aws_drops import DropCalls
from mlplatform.decisions import Decision, Request, Skip, StartTraining
from mlplatform.errors import NotAsPlanned, TryAgain
from mlplatform.facts import JobStatus, TrainingJob

_TAG_PAUSES_SECONDS = (1.0, 2.0)


class TrainingCalls(DropCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def training_job(self, name: str) -> TrainingJob | None:
        found = self._found("sagemaker", "describe_training_job", TrainingJobName=name)
        if found is None:
            return None
        resources, limits = found.get("ResourceConfig", {}), found.get("StoppingCondition", {})
        return TrainingJob(
            name=found["TrainingJobName"],
            arn=found["TrainingJobArn"],
            status=JobStatus(found["TrainingJobStatus"]),
            secondary_status=found.get("SecondaryStatus", ""),
            failure_reason=found.get("FailureReason"),
            artifact_uri=found.get("ModelArtifacts", {}).get("S3ModelArtifacts"),
            spot=bool(found.get("EnableManagedSpotTraining")),
            max_wait_seconds=limits.get("MaxWaitTimeInSeconds"),
            training_seconds=found.get("TrainingTimeInSeconds"),
            billable_seconds=found.get("BillableTimeInSeconds"),
            instance_type=resources.get("InstanceType", ""),
            instance_count=resources.get("InstanceCount", 1),
            hyperparameters=found.get("HyperParameters", {}),
            tags=self._tags(found["TrainingJobArn"]),
            created=found["CreationTime"].astimezone(UTC) if "CreationTime" in found else None,
            inputs={
                channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
                for channel in found.get("InputDataConfig", [])
                if "S3DataSource" in channel.get("DataSource", {})
            },
            max_runtime_seconds=limits.get("MaxRuntimeInSeconds"),
            ended=found["TrainingEndTime"].astimezone(UTC) if "TrainingEndTime" in found else None,
            image=found.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
            tuning=found["TuningJobArn"].rpartition("/")[2] if "TuningJobArn" in found else None,
        )

    # ---- decisions ----

    def _start_training(self, decision: StartTraining) -> Decision:
        self._put_manifest(decision)
        created = self._unless(is_there, "sagemaker", "create_training_job", **decision.request)
        self._assert_as_planned(decision.request)
        self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
        if not created:
            return Skip(f"Training job {decision.job_name} exists already; each version is trained once.")
        return decision

    def _assert_as_planned(self, request: Request) -> None:
        """Reads the job back: it costs three times as much if it is not spot, and is nobody's if it is not tagged."""
        name = request["TrainingJobName"]
        job, lacking = self._described(name, request["Tags"])
        for seconds in _TAG_PAUSES_SECONDS:
            if not lacking:
                break
            # Nothing promises that ListTags knows at once what CreateTrainingJob was told; a good job is not stopped
            # for that.
            self._sleep(seconds)
            job, lacking = self._described(name, request["Tags"])
        wrong = [] if job.spot else ["it does not run on spot"]
        if lacking:
            wrong.append(f"it lacks the tags {', '.join(lacking)}")
        if not wrong:
            return
        if job.status is JobStatus.IN_PROGRESS:
            self._unless(is_invalid, "sagemaker", "stop_training_job", TrainingJobName=name)
        raise NotAsPlanned(
            f"Training job {name} was stopped, because {' and '.join(wrong)} although that was asked for."
        )

    def _described(self, name: str, tags: Iterable[Mapping[str, str]]) -> tuple[TrainingJob, list[str]]:
        """The job, and which of the tags it does not have."""
        job = self.training_job(name)
        if job is None:
            raise TryAgain(f"Training job {name} was created but can't be described yet.")
        return job, [tag["Key"] for tag in tags if job.tags.get(tag["Key"]) != tag["Value"]]
