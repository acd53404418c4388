"""SageMaker training on this machine: the API, the states, and a thread per job that really runs it.

A job's container is a process (laptop/training_process.py) in which the official training toolkit runs the job's script
(laptop/training_container.py). What a person or a function can see is what AWS shows: the states of DescribeTrainingJob
with their times, the events on the bus, the log stream, the metrics found in the log, the artifact and the checkpoints
in S3. Everything the job reads and writes goes over the account's own API with the execution role's rights.

Made up, because there is no machine to rent: how long capacity takes (INSTANCE_SECONDS, CAPACITY_SECONDS), and what
spot costs (SPOT_DISCOUNTS). All other durations are measured.

Sources: the API reference of the operations (https://docs.aws.amazon.com/sagemaker/latest/APIReference/), and
https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any

from laptop.account import REGION, Account
from laptop.container import TransferError
from laptop.job_log import Monitor
from laptop.jobs import Jobs
from laptop.sagemaker_common import (
    arn,
    assert_role_trusts_sagemaker,
    assert_runnable_image,
    invalid,
    read_tags,
    split_s3_uri,
    tag_operations,
)
from laptop.training_process import CONTAINERS, Cluster, hosts

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DEFAULT_MAX_RUNTIME_SECONDS = 86_400
GRACE_SECONDS = 120.0  # StopTrainingJob: from SIGTERM to the end
INSTANCE_SECONDS = 0.2  # how long a simulated instance takes to start; also the least that a state is to be seen
CAPACITY_SECONDS = 0.5  # how long a simulated spot interruption waits for new capacity
MOST_INSTANCES = 4  # of one job: each is a training process of its own on this machine
SYNC_SECONDS = 1.0  # between two looks at the checkpoint folder
FAILURE_REASON_LIMIT = 1024  # FailureReason of the service model

# A simulated figure: what spot saves, by instance type. SageMaker bills the spot price of the moment; these are the
# discounts of AWS's Spot Instance Advisor (https://aws.amazon.com/ec2/spot/instance-advisor/) for Linux in us-east-1 in
# mid-2025, and the median of all types for the rest.
SPOT_DISCOUNTS = {"ml.m5.xlarge": 0.66, "ml.m5.2xlarge": 0.54, "ml.c5.xlarge": 0.56, "ml.g4dn.xlarge": 0.64}
SPOT_DISCOUNT_OF_OTHERS = 0.66

# What SageMaker reads from the built-in XGBoost's log: the metrics of algorithm_mode/metrics.py of
# github.com/aws/sagemaker-xgboost-container that its own library computes, for both splits.
_XGBOOST_NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
XGBOOST_METRICS = tuple(
    {"Name": f"{split}:{metric}", "Regex": rf".*\[[0-9]+\].*#011{split}-{metric}:{_XGBOOST_NUMBER}.*"}
    for split in ("train", "validation")
    for metric in (
        "auc", "aucpr", "error", "gamma-deviance", "gamma-nloglik", "logloss", "mae", "map", "mape", "merror",
        "mlogloss", "mphe", "ndcg", "poisson-nloglik", "rmse", "rmsle", "tweedie-nloglik",
    )
)  # fmt: skip

_EVENT_FIELDS = (
    "TrainingJobName",
    "TrainingJobArn",
    "TrainingJobStatus",
    "SecondaryStatus",
    "FailureReason",
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "CreationTime",
    "TrainingStartTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "SecondaryStatusTransitions",
)


class Ending(Enum):
    """Why a machine is given up before its script ends by itself."""

    STOP = auto()
    INTERRUPTION = auto()
    MAX_RUNTIME = auto()
    MAX_WAIT = auto()


@dataclass
class Job:
    """A training job: the request, and what has become of it."""

    request: Mapping[str, Any]
    arn: str
    created: datetime
    status: str = "InProgress"
    secondary_status: str = "Starting"
    modified: datetime = field(init=False)
    transitions: list[dict[str, Any]] = field(default_factory=list)
    started: datetime | None = None
    ended: datetime | None = None
    training_seconds: float = 0.0  # on machines, of all attempts; without waiting for them
    artifact_uri: str | None = None
    failure_reason: str | None = None
    metrics: dict[str, tuple[float, datetime]] = field(default_factory=dict)  # the newest value of each
    series: dict[str, list[float]] = field(default_factory=dict)  # all values of each
    tuning_arn: str | None = None  # of the tuning job whose trial it is
    machines: int = 1  # how many jobs share this machine's cores: those of a tuning that run at once
    ending: Ending | None = None  # asked for, not yet obeyed
    stopping: bool = False
    cluster: Cluster | None = None
    # Held while any of the above is read or changed together; `changed` wakes the job's thread.
    lock: threading.RLock = field(default_factory=threading.RLock)
    changed: threading.Event = field(default_factory=threading.Event)
    accepted: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.modified = self.created

    @property
    def name(self) -> str:
        return str(self.request["TrainingJobName"])

    @property
    def spot(self) -> bool:
        return bool(self.request.get("EnableManagedSpotTraining"))

    @property
    def max_runtime_seconds(self) -> int:
        return int(self.request["StoppingCondition"].get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS))

    def measured(self, metric: str, value: float, moment: datetime) -> None:
        with self.lock:
            self.metrics[metric] = (value, moment)
            self.series.setdefault(metric, []).append(value)

    def ask(self, ending: Ending) -> None:
        with self.lock:
            self.ending = ending
            self.changed.set()


class Training:
    """The training jobs of the account. `grace_seconds` is shorter than AWS's only in tests."""

    def __init__(self, account: Account, grace_seconds: float = GRACE_SECONDS) -> None:
        self._account = account
        self._grace_seconds = grace_seconds
        self._jobs: Jobs[Job] = Jobs(
            account, "Training job names", "SageMaker Training Job State Change", _EVENT_FIELDS
        )
        self._closing = False

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateTrainingJob": self.create,
            "DescribeTrainingJob": self.describe,
            "ListTrainingJobs": self.list,
            "StopTrainingJob": self.stop,
        }

    # -- API -------------------------------------------------------------------------------------------------------

    def create(self, parameters: dict[str, Any]) -> dict[str, Any]:
        self._jobs.assert_unused(parameters["TrainingJobName"])
        read_tags(parameters.get("Tags"))
        self.assert_acceptable(parameters)
        return {"TrainingJobArn": self.start(parameters).arn}

    def assert_acceptable(self, parameters: dict[str, Any]) -> None:
        """Raises ServiceError for a CreateTrainingJob request that SageMaker, or this machine, would refuse."""
        assert_startable(parameters)
        assert_role_trusts_sagemaker(self._account, parameters["RoleArn"])
        self._assert_inputs(parameters)
        self._assert_output(parameters)

    def start(self, parameters: Mapping[str, Any], tuning_arn: str | None = None, machines: int = 1) -> Job:
        """Runs an acceptable request, for a tuning job if it is a trial. Raises ServiceError for a used name."""
        name = parameters["TrainingJobName"]
        tags = read_tags(parameters.get("Tags"))
        request = {key: value for key, value in parameters.items() if key != "Tags"}
        if "sagemaker-xgboost" in request["AlgorithmSpecification"]["TrainingImage"]:
            specification = {**request["AlgorithmSpecification"], "MetricDefinitions": list(XGBOOST_METRICS)}
            request["AlgorithmSpecification"] = specification
        job = Job(
            request=request,
            arn=arn("training-job", name),
            created=self._account.clock.now(),
            tuning_arn=tuning_arn,
            machines=machines,
        )
        thread = self._jobs.add(job, tags, lambda: self._run(job))
        self._enter(job, "InProgress", "Starting", "Starting the training job")
        thread.start()
        return job

    def describe(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._description(self._jobs.find(parameters["TrainingJobName"]))

    def list(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Newest first unless asked otherwise. StatusEquals filters the page, not the list, by the API reference."""
        chosen, more = self._jobs.page(parameters, filter_pages=True)
        fields = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
            "SecondaryStatus",
        )
        summaries = [
            {name: value for name, value in self._description(job).items() if name in fields} for job in chosen
        ]
        return {"TrainingJobSummaries": summaries, **more}

    def stop(self, parameters: dict[str, Any]) -> dict[str, Any]:
        job = self._jobs.find(parameters["TrainingJobName"])
        with job.lock:
            if job.status not in ("InProgress", "Stopping"):
                raise invalid(f"The request was rejected because the training job is in status {job.status}.")
            if not job.stopping:
                self._enter(job, "Stopping", "Stopping", "Stopping the training job")
                job.stopping = True
                job.ask(Ending.STOP)
        return {}

    def interrupt(self, name: str) -> None:
        """Takes a spot job's machine away now. Raises ServiceError if there is no such job, or none to interrupt."""
        job = self._jobs.find(name)
        with job.lock:
            if not job.spot:
                raise invalid(f"{name} does not run on spot: only a managed spot training job can be interrupted.")
            if job.status != "InProgress" or job.secondary_status not in ("Starting", "Downloading", "Training"):
                raise invalid(
                    f"{name} can't be interrupted: it is {job.status} ({job.secondary_status}), not on a machine."
                )
            job.ask(Ending.INTERRUPTION)

    def close(self) -> None:
        """Ends every job's process at once; their states are left as they are."""
        self._closing = True
        for job in self._jobs.all():
            job.changed.set()
            if job.cluster is not None:
                job.cluster.send(signal.SIGKILL)
        self._jobs.join()

    # -- refusals --------------------------------------------------------------------------------------------------

    def _assert_inputs(self, parameters: Mapping[str, Any]) -> None:
        from botocore.exceptions import ClientError

        role = parameters["RoleArn"]
        uris = {
            channel["DataSource"]["S3DataSource"]["S3Uri"]: channel["ChannelName"]
            for channel in parameters.get("InputDataConfig", [])
        }
        s3 = self._account.client("s3", role) if uris else None
        for uri in uris:
            bucket, prefix = split_s3_uri(uri)
            try:
                assert s3 is not None
                found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("KeyCount", 0)
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode", 500) >= 500:
                    raise
                found = 0
            if not found:
                raise invalid(
                    f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
                    f"bucket exists in the selected region ({REGION}), that objects exist under that S3 prefix, and "
                    f'that the role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
                )

    def _assert_output(self, parameters: Mapping[str, Any]) -> None:
        from botocore.exceptions import ClientError

        uris = [parameters["OutputDataConfig"]["S3OutputPath"]]
        if checkpoints := parameters.get("CheckpointConfig"):
            uris.append(checkpoints["S3Uri"])
        s3 = self._account.client("s3")
        for uri in uris:
            bucket, _ = split_s3_uri(uri)
            try:
                s3.head_bucket(Bucket=bucket)
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != 404:
                    raise
                raise invalid(f'The bucket of the S3 URL "{uri}" does not exist in {REGION}.') from None

    # -- what others see -------------------------------------------------------------------------------------------

    def _description(self, job: Job) -> dict[str, Any]:
        with job.lock:
            known: dict[str, Any] = {
                **job.request,
                "TrainingJobArn": job.arn,
                "TuningJobArn": job.tuning_arn,
                "TrainingJobStatus": job.status,
                "SecondaryStatus": job.secondary_status,
                "StoppingCondition": {
                    "MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS,
                    **job.request["StoppingCondition"],
                },
                "CreationTime": job.created,
                "LastModifiedTime": job.modified,
                "TrainingStartTime": job.started,
                "TrainingEndTime": job.ended,
                "FailureReason": job.failure_reason,
                "ModelArtifacts": {"S3ModelArtifacts": job.artifact_uri} if job.artifact_uri else None,
                "SecondaryStatusTransitions": [dict(transition) for transition in job.transitions],
                "EnableNetworkIsolation": False,
                "EnableInterContainerTrafficEncryption": bool(
                    job.request.get("EnableInterContainerTrafficEncryption", False)
                ),
                "EnableManagedSpotTraining": job.spot,
            }
            if job.ended is not None and job.started is not None:
                known["TrainingTimeInSeconds"], known["BillableTimeInSeconds"] = billed(job)
            if job.metrics:
                known["FinalMetricDataList"] = [
                    {"MetricName": name, "Value": value, "Timestamp": moment}
                    for name, (value, moment) in job.metrics.items()
                ]
        return {name: value for name, value in known.items() if value is not None}

    def _enter(self, job: Job, status: str, secondary_status: str, message: str) -> None:
        """The job's next state, for all to see. A job that is being stopped goes on only to its end."""
        now = self._account.clock.now()
        with job.lock:
            if job.stopping and status == "InProgress":
                return
            if job.ended is not None and job.started is not None and job.status in ("InProgress", "Stopping"):
                self._account.bill.training_ended(job.arn, job.request["ResourceConfig"], billed(job)[1])
            if job.transitions:
                job.transitions[-1]["EndTime"] = now
            transition = {"Status": secondary_status, "StartTime": now, "StatusMessage": message}
            if status in ("Completed", "Failed", "Stopped"):
                transition["EndTime"] = now
            job.transitions.append(transition)
            job.status, job.secondary_status, job.modified = status, secondary_status, now
            self._jobs.tell(job, self._description(job), message, secondary_status=secondary_status)

    def _progress(self, job: Job, message: str) -> None:
        """A new message within the state, as SecondaryStatusTransition describes them."""
        with job.lock:
            if not job.stopping:
                job.transitions[-1]["StatusMessage"] = message
                job.modified = self._account.clock.now()

    # -- the job's thread ------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        definitions = job.request["AlgorithmSpecification"].get("MetricDefinitions", [])
        monitors = [
            Monitor(self._account, job.name, job.request["RoleArn"], LOG_GROUP, definitions, job.measured, host)
            for host in hosts(int(job.request["ResourceConfig"].get("InstanceCount", 1)))
        ]
        attempts = 0
        try:
            while True:
                attempts += 1
                ending = self._attempt(job, monitors, attempts)
                if self._closing:
                    return
                if ending is not Ending.INTERRUPTION:
                    break
                if job.cluster is not None:
                    job.cluster.discard()
                self._enter(job, "InProgress", "Interrupted", "Managed spot training was interrupted")
                ending = self._pause(job, CAPACITY_SECONDS)
                if ending not in (None, Ending.INTERRUPTION):
                    break
                self._enter(job, "InProgress", "Starting", "Starting the training job")
            _close(monitors)
            self._finish(job, ending)
        except TransferError as error:
            self._fail(job, monitors, str(error))
        except Exception:
            if self._closing:
                return
            # A defect of the laptop, not of the job: SageMaker's own words for one of its own, the details to the log.
            self._account.journal.record("job", job=job.name, status="Failed", error=traceback.format_exc())
            self._fail(job, monitors, "InternalServerError: We encountered an internal error. Please try again.")
        finally:
            _close(monitors)
            if job.cluster is not None:
                job.cluster.discard()

    def _attempt(self, job: Job, monitors: Sequence[Monitor], attempt: int) -> Ending | None:
        """One set of machines, from their launch to the upload; None when the script ended well by itself.

        Raises TransferError, also for a script that failed.
        """
        self._progress(job, "Launching requested ML instances")
        if ending := self._pause(job, INSTANCE_SECONDS / 2):
            return ending
        self._progress(job, "Preparing the instances for training")
        role = job.request["RoleArn"]
        s3 = self._account.client("s3", role)
        sharing = job.machines * int(job.request["ResourceConfig"].get("InstanceCount", 1))  # this machine's cores
        environment = {
            **job.request.get("Environment", {}),
            "TRAINING_JOB_NAME": job.name,
            "TRAINING_JOB_ARN": job.arn,
            "AWS_ENDPOINT_URL": self._account.url,
            **({"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // sharing))} if sharing > 1 else {}),
            **{name.upper(): value for name, value in self._account.identities.credentials(role).items()},
        }
        cluster = Cluster(self._account.home / "training" / job.name / f"{attempt}", job.request, s3)
        with job.lock:
            job.cluster = cluster
        cluster.prepare(environment)
        if ending := self._pause(job, INSTANCE_SECONDS / 2):
            return ending

        began = time.monotonic()
        with job.lock:
            job.started = job.started or self._account.clock.now()
        try:
            self._enter(job, "InProgress", "Downloading", "Downloading input data")
            cluster.write_config()
            cluster.download_inputs()
            if ending := self._pause(job, INSTANCE_SECONDS - (time.monotonic() - began)):
                return ending
            self._enter(job, "InProgress", "Training", "Training image download completed. Training in progress.")
            ending, code = self._train(job, cluster, monitors, began)
            if self._closing or ending is Ending.INTERRUPTION:
                return ending
            if ending in (Ending.MAX_RUNTIME, Ending.MAX_WAIT):
                self._enter(job, "Stopping", "Stopping", "Stopping the training job")
            if ending is None and code != 0:
                cluster.upload_output()
                raise TransferError(failure_reason(cluster.failure(), code))
            self._enter(job, "InProgress", "Uploading", "Uploading generated training model")
            self._upload(job, cluster)
            return ending
        finally:
            with job.lock:
                job.training_seconds += time.monotonic() - began

    def _train(
        self, job: Job, cluster: Cluster, monitors: Sequence[Monitor], began: float
    ) -> tuple[Ending | None, int]:
        """Runs the script to its end: why it was ended, if it was, and its exit code."""
        done = threading.Event()
        syncing = threading.Thread(target=self._sync, args=(cluster, done), daemon=True)
        for monitor in monitors:
            monitor.open()
        readers = cluster.start([monitor.line for monitor in monitors])
        syncing.start()
        ending: Ending | None = None
        try:
            while (code := cluster.wait(0.05)) is None and ending is None and not self._closing:
                ending = self._asked(job)
                if ending is None and job.training_seconds + time.monotonic() - began > job.max_runtime_seconds:
                    ending = Ending.MAX_RUNTIME
            if code is None:
                cluster.send(signal.SIGTERM)
                code = cluster.wait_for_all(0 if self._closing else self._grace_seconds)
            # Whatever is left: a script that would not end, processes that it left behind, and the other instances of
            # one that has failed.
            cluster.send(signal.SIGKILL)
            code = cluster.wait_for_all(10) if code is None else code
        finally:
            done.set()
            cluster.send(signal.SIGKILL)
        syncing.join()
        for reader in readers:
            reader.join(timeout=5)
        if not self._closing:
            cluster.sync_checkpoints()
        return ending, 1 if code is None else code

    def _sync(self, cluster: Cluster, done: threading.Event) -> None:
        from botocore.exceptions import BotoCoreError

        while not done.wait(SYNC_SECONDS):
            try:
                cluster.sync_checkpoints()
            except (TransferError, BotoCoreError) as error:
                # The next look tries again, and the last one, after the script's end, is not forgiven.
                self._account.journal.record("job", job=cluster.request["TrainingJobName"], error=str(error))

    def _upload(self, job: Job, cluster: Cluster) -> None:
        began = time.monotonic()
        uri = cluster.upload_model()
        cluster.upload_output()
        with job.lock:
            job.artifact_uri = uri
        time.sleep(max(0.0, INSTANCE_SECONDS - (time.monotonic() - began)))

    def _asked(self, job: Job) -> Ending | None:
        """What the job was asked to end for, once."""
        with job.lock:
            ending, job.ending = job.ending, None
            job.changed.clear()
        max_wait = job.request["StoppingCondition"].get("MaxWaitTimeInSeconds")
        if max_wait is None or ending not in (None, Ending.INTERRUPTION):
            return ending
        # By the machine's time: a job waits for machines of this laptop, which a moved clock does not hurry.
        return Ending.MAX_WAIT if time.monotonic() - job.accepted > max_wait else ending

    def _pause(self, job: Job, seconds: float) -> Ending | None:
        """Lets time pass, unless there is something to end for."""
        until = time.monotonic() + seconds
        while not self._closing:
            if ending := self._asked(job):
                return ending
            left = until - time.monotonic()
            if left <= 0:
                return None
            job.changed.wait(min(left, 1.0))
        return Ending.STOP

    def _finish(self, job: Job, ending: Ending | None) -> None:
        with job.lock:
            job.ended = self._account.clock.now()
            if job.stopping:
                ending = Ending.STOP
            match ending:
                case None:
                    self._enter(job, "Completed", "Completed", "Training job completed")
                case Ending.MAX_RUNTIME:
                    self._enter(
                        job,
                        "Stopped",
                        "MaxRuntimeExceeded",
                        "Training job runtime exceeded MaxRuntimeInSeconds provided",
                    )
                case Ending.MAX_WAIT:
                    self._enter(
                        job,
                        "Stopped",
                        "MaxWaitTimeExceeded",
                        "Training job wait time exceeded MaxWaitTimeInSeconds provided",
                    )
                case _:
                    self._enter(job, "Stopped", "Stopped", "Training job stopped")

    def _fail(self, job: Job, monitors: Sequence[Monitor], reason: str) -> None:
        _close(monitors)
        with job.lock:
            job.failure_reason = reason[:FAILURE_REASON_LIMIT]
            job.ended = self._account.clock.now()
            self._enter(job, "Failed", "Failed", "Training job failed")


def _close(monitors: Sequence[Monitor]) -> None:
    for monitor in monitors:
        monitor.close()


def assert_startable(parameters: Mapping[str, Any]) -> None:
    """Raises ServiceError for a CreateTrainingJob request that SageMaker, or this machine, can't run."""
    for name in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if name not in parameters:
            raise invalid(f"{name} is required.")
    algorithm, resources = parameters["AlgorithmSpecification"], parameters["ResourceConfig"]
    stopping = parameters["StoppingCondition"]
    if not algorithm.get("TrainingImage"):
        raise invalid("The laptop runs training images: give AlgorithmSpecification.TrainingImage.")
    repository = assert_runnable_image(algorithm["TrainingImage"], *CONTAINERS)
    if repository == "sagemaker-xgboost" and algorithm.get("MetricDefinitions"):
        # As CreateTrainingJob answers: tests of github.com/awslabs/mlspace.
        raise invalid(
            "You can't override the metric definitions for Amazon SageMaker algorithms. Please retry the request "
            "without specifying metric definitions."
        )
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            re.compile(definition["Regex"])
        except re.error as error:
            raise invalid(f"Invalid regular expression of metric {definition['Name']}: {error}") from None
    max_runtime = stopping.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS)
    max_wait = stopping.get("MaxWaitTimeInSeconds")
    if parameters.get("EnableManagedSpotTraining"):
        if max_wait is None or max_wait < max_runtime:
            raise invalid(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
            )
    elif max_wait is not None:
        raise invalid(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )
    if "InstanceType" not in resources or not 1 <= resources.get("InstanceCount", 1) <= MOST_INSTANCES:
        raise invalid(
            f"The laptop trains on 1 to {MOST_INSTANCES} instances of one type, which are processes of this machine: "
            "give ResourceConfig.InstanceType and InstanceCount."
        )
    if repository == "sagemaker-xgboost" and resources.get("InstanceCount", 1) > 1:
        raise invalid("The laptop runs the built-in XGBoost on one instance; several need AWS.")
    if parameters.get("EnableNetworkIsolation"):
        raise invalid("The laptop can't isolate a job's network; EnableNetworkIsolation needs AWS.")
    channels = parameters.get("InputDataConfig", [])
    names = [channel["ChannelName"] for channel in channels]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise invalid(f"Channel names must be unique: {', '.join(sorted(repeated))}.")
    for channel in channels:
        mode = channel.get("InputMode", algorithm["TrainingInputMode"])
        source = channel.get("DataSource", {}).get("S3DataSource")
        if mode == "Pipe" or source is None or source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
            raise invalid(
                f"Channel {channel['ChannelName']}: the laptop reads S3Prefix and ManifestFile sources in File or "
                "FastFile mode; other sources and modes need AWS."
            )
        if channel.get("CompressionType", "None") != "None":
            raise invalid(f"Channel {channel['ChannelName']}: CompressionType is supported only in Pipe mode.")
    uris = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in channels]
    uris.append(parameters["OutputDataConfig"]["S3OutputPath"])
    if checkpoints := parameters.get("CheckpointConfig"):
        uris.append(checkpoints["S3Uri"])
    for uri in uris:
        split_s3_uri(uri)


def failure_reason(text: str, exit_code: int) -> str:
    """FailureReason of a script that failed: the container's own words and the exit code, in 1,024 characters."""
    before, after = "AlgorithmError: ", f", exit code: {exit_code}"
    return before + text[: FAILURE_REASON_LIMIT - len(before) - len(after)] + after


def billed(job: Job) -> tuple[int, int]:
    """TrainingTimeInSeconds and BillableTimeInSeconds of a job that has ended.

    Without spot both are the same. With spot the second is a simulated figure: the first less SPOT_DISCOUNTS.
    """
    training = max(1, math.ceil(job.training_seconds))
    if not job.spot:
        return training, training
    discount = SPOT_DISCOUNTS.get(job.request["ResourceConfig"]["InstanceType"], SPOT_DISCOUNT_OF_OTHERS)
    return training, max(1, math.floor(training * (1 - discount)))


def install(account: Account) -> None:
    """Registers training and the tag operations of SageMaker, and `POST /_laptop/interrupt`."""
    training = account.training = Training(account)
    account.operations.setdefault("sagemaker", {}).update({**training.operations(), **tag_operations(account)})

    def interrupt(body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("training_job_name")
        if not isinstance(name, str):
            raise invalid('Expected {"training_job_name": "..."}.')
        training.interrupt(name)
        return {"training_job_name": name, "interrupted": True}

    account.routes["POST /_laptop/interrupt"] = interrupt
    account.closers.append(training.close)
