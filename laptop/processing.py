"""SageMaker processing jobs on this machine: the API, the states, and a thread per job that really runs its program.

A job's container is a process that runs the job's own entry point with its arguments. Inputs lie in S3 before, outputs
after; both ways, and its log, go over the account's API with the rights of the job's role. `/opt/ml` at the beginning
of a path in the entry point, the arguments and the environment is read as the job's own folder, because there is no
container whose root it could be; a program may also ask SAGEMAKER_BASE_DIR.

Made up, because there is no machine to rent: how long an instance takes to start (INSTANCE_SECONDS).

Sources: the API reference of the operations (https://docs.aws.amazon.com/sagemaker/latest/APIReference/), and
https://docs.aws.amazon.com/sagemaker/latest/dg/build-your-own-processing-container.html with its pages. That a job
which ran too long ends as Stopped is believed, not documented.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from laptop import container
from laptop.account import Account
from laptop.container import HOST, Process, Store, TransferError, local_path
from laptop.job_log import Monitor
from laptop.jobs import Jobs
from laptop.sagemaker_common import (
    arn,
    assert_role_trusts_sagemaker,
    assert_runnable_image,
    invalid,
    read_tags,
    split_s3_uri,
)

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
IMAGES = ("sagemaker-xgboost", "pytorch-training")
DEFAULT_MAX_RUNTIME_SECONDS = 86_400
GRACE_SECONDS = 120.0  # StopProcessingJob: from SIGTERM to the end
INSTANCE_SECONDS = 0.1  # how long a simulated instance takes to start
MESSAGE_LIMIT = 1024  # ExitMessage and FailureReason of the service model
LOCAL_PATHS = "/opt/ml/processing/"  # where inputs and outputs must lie: ProcessingS3Input and ProcessingS3Output
_OPT_ML = re.compile(r"(?<![\w./-])/opt/ml(?=/|$)")
_EVENT_FIELDS = (
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingJobName",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "RoleArn",
    "ProcessingJobArn",
    "ProcessingJobStatus",
    "ExitMessage",
    "FailureReason",
    "ProcessingEndTime",
    "ProcessingStartTime",
    "LastModifiedTime",
    "CreationTime",
)


@dataclass
class Job:
    """A processing job: the request, and what has become of it."""

    request: Mapping[str, Any]
    arn: str
    created: datetime
    status: str = "InProgress"
    modified: datetime = field(init=False)
    started: datetime | None = None
    ended: datetime | None = None
    seconds: float = 0.0  # on its machine
    exit_message: str | None = None
    failure_reason: str | None = None
    process: Process | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    # Held while any of the above is read or changed together.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.modified = self.created

    @property
    def name(self) -> str:
        return str(self.request["ProcessingJobName"])

    @property
    def max_runtime_seconds(self) -> int:
        return int(self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_SECONDS))


class Processing:
    """The processing jobs of the account. `grace_seconds` is shorter than AWS's only in tests."""

    def __init__(self, account: Account, grace_seconds: float = GRACE_SECONDS) -> None:
        self._account = account
        self._grace_seconds = grace_seconds
        self._jobs: Jobs[Job] = Jobs(account, "Job names", "SageMaker Processing Job State Change", _EVENT_FIELDS)
        self._closing = False

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateProcessingJob": self.create,
            "DescribeProcessingJob": self.describe,
            "ListProcessingJobs": self.list,
            "StopProcessingJob": self.stop,
        }

    # -- API -------------------------------------------------------------------------------------------------------

    def create(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters["ProcessingJobName"]
        self._jobs.assert_unused(name)
        tags = read_tags(parameters.get("Tags"))
        assert_startable(parameters)
        assert_role_trusts_sagemaker(self._account, parameters["RoleArn"])
        request = {key: value for key, value in parameters.items() if key != "Tags"}
        job = Job(request=request, arn=arn("processing-job", name), created=self._account.clock.now())
        thread = self._jobs.add(job, tags, lambda: self._run(job))
        self._enter(job, "InProgress")
        thread.start()
        return {"ProcessingJobArn": job.arn}

    def describe(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._description(self._jobs.find(parameters["ProcessingJobName"]))

    def list(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Newest first unless asked otherwise."""
        chosen, more = self._jobs.page(parameters)
        fields = (
            "ProcessingJobName",
            "ProcessingJobArn",
            "CreationTime",
            "ProcessingEndTime",
            "LastModifiedTime",
            "ProcessingJobStatus",
            "FailureReason",
            "ExitMessage",
        )
        summaries = [
            {name: value for name, value in self._description(job).items() if name in fields} for job in chosen
        ]
        return {"ProcessingJobSummaries": summaries, **more}

    def stop(self, parameters: dict[str, Any]) -> dict[str, Any]:
        job = self._jobs.find(parameters["ProcessingJobName"])
        with job.lock:
            if job.status not in ("InProgress", "Stopping"):
                raise invalid(f"The request was rejected because the processing job is in status {job.status}.")
            if job.status == "InProgress":
                self._enter(job, "Stopping")
                job.stop.set()
        return {}

    def close(self) -> None:
        """Ends every job's process at once; their states are left as they are."""
        self._closing = True
        for job in self._jobs.all():
            job.stop.set()
            if job.process is not None:
                job.process.send(signal.SIGKILL)
        self._jobs.join()

    # -- what others see -------------------------------------------------------------------------------------------

    def _description(self, job: Job) -> dict[str, Any]:
        with job.lock:
            known: dict[str, Any] = {
                **job.request,
                "StoppingCondition": {"MaxRuntimeInSeconds": job.max_runtime_seconds},
                "ProcessingJobArn": job.arn,
                "ProcessingJobStatus": job.status,
                "CreationTime": job.created,
                "LastModifiedTime": job.modified,
                "ProcessingStartTime": job.started,
                "ProcessingEndTime": job.ended,
                "ExitMessage": job.exit_message,
                "FailureReason": job.failure_reason,
            }
        return {name: value for name, value in known.items() if value is not None}

    def _enter(self, job: Job, status: str) -> None:
        """The job's next state, for all to see."""
        with job.lock:
            job.status, job.modified = status, self._account.clock.now()
            self._jobs.tell(job, self._description(job), job.failure_reason or "")

    # -- the job's thread ------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> None:
        base = self._account.home / "processing" / job.name / "ml"
        monitor = Monitor(self._account, job.name, job.request["RoleArn"], LOG_GROUP)
        status, reason = "Failed", "InternalServerError: We encountered an internal error. Please try again."
        try:
            status, reason = self._work(job, base, monitor)
        except TransferError as error:
            reason = str(error)
        except Exception:
            # A defect of the laptop, not of the job: SageMaker's own words for one of its own, the details to the log.
            self._account.journal.record("job", job=job.name, status="Failed", error=traceback.format_exc())
        finally:
            monitor.close()
            if job.process is not None:
                job.process.discard()
            shutil.rmtree(base, ignore_errors=True)
        if self._closing:
            return
        with job.lock:
            job.failure_reason = reason[:MESSAGE_LIMIT] or None
            if job.started is not None:
                job.ended = self._account.clock.now()
                cluster = job.request["ProcessingResources"]["ClusterConfig"]
                self._account.bill.processing_ended(job.arn, cluster, max(1, math.ceil(job.seconds)))
            self._enter(job, "Stopped" if job.status == "Stopping" and status != "Failed" else status)

    def _work(self, job: Job, base: Path, monitor: Monitor) -> tuple[str, str]:
        """The final status and FailureReason of a job that was really run. Raises TransferError."""
        if job.stop.wait(INSTANCE_SECONDS):
            return "Stopped", ""
        began = time.monotonic()
        with job.lock:
            job.started = self._account.clock.now()
        try:
            store = Store(self._account.client("s3", job.request["RoleArn"]))
            self._prepare(job, base, store)
            status, code = self._execute(job, base, monitor, began)
            with job.lock:
                job.exit_message = _exit_message(base / "output/message")
            if status == "Completed" and code != 0:
                return "Failed", f"AlgorithmError: See job logs for more information, exit code: {code}"
            if status == "Completed":
                self._upload(job, base, store)
            return status, ""
        finally:
            with job.lock:
                job.seconds = time.monotonic() - began

    def _prepare(self, job: Job, base: Path, store: Store) -> None:
        """The container's files before its program starts: configuration, inputs, empty folders for the outputs."""
        request = job.request
        for name in ("config", "output", "processing", "tmp"):
            (base / name).mkdir(parents=True, exist_ok=True)
        # https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-config.html
        config = {"ProcessingJobArn": job.arn, **request}
        (base / "config/processingjobconfig.json").write_text(json.dumps(config, default=str))
        hosts = {"current_host": HOST, "hosts": [HOST]}
        (base / "config/resourceconfig.json").write_text(json.dumps(hosts))
        for output in request.get("ProcessingOutputConfig", {}).get("Outputs", []):
            local_path(base, output["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
        for source in (one["S3Input"] for one in request.get("ProcessingInputs", [])):
            folder = local_path(base, source["LocalPath"])
            folder.mkdir(parents=True, exist_ok=True)
            objects = store.found(source["S3Uri"], source["S3DataType"])
            store.download((bucket, key, folder, relative) for bucket, key, relative in objects)

    def _execute(self, job: Job, base: Path, monitor: Monitor, began: float) -> tuple[str, int]:
        """Runs the program to its end: the status that it comes to, before its exit code is looked at; and that."""
        specification = job.request["AppSpecification"]
        command = [*specification["ContainerEntrypoint"], *specification.get("ContainerArguments", [])]
        given = job.request.get("Environment", {})
        role = job.request["RoleArn"]
        variables = {
            **container.environment(base),
            **{name: _moved(value, base) for name, value in given.items()},
            "AWS_ENDPOINT_URL": self._account.url,
            **{name.upper(): value for name, value in self._account.identities.credentials(role).items()},
        }
        try:
            process = Process([_moved(word, base) for word in command], base / "tmp", variables)
        except OSError as error:
            raise TransferError(
                f"ClientError: The container's entrypoint can't be started: {error.strerror}: {command[0]}"
            ) from None
        with job.lock:
            job.process = process
        monitor.open()
        reader = process.start(monitor.line)
        status, code = "Completed", None
        while (code := process.wait(0.02)) is None and not self._closing:
            if job.stop.is_set() or time.monotonic() - began > job.max_runtime_seconds:
                if not job.stop.is_set():
                    self._enter(job, "Stopping")
                status = "Stopped"
                process.send(signal.SIGTERM)
                code = process.wait(self._grace_seconds)
                break
        process.send(signal.SIGKILL)  # whatever is left of it
        code = process.wait(10) if code is None else code
        reader.join(timeout=5)
        return status, 1 if code is None else code

    def _upload(self, job: Job, base: Path, store: Store) -> None:
        for output in job.request.get("ProcessingOutputConfig", {}).get("Outputs", []):
            target = output["S3Output"]
            folder = local_path(base, target["LocalPath"])
            store.upload_folder(folder, target["S3Uri"].rstrip("/") + "/")


def _moved(text: str, base: Path) -> str:
    """The same text with /opt/ml where it begins a path replaced by the job's own folder."""
    return _OPT_ML.sub(lambda _: str(base), text)


def _exit_message(path: Path) -> str | None:
    """The first 1,024 characters of /opt/ml/output/message (https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-metadata.html).

    Raises TransferError where it is not UTF-8, which fails the job.
    """
    if not path.is_file():
        return None
    try:
        return path.read_bytes().decode()[:MESSAGE_LIMIT]
    except UnicodeDecodeError:
        raise TransferError("ClientError: The file /opt/ml/output/message is not UTF-8 text.") from None


def assert_startable(parameters: Mapping[str, Any]) -> None:
    """Raises ServiceError for a CreateProcessingJob request that SageMaker, or this machine, can't run."""
    specification = parameters["AppSpecification"]
    assert_runnable_image(specification["ImageUri"], *IMAGES)
    if not specification.get("ContainerEntrypoint"):
        raise invalid("The laptop runs a job's own program: give AppSpecification.ContainerEntrypoint.")
    cluster = parameters["ProcessingResources"]["ClusterConfig"]
    if "InstanceType" not in cluster or cluster.get("InstanceCount", 1) != 1:
        raise invalid("The laptop processes on one machine: give ClusterConfig.InstanceType and InstanceCount 1.")
    if parameters.get("NetworkConfig", {}).get("EnableNetworkIsolation"):
        raise invalid("The laptop can't isolate a job's network; EnableNetworkIsolation needs AWS.")
    names = [one["InputName"] for one in parameters.get("ProcessingInputs", [])]
    outputs = parameters.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for kind, used in (("Input", names), ("Output", [one["OutputName"] for one in outputs])):
        if repeated := {name for name in used if used.count(name) > 1}:
            raise invalid(f"{kind} names must be unique: {', '.join(sorted(repeated))}.")
    for one in parameters.get("ProcessingInputs", []):
        _assert_readable(one)
    for one in outputs:
        target = one.get("S3Output")
        if target is None or target.get("S3UploadMode") != "EndOfJob":
            raise invalid(f"Output {one['OutputName']}: the laptop uploads S3Output in EndOfJob mode; others need AWS.")
        _assert_place(f"Output {one['OutputName']}", target)


def _assert_readable(one: Mapping[str, Any]) -> None:
    source = one.get("S3Input")
    if source is None or source.get("S3InputMode", "File") != "File":
        raise invalid(f"Input {one['InputName']}: the laptop reads S3Input in File mode; others need AWS.")
    if source.get("S3CompressionType", "None") != "None":
        raise invalid(f"Input {one['InputName']}: S3CompressionType is supported only in Pipe mode.")
    _assert_place(f"Input {one['InputName']}", source)


def _assert_place(what: str, place: Mapping[str, Any]) -> None:
    split_s3_uri(place["S3Uri"])
    path = place.get("LocalPath", "")
    if not path.startswith(LOCAL_PATHS) or ".." in Path(path).parts:
        raise invalid(f"{what}: LocalPath must start with {LOCAL_PATHS}, not {path or 'be left out'}.")


def install(account: Account) -> None:
    """Registers the operations of processing jobs."""
    processing = Processing(account)
    account.operations.setdefault("sagemaker", {}).update(processing.operations())
    account.closers.append(processing.close)
