"""An account of the laptop that stands still: its services answer in this process, and nothing goes on by itself.

Every call passes through the laptop's own gateway: service model, policies, its implementations, moto. What AWS does
in its own time (a fleet that starts, a job that ends) happens when `go_on` or `end_training` says so, in the calling
thread. So two accounts that were asked the same are in the same state, and a process that holds one can be forked.

The process belongs to the account: threads start no more in it, and instances of endpoints are no processes.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import hashlib
import importlib
import io
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from billed_account import HandClock
from botocore.awsrequest import AWSResponse
from botocore.config import Config

import builders
from builders import REGION
from laptop import moto_app
from laptop.account import ACCOUNT_ID
from laptop.asynchronous import Queue, Workers
from laptop.aws_request import HttpRequest
from laptop.errors import ServiceError
from laptop.hosting_process import Instance
from laptop.pipeline_execution import StepRun
from laptop.server import Server
from laptop.tuning import Trial
from mlplatform import names
from mlplatform.app import App
from mlplatform.aws import Aws
from mlplatform.aws_calls import is_missing
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, STACK_TAG
from mlplatform.parking import read_record
from mlplatform.settings import Settings

_SERVICES = (
    *("iam", "bill", "logs", "training", "tuning", "processing", "registry", "pipelines", "hosting", "search", "trail"),
    *("quotas", "savings_plans", "scaling", "tagging", "cost_explorer", "anomalies", "budgets"),
)
# What most functions ask for; their clients are made once, since each reads its service's model.
CLIENTS = (
    *("s3", "sagemaker", "sagemaker-runtime", "sns", "ssm", "cloudwatch", "logs", "application-autoscaling"),
    *("resourcegroupstaggingapi", "service-quotas"),
)
_DATE = "%a, %d %b %Y %H:%M:%S GMT"  # of an answer, by AWS's clock
_JOBS_OWN = ("job-", "pipeline-", "log-")  # threads that would run programs
WRONG = "wrong"  # a file in a model's archive: it answers otherwise than its sample.json says
_READS = re.compile(r"Describe|List|Get|Head|Search|Lookup|BatchGet|InvokeEndpoint$")
Answer = tuple[int, Mapping[str, str], bytes]
Carry = Callable[[HttpRequest], Answer]
# What stands between a function and its account: (service, operation, request, how to carry it out).
Between = Callable[[str, str, HttpRequest, Carry], Answer]


def through(_service: str, _operation: str, request: HttpRequest, carry: Carry) -> Answer:
    return carry(request)


def in_short(_service: str, _operation: str, request: HttpRequest, carry: Carry) -> Answer:
    return carry(request)


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


class _NoProcess:
    """What an instance is here."""

    pid = 0
    returncode = None
    stdin = None

    def poll(self) -> None:
        return None


class OnPaper:
    """What an instance is here: it is healthy, and answers as its model's sample.json says."""

    stopping: bool
    model_dir: Path
    ended: Callable[[], None]

    def start(self) -> None:
        self.port, self.process = 0, _NoProcess()

    def wait_healthy(self, timeout_seconds: float) -> bool:
        return True

    @property
    def alive(self) -> bool:
        return not self.stopping

    def hangs(self) -> bool:
        return False

    def usage(self) -> tuple[float, float]:
        return 0.0, 0.0

    def memory_bytes(self) -> int:
        return 0

    async def invoke(self, data: bytes, timeout_seconds: float) -> tuple[int, dict[str, str], bytes]:
        answer = {**builders.SAMPLE_JSON["response"], "model_version": self.model_dir.name.rpartition("-")[0]}
        if (self.model_dir / WRONG).exists():
            answer["predictions"] = ["no"]
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    def stop(self, *, drain: bool) -> None:
        self.stopping = True
        self.ended()


class QueueOnPaper:
    """What looks after queues of asynchronous endpoints here: `go_on` works them off."""

    account: Any
    hosting: Any

    def open(self, endpoint: Any, config: Any) -> Queue:
        return Queue(endpoint, config, self.account, self.hosting)

    def _add(self, queue: Queue, request: Any) -> None:
        queue.waiting.append(request)


class Bus:
    """The event bus: it keeps what it gets."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        self.waiting.append({"source": source, "detail-type": detail_type, "detail": detail})


class StandingAccount:
    """See the module. `between` stands between the functions and the account, and only there."""

    def __init__(self, at: datetime = builders.NOON, **changed: Any) -> None:
        self.settings: Settings = builders.settings(**{"baking_seconds": 0, **changed})
        self.between: Between
        self.sent: list[tuple[str, str]]  # (to whom, what) that left the account for people
        self.applied: list[str]  # decisions that were carried out, by their class
        self._works: list[threading.Thread]
        self._going_on = False
        self._made: dict[str, Any] = {}
        self._read: dict[Any, Any] = {}  # what was asked of moto, and its state -> the answer, or the refusal
        self._session = boto3.session.Session(region_name=REGION)
        self._stand_still()
        self._at = at
        self.begin()

    def begin(self) -> None:
        """An account as the stack leaves it, in place of the one that there was."""
        self.between = through
        self.sent, self.applied, self._works = [], [], []
        moto_app.reset()
        self.server = Server()
        self.aws = self.server.account
        self.aws.clock = self.clock = HandClock(self._at)
        self.aws.events = self.bus = Bus()
        self.aws.client = lambda service, role_arn=None: self.client(service)  # type: ignore[method-assign]
        moto_app.import_without("moto.ec2", "moto.ssm.models")
        moto_app.use_clock(self.clock)
        for name in _SERVICES:
            importlib.import_module(f"laptop.{name}").install(self.aws)
        # An account that tells of no quota: there are thousands, and all are asked for before anything is launched.
        self.aws.operations["service-quotas"]["ListServiceQuotas"] = lambda _: {"Quotas": []}
        self._works.clear()  # the services' own heartbeats
        self._make_stack()

    def _stand_still(self) -> None:
        start = threading.Thread.start
        account = self

        def noted(thread: threading.Thread) -> None:
            if account._going_on:
                start(thread)
            else:
                account._works.append(thread)

        threading.Thread.start = noted  # type: ignore[method-assign]
        time.sleep = lambda _: None  # nobody waits where nothing goes on by itself
        for replaced, by in ((Instance, OnPaper), (Workers, QueueOnPaper)):
            for name, member in vars(by).items():
                if not name.startswith("__"):
                    setattr(replaced, name, member)
        asyncio.to_thread = _at_once
        urllib.request.OpenerDirector.open = self._http  # type: ignore[assignment,method-assign]

    def _make_stack(self) -> None:
        """What the template makes, as far as functions use it."""
        for bucket in (self.settings.data_bucket, self.settings.artifact_bucket):
            self.client("s3").create_bucket(Bucket=bucket)
        self.client("sns").create_topic(Name=self.settings.alerts_topic_arn.rpartition(":")[2])
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = self.settings.training_role_arn.rpartition("/")[2]
        self.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=document)
        self.put(names.model_code_key(builders.DIGEST), b"code")

    # ---- clients ----

    def client(self, service: str) -> Any:
        """The administrator's; nothing stands between it and the account."""
        return self._client(service, "laptop", lambda _service, _operation, request: self.carry_out(request))

    def function_client(self, service: str) -> Any:
        """A function's. Botocore does not try again: what fails has failed for good."""
        return self._client(service, "function", lambda *call: self.between(call[0], call[1], call[2], self.carry_out))

    def _client(self, service: str, who: str, send: Callable[[str, str, HttpRequest], Answer]) -> Any:
        key = f"{who} {service}"
        if key not in self._made:

            def before_send(request: Any, event_name: str, **_: Any) -> AWSResponse:
                _, _, operation = event_name.split(".")
                status, headers, body = send(service, operation, _http_request(request))
                return AWSResponse(request.url, status, headers, _Body(body))

            config = Config(
                user_agent="standing-account",  # to put the usual one together takes a tenth of a call
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )
            made = self._session.client(
                service,
                endpoint_url="http://127.0.0.1:4566",
                aws_access_key_id="laptop",
                aws_secret_access_key="laptop",
                config=config,
            )
            made.meta.events.register("before-send", before_send)
            made._request_signer.sign = _signed(made.meta.service_model.signing_name)
            self._made[key] = made
        return self._made[key]

    def carry_out(self, request: HttpRequest) -> Answer:
        if request.path.endswith("/invocations"):
            self._going_on = True  # a container that sleeps wakes in a thread
            answer = asyncio.run(self.server._invoke_endpoint(request))
            self._going_on = False
        else:
            answer = self.server._api_call(request)
        status, headers, body = answer
        at = self.clock.now().strftime(_DATE)
        return status, {**headers, "date": at, "content-length": str(len(body))}, body

    def app(self) -> App:
        """What a new process of a function works with."""
        account = self

        class FunctionsAws(Aws):
            def _client(self, service: str) -> Any:
                return account.function_client(service)

            def _call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
                answer = account.in_short(service, operation, parameters)
                if answer is None:
                    asked = functools.partial(super()._call, service, operation, **parameters)
                    answer = account.read_once(service, operation, parameters, asked)
                self._date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
                if operation == "publish":
                    account.sent.append(("topic", parameters["Subject"]))
                return answer

            def apply(self, decision: Any) -> Any:
                done = super().apply(decision)
                account.applied.append(type(done).__name__)
                return done

        return App(self.settings, FunctionsAws(self.settings, sleep=self._pass))

    def in_short(self, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the laptop's own implementation of an operation answers, without the wire between; None where there is
        none, or where something stands between. A run that is like one that went over the wire may go this way."""
        own = self.aws.operations.get(service, {}).get(f"{''.join(map(str.capitalize, operation.split('_')))}")
        if own is None or self.between is not in_short:
            return None
        try:
            answer = own(copy.deepcopy(dict(parameters)))
        except ServiceError as error:
            raise AwsError(service, operation, error.code, error.message) from error
        return self._answered(answer)

    def _answered(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        at = self.clock.now().strftime(_DATE)
        return {**answer, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"date": at}}}

    def read_once(
        self, service: str, operation: str, parameters: Mapping[str, Any], ask: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `ask` answers. In a run that may go the short way, what was read before and is unchanged is known."""
        seen = None if is_write(operation.title().replace("_", "")) else _state_read(service, parameters)
        if seen is None:
            return ask()
        key = (service, operation, repr(sorted(parameters.items())), seen)
        if self.between is not in_short or key not in self._read:
            try:
                answer = ask()
            except AwsError as error:
                if is_missing(error):  # what was made to fail is no state
                    self._read[key] = error
                raise
            self._read[key] = answer | ({"Body": answer["Body"].read()} if "Body" in answer else {})
        known = self._read[key]
        if isinstance(known, AwsError):
            raise AwsError(known.service, known.operation, known.code, known.aws_message)
        body = {"Body": _Body(known["Body"])} if "Body" in known else {}
        return self._answered({name: copy.deepcopy(one) for name, one in known.items() if name != "Body"} | body)

    def _http(self, request: Any, *_: Any, **__: Any) -> Any:
        """What leaves a function by HTTP and not to AWS: to Slack, and to where CloudFormation waits for an answer."""
        asked = HttpRequest(request.get_method(), request.full_url, "", {}, request.data or b"")
        status, _, body = self.between(urlsplit(request.full_url).hostname or "", "Http", asked, self._delivered)
        if status >= 400:
            raise urllib.error.HTTPError(request.full_url, status, "no", {}, io.BytesIO(body))  # type: ignore[arg-type]
        return _Answered(body)

    def _delivered(self, request: HttpRequest) -> Answer:
        said = json.loads(request.body)
        self.sent.append((urlsplit(request.path).hostname or "", said.get("text") or said.get("Status")))
        return 200, {}, b"ok"

    # ---- what people and AWS do ----

    def put(self, key: str, content: bytes, bucket: str | None = None) -> str:
        """An object in the artifact bucket, or another; its ETag."""
        bucket = bucket or self.settings.artifact_bucket
        etag: str = self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)["ETag"]
        return etag.strip('"')

    def later(self, **time: float) -> datetime:
        self.clock.at += timedelta(**time)
        return self.clock.at

    def _pass(self, seconds: float) -> None:
        """A function waits, and AWS goes on meanwhile."""
        self.later(seconds=seconds)
        self.go_on()

    def go_on(self) -> None:
        """AWS does what it has begun: fleets start and stop, updates end, jobs that are stopped have stopped."""
        while self._works:
            works, self._works = self._works, []
            self._going_on = True
            try:
                for work in works:
                    if not work.name.startswith(_JOBS_OWN):
                        work.run()
            finally:
                self._going_on = False
        for queue in self._queues():
            while (slot := queue._slot()) is not None:
                variant, instance = slot
                instance.in_flight += 1
                asyncio.run(queue._work(queue.waiting.popleft(), variant, instance))
        for jobs in (self.aws.training._jobs, self._tuning()._jobs):
            for job in jobs.all():
                if job.status == "Stopping":
                    job.status, job.ended = "Stopped", self.clock.now()
                    if jobs is self.aws.training._jobs:
                        job.secondary_status = "Stopped"
        for execution in self._executions():
            if execution.status == "Stopping":
                execution.status, execution.ended = "Stopped", self.clock.now()

    @property
    def under_way(self) -> bool:
        """Whether AWS has begun something."""
        jobs = (*self.aws.training._jobs.all(), *self._tuning()._jobs.all(), *self._executions())
        own = any(not work.name.startswith(_JOBS_OWN) for work in self._works)
        return own or any(one.status == "Stopping" for one in jobs) or any(one.waiting for one in self._queues())

    def _queues(self) -> list[Queue]:
        return [one.queue for one in self._hosting().endpoints.values() if one.queue is not None]

    def _hosting(self) -> Any:
        return self._operation("CreateEndpoint").__self__

    def _operation(self, name: str) -> Any:
        return self.aws.operations["sagemaker"][name]

    def _tuning(self) -> Any:
        return self._operation("CreateHyperParameterTuningJob").__self__

    def _executions(self) -> list[Any]:
        pipelines = self._operation("CreatePipeline").__self__._pipelines.values()
        return [execution for pipeline in pipelines for execution in pipeline.executions.values()]

    def end_training(self, name: str, *, status: str = "Completed", archive: bytes | None = None, **more: Any) -> str:
        """A job ends, with an artifact if it completed; the artifact's address."""
        job = self.aws.training._jobs.find(name)
        job.status = job.secondary_status = status
        job.started, job.ended = self.clock.now(), self.clock.now() + timedelta(seconds=100)
        job.training_seconds = 300.0
        for field, value in more.items():
            setattr(job, field, value)
        if status != "Completed":
            return ""
        output = job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        job.artifact_uri = f"{output}/{name}/output/model.tar.gz"
        bucket, _, key = job.artifact_uri.removeprefix("s3://").partition("/")
        self.put(key, archive or builders.model_archive(), bucket)
        return str(job.artifact_uri)

    def tunings(self) -> list[Any]:
        return list(self._tuning()._jobs.all())

    def trial(self, tuning: Any, number: int, *, completed: bool | None) -> None:
        """A tuning job starts a trial, which completes, fails, or runs (None)."""
        request = self._tuning()._trial_request(tuning, f"{tuning.name}-{number:03}-0badcafe", {"epochs": "2"})
        tags = names.tag_list(self.aws.tags[tuning.arn])
        job = self.aws.training.start({**request, "Tags": tags}, tuning.arn, 1)
        job.started = self.clock.now()
        tuning.trials.append(Trial(number, job, {"epochs": "2"}))
        if completed is not None:
            self.end_training(job.name, status="Completed" if completed else "Failed")
            job.measured(tuning.metric, 0.3, self.clock.now())

    def executions(self) -> list[Any]:
        return self._executions()

    def _step(self, execution: Any, step: Any, status: str, **metadata: Any) -> None:
        run = StepRun(step, self.clock.now(), len(execution.runs), status, metadata=metadata)
        run.ended = self.clock.now()
        execution.runs[step.name] = run

    def train_step(self, execution: Any, step: Any, *, good: bool) -> None:
        """A pipeline's training has ended."""
        request = {
            "TrainingJobName": f"pipelines-{execution.id}-{step.name}",
            "AlgorithmSpecification": {"TrainingImage": builders.IMAGE, "TrainingInputMode": "File"},
            "RoleArn": execution.role,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.settings.artifact_bucket}/training-output/"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
            "EnableManagedSpotTraining": True,
            "HyperParameters": {"num_round": "3"},
            "Tags": names.tag_list({STACK_TAG: self.settings.stack_name, DATASET_TAG: "churn"}),
        }
        job = self.aws.training.start(request)
        self.end_training(job.name, status="Completed" if good else "Failed", failure_reason=None if good else "No.")
        self._step(execution, step, "Succeeded" if good else "Failed", TrainingJob={"Arn": job.arn})

    def register_step(self, execution: Any, step: Any) -> None:
        """A pipeline has registered the model that it trained."""
        [job] = self.aws.training._jobs.all()
        container = {"Image": builders.IMAGE, "ModelDataUrl": job.artifact_uri}
        made = self.client("sagemaker").create_model_package(
            ModelPackageGroupName=f"{self.settings.stack_name}-churn",
            ModelApprovalStatus="PendingManualApproval",
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            CustomerMetadataProperties={"hosting": "none", "compared_with": "none"},
        )
        self._step(execution, step, "Succeeded", RegisterModel={"Arn": made["ModelPackageArn"]})

    def endpoint(self, name: str) -> Any:
        return self._hosting().endpoints[name]

    def forget_works(self) -> None:
        """What AWS has begun comes to nothing; a test says what came in its place."""
        self._works.clear()

    def begin_update(self, name: str) -> None:
        """The new fleet of an update is up, and gets its first traffic."""
        hosted = self._hosting()
        endpoint, self._going_on = hosted.endpoints[name], True
        config = self._operation("DescribeEndpointConfig")({"EndpointConfigName": endpoint.pending_config})
        endpoint.pending = hosted._launch(endpoint, config, {})
        endpoint.share, self._going_on = 1.0, False

    # ---- what there is ----

    def describe(self) -> dict[str, Any]:
        """Everything that the account holds, by kind and name; times and random identifiers are left out of it."""
        from moto.applicationautoscaling.models import applicationautoscaling_backends
        from moto.cloudwatch.models import cloudwatch_backends
        from moto.logs.models import logs_backends
        from moto.s3.models import s3_backends
        from moto.ssm.models import ssm_backends

        found: dict[str, Any] = {}
        for kind, listed, member, described, name in _KINDS:
            for entry in self._all(listed, member):
                found[f"{kind} {entry[name]}"] = self._operation(described)({name: entry[name]})
        for group in self._all("ListModelPackageGroups", "ModelPackageGroupSummaryList"):
            within = group["ModelPackageGroupName"]
            found[f"package group {within}"] = group
            for package in self._all("ListModelPackages", "ModelPackageSummaryList", ModelPackageGroupName=within):
                arn = package["ModelPackageArn"]
                found[f"package {arn}"] = self._operation("DescribeModelPackage")({"ModelPackageName": arn})
        for number, execution in enumerate(self._executions()):
            found[f"execution {execution.display_name} {number}"] = [execution.status, execution.parameters]
        for arn, tags in self.aws.tags.items():
            kept = {
                key: value for key, value in tags.items() if not key.startswith((names.PARKED_TAG, names.ASKED_AT_TAG))
            }
            found[f"tags of {arn}"] = {**kept, "parked": vars(parked) if (parked := read_record(tags)) else None}
        scaling = applicationautoscaling_backends[ACCOUNT_ID][REGION]
        for resource, target in _targets(scaling):
            found[f"scaling target {resource}"] = [target.min_capacity, target.max_capacity]
        for policy in scaling.policies.values():
            found[f"scaling policy {policy.policy_name}"] = policy.target_tracking_scaling_policy_configuration
        for action in scaling.scheduled_actions:
            found[f"scheduled action {action.scheduled_action_name}"] = action.schedule
        watch = cloudwatch_backends[ACCOUNT_ID][REGION]
        for alarm in watch.alarms.values():
            found[f"alarm {alarm.name}"] = [
                *(alarm.metric_name, alarm.namespace, alarm.threshold, alarm.actions_enabled, alarm.alarm_actions),
                sorted((one.name, one.value) for one in alarm.dimensions or []),
                watch.tagger.get_tag_dict_for_resource(alarm.alarm_arn),
            ]
        for metric in watch.metric_data:
            where = sorted((one.name, one.value) for one in metric.dimensions)
            found[f"metric {metric.namespace} {metric.name} {where} {metric.value}"] = True
        for bucket in s3_backends[ACCOUNT_ID]["aws"].buckets.values():
            for key, stored in bucket.keys.items():
                kept = {name: one for name, one in stored.metadata.items() if not name.startswith("x-amz-content-")}
                found[f"object {bucket.name}/{key}"] = [_content(key, stored.value), kept]
        for name in ssm_backends[ACCOUNT_ID][REGION]._parameters:
            found[f"parameter {name}"] = True
        for name in logs_backends[ACCOUNT_ID][REGION].groups:
            found[f"log group {name}"] = True
        for tag in self.aws.operations["ce"]["ListCostAllocationTags"]({})["CostAllocationTags"]:
            if tag["Status"] == "Active":
                found[f"cost tag {tag['TagKey']}"] = True
        described: dict[str, Any] = {}
        plain = [(_TIME.sub("(time)", key), _without_times(value)) for key, value in found.items()]
        for key, value in sorted(plain, key=str):
            name = key
            while name in described:
                name += " again"
            described[name] = value
        return described

    def _all(self, operation: str, member: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._operation(operation)({"MaxResults": 100, **parameters})
        assert "NextToken" not in answer, f"{operation} has more than a page here"
        entries: list[dict[str, Any]] = answer[member]
        return entries

    def billable(self) -> list[str]:
        """What costs money by the hour, or would begin to again by itself."""
        return sorted(
            key
            for key, value in self.describe().items()
            if key.startswith(("endpoint ", "endpoint config ", "model ", "package", "scal", "alarm ", "log group "))
            or (
                key.startswith(("training job ", "tuning job ", "processing job "))
                and {"InProgress", "Stopping"} & {one for name, one in value.items() if name.endswith("JobStatus")}
            )
            or (key.startswith("execution ") and value[0] in ("Executing", "Stopping"))
        )


_KINDS = (
    ("model", "ListModels", "Models", "DescribeModel", "ModelName"),
    ("endpoint config", "ListEndpointConfigs", "EndpointConfigs", "DescribeEndpointConfig", "EndpointConfigName"),
    ("endpoint", "ListEndpoints", "Endpoints", "DescribeEndpoint", "EndpointName"),
    ("training job", "ListTrainingJobs", "TrainingJobSummaries", "DescribeTrainingJob", "TrainingJobName"),
    (
        "tuning job",
        "ListHyperParameterTuningJobs",
        "HyperParameterTuningJobSummaries",
        "DescribeHyperParameterTuningJob",
        "HyperParameterTuningJobName",
    ),
    ("processing job", "ListProcessingJobs", "ProcessingJobSummaries", "DescribeProcessingJob", "ProcessingJobName"),
)


async def _at_once(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In place of a thread, in which nothing may go on."""
    return work(*arguments, **named)


class _Answered(io.BytesIO):
    status = 200


def _http_request(request: Any) -> HttpRequest:
    url, body = urlsplit(request.url), request.body or b""
    body = body.read() if hasattr(body, "read") else body
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    return HttpRequest(request.method, url.path, url.query, headers, body.encode() if isinstance(body, str) else body)


def _state_read(service: str, parameters: Mapping[str, Any]) -> Any:
    """The state of one of moto's services that a read depends on; None for services that are not known here so well."""
    from moto.applicationautoscaling.models import applicationautoscaling_backends
    from moto.cloudwatch.models import cloudwatch_backends
    from moto.logs.models import logs_backends
    from moto.s3.models import s3_backends
    from moto.ssm.models import ssm_backends

    match service:
        case "s3":
            bucket = s3_backends[ACCOUNT_ID]["aws"].buckets.get(parameters.get("Bucket", ""))
            if bucket is None:
                return None
            begins, key = parameters.get("Prefix", ""), parameters.get("Key")
            return tuple(
                (name, stored.etag, str(stored.last_modified))
                for name, stored in bucket.keys.items()
                if (name == key if key else name.startswith(begins))
            )
        case "cloudwatch":
            alarms = cloudwatch_backends[ACCOUNT_ID][REGION].alarms.items()
            return tuple(
                (name, one.alarm_arn, one.threshold, str(one.alarm_actions), one.actions_enabled, one.state_value)
                for name, one in alarms
            )
        case "application-autoscaling":
            scaling = applicationautoscaling_backends[ACCOUNT_ID][REGION]
            targets = [(name, one.arn, one.min_capacity, one.max_capacity) for name, one in _targets(scaling)]
            policies = [
                (one.policy_arn, str(one.target_tracking_scaling_policy_configuration), len(one.alarms))
                for one in scaling.policies.values()
            ]
            return (*targets, *policies, *(one.arn for one in scaling.scheduled_actions))
        case "logs":
            return tuple(logs_backends[ACCOUNT_ID][REGION].groups)
        case "ssm":
            return tuple(ssm_backends[ACCOUNT_ID][REGION]._parameters)
    return None


def _targets(scaling: Any) -> list[tuple[str, Any]]:
    return [one for targets in scaling.targets.values() for one in targets.items()]


def _signed(service: str) -> Callable[..., None]:
    """Says who asks for what service, as a signature does; nobody checks the rest of one, which takes long to make."""

    def sign(_operation: str, request: Any, *_: Any, **__: Any) -> None:
        scope = f"laptop/20261123/{REGION}/{service}/aws4_request"
        request.headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, Signature=none"

    return sign


def is_write(operation: str) -> bool:
    """Whether a call may change the account. Http is a message that leaves it."""
    return _READS.match(operation) is None


_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z)?|\b(?!123456789012)\d{10,13}(\.\d+)?\b"
    r"|scalable-target/\w+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def _without_times(value: Any) -> Any:
    if isinstance(value, datetime):
        return "(time)"
    if isinstance(value, str):
        return _TIME.sub("(time)", value)
    if isinstance(value, Mapping):
        return {str(key): _without_times(one) for key, one in value.items() if key != "StatusMessage"}
    if isinstance(value, list | tuple):
        return [_without_times(one) for one in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


def _content(key: str, value: bytes) -> Any:
    """What an object holds but for prose and amounts, which tell of the time at which it was written."""
    if key.endswith(".html"):
        return "a page"
    try:
        document = json.loads(value)
    except ValueError:
        return hashlib.sha256(value).hexdigest()
    if not isinstance(document, dict):
        return document
    return {name: one for name, one in document.items() if name not in {"reason", "usd", "formula", "items", "days"}}
