"""The layer's way to AWS in one class: reads facts, and applies decisions. The calls are in aws_calls.py."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, assert_never

from mlplatform import capacity, ledger, names
from mlplatform.aws_calls import is_invalid, is_missing, is_under_way
from mlplatform.aws_cost_tags import CostTagCalls
from mlplatform.aws_hours import OfficeHoursCalls
from mlplatform.aws_others import OtherCalls
from mlplatform.aws_pipelines import PipelineCalls
from mlplatform.aws_quotas import QuotaCalls
from mlplatform.aws_registry import RegistryCalls
from mlplatform.aws_spend import HELD, SpendCalls
from mlplatform.aws_ticks import TickCalls
from mlplatform.aws_tuning import TuningCalls
from mlplatform.decisions import (
    AbandonMove,
    ActivateCostTags,
    AskApproval,
    ChangeInPlace,
    ClearFailedStart,
    ConfigureAutoscaling,
    Decision,
    DeployModel,
    EndAbTest,
    EndEndpoint,
    EndResource,
    FinishDeployment,
    ForgetParking,
    HoldDataset,
    HoldLaunches,
    KeepLiveModel,
    LiftHold,
    MakeComponent,
    Notify,
    RecordLineage,
    RecordSaving,
    RecordSpend,
    Refuse,
    RejectDataset,
    RejectUpdate,
    ReportCosts,
    ReportUntagged,
    Request,
    RestoreCapacity,
    RestoreEndpoint,
    RetireStandIn,
    ShareTraffic,
    Skip,
    StartAbTest,
    StartEndpoint,
    StartMove,
    StartPipeline,
    StartTraining,
    StartTuning,
    StopEndpoint,
    StopTuning,
    SwitchOver,
    TagResource,
    WarnOfEnd,
)
from mlplatform.endpoint_alarms import differing, request_dimensions
from mlplatform.errors import AwsError, NotAsPlanned, TryAgain
from mlplatform.facts import (
    DATASET_TAG,
    Component,
    CostFacts,
    DatasetArrived,
    Drop,
    Endpoint,
    HostingKind,
    JobStatus,
    ModelCard,
    Owned,
    Prediction,
    Sample,
    Serving,
    StoredObject,
    Traffic,
    TrainingJob,
    Unasked,
    UnreadableCard,
    Variant,
)
from mlplatform.kinds import kind_of
from mlplatform.model_card import FILES, REPORT_FILE, compare_prediction, model_version, parse_card
from mlplatform.sleeping import asleep
from mlplatform.sleeping import dimensions as sleeper_dimensions
from mlplatform.waiting import asked_by, refused_by

if TYPE_CHECKING:
    from mlplatform.recommendations import AdviceFacts

_JOB_SPEC_BYTES = 256 * 1024
_MOST_SAMPLES = 8  # a drop has at most train, validation and test; more are refused, which needs no content
_CARD_FILE_BYTES = 8 * 1024 * 1024
_REPORT_BYTES = 1024 * 1024
_CONFIG_ATTEMPTS = 6
_UPDATE_ATTEMPTS = 60  # a canary of a tenth is missed by all of them once in 500 times, and there is a second look
_COMPONENT_ATTEMPTS = 20  # a second each
_UNDER_WAY = frozenset({"Creating", "Updating"})  # of InferenceComponentStatus
_GONE_ATTEMPTS = 40  # as below
_BACKLOG_TOLD = timedelta(minutes=10)  # a queue's length that was told longer ago is no longer true
_QUEUE_ATTEMPTS = 30  # a second each
_UPDATE_SECONDS = 30.0  # of a function's minute; what is slower than that rings the alarm for latency
_TAG_PAUSES_SECONDS = (1.0, 2.0)


class Aws(
    OfficeHoursCalls,
    SpendCalls,
    CostTagCalls,
    RegistryCalls,
    TuningCalls,
    PipelineCalls,
    TickCalls,
    QuotaCalls,
    OtherCalls,
):
    """One account and region, as one function's role sees them."""

    # ---- facts: datasets ----

    def list_objects(self, prefix: str) -> tuple[StoredObject, ...]:
        """The objects of one drop, without folder markers; a prefix without a slash at its end is one key."""
        found: list[StoredObject] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("s3", "list_objects_v2", Bucket=self._settings.data_bucket, Prefix=prefix, **token)
            for entry in page.get("Contents", []):
                marker = entry["Key"].endswith("/") and entry["Size"] == 0
                if not marker and (prefix.endswith("/") or entry["Key"] == prefix):
                    found.append(
                        StoredObject(entry["Key"], entry["ETag"].strip('"'), entry["Size"], _utc(entry["LastModified"]))
                    )
            if not page.get("IsTruncated"):
                return tuple(found)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read_sample(self, stored: StoredObject, limit: int | None = None) -> Sample:
        """The beginning of one object. Raises AwsError PreconditionFailed if it is not the one that was listed."""
        from mlplatform.datasets import SAMPLE_BYTES  # only who reads drops pays for its import
        from mlplatform.parquet import PARQUET_TAIL_BYTES, is_parquet

        limit = SAMPLE_BYTES if limit is None else limit
        if stored.size_bytes == 0:
            return Sample(stored.key, b"", complete=True)
        answer = self._call(
            "s3",
            "get_object",
            Bucket=self._settings.data_bucket,
            Key=stored.key,
            Range=f"bytes=0-{limit - 1}",
            IfMatch=stored.etag,
        )
        content = answer["Body"].read()
        if stored.size_bytes <= limit or not is_parquet(content):
            return Sample(stored.key, content, complete=stored.size_bytes <= limit)
        end = self._call(
            "s3",
            "get_object",
            Bucket=self._settings.data_bucket,
            Key=stored.key,
            Range=f"bytes=-{PARQUET_TAIL_BYTES}",
            IfMatch=stored.etag,
        )
        return Sample(stored.key, content, complete=False, tail=end["Body"].read())

    def read_drop(self, arrived: DatasetArrived, objects: tuple[StoredObject, ...]) -> Drop:
        from mlplatform.datasets import data_files

        spec = next((stored for stored in objects if stored.file_name == names.JOB_SPEC_FILE), None)
        return Drop(
            dataset=arrived.dataset,
            version=names.dataset_version(objects),
            objects=objects,
            samples=tuple(self.read_sample(stored) for stored in data_files(objects)[:_MOST_SAMPLES]),
            job_json=self.read_sample(spec, _JOB_SPEC_BYTES).content if spec else None,
        )

    def verdict_exists(self, dataset: str, version: str) -> bool:
        """Whether the version has been decided upon for good; that it is held back by a ceiling is not for good."""
        key = names.verdict_key(dataset, version)
        found = self._found("s3", "head_object", Bucket=self._settings.data_bucket, Key=key)
        return found is not None and HELD not in found.get("Metadata", {})

    def outcome_exists(self, dataset: str, job: str) -> bool:
        return self._object_exists(self._settings.artifact_bucket, names.outcome_key(dataset, job))

    # ---- facts: jobs, models, endpoints ----

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
            created=_utc(found["CreationTime"]) if "CreationTime" in found else None,
            inputs={
                channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"]
                for channel in found.get("InputDataConfig", [])
                if "S3DataSource" in channel.get("DataSource", {})
            },
            max_runtime_seconds=limits.get("MaxRuntimeInSeconds"),
            ended=_utc(found["TrainingEndTime"]) if "TrainingEndTime" in found else None,
            image=found.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
            tuning=found["TuningJobArn"].rpartition("/")[2] if "TuningJobArn" in found else None,
        )

    def endpoint(self, name: str) -> Endpoint | None:
        found = self._found("sagemaker", "describe_endpoint", EndpointName=name)
        if found is None:
            return None
        config_name = found.get("EndpointConfigName")
        config: Mapping[str, Any] = {}
        if config_name:
            config = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=config_name) or {}
        variant = _live_variant(config)
        kind = kind_of(config)
        component = self._component(name) if kind is HostingKind.SCALE_TO_ZERO else None
        model_name = component.model_name if component else variant.get("ModelName")
        model: Mapping[str, Any] = {}
        if model_name:
            model = self._found("sagemaker", "describe_model", ModelName=model_name) or {}
        running = _live_variant(found)
        fleets = {one["VariantName"]: one for one in found.get("ProductionVariants", [])}
        serverless = variant.get("ServerlessConfig", {})
        return Endpoint(
            name=found["EndpointName"],
            arn=found["EndpointArn"],
            status=found["EndpointStatus"],
            config_name=config_name,
            failure_reason=found.get("FailureReason"),
            variant_name=variant.get("VariantName"),
            instance_type=capacity.wanted_type(variant),
            instance_count=running.get("CurrentInstanceCount", variant.get("InitialInstanceCount")),
            model_name=model_name,
            artifact_uri=model.get("PrimaryContainer", {}).get("ModelDataUrl"),
            tags=self._tags(found["EndpointArn"]),
            created=_utc(found["CreationTime"]),
            modified=_utc(found["LastModifiedTime"]),
            pending_config=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName"),
            running_types=capacity.types_of(running),
            counts={name: one.get("DesiredInstanceCount") for name, one in fleets.items()},
            variants=tuple(
                Variant(
                    name=one["VariantName"],
                    model_name=one.get("ModelName"),
                    instance_type=capacity.wanted_type(one),
                    instance_count=fleets.get(one["VariantName"], {}).get(
                        "CurrentInstanceCount", one.get("InitialInstanceCount")
                    ),
                    weight=fleets.get(one["VariantName"], {}).get("DesiredWeight", one.get("InitialVariantWeight")),
                )
                for one in config.get("ProductionVariants", [])
            ),
            kind=kind,
            memory_gb=serverless["MemorySizeInMB"] // 1024 if serverless else None,
            max_concurrency=serverless.get("MaxConcurrency"),
            component=component,
        )

    def serving(self, dataset: str) -> Serving | None:
        """What serves a dataset, is parked for the morning, or stands in for what is being made anew."""
        if not names.is_dataset(self._settings.stack_name, dataset):
            return None  # it is no endpoint's name either; who plans says so better than SageMaker would
        name = names.endpoint(self._settings.stack_name, dataset)
        endpoint = self.endpoint(name)
        if endpoint is not None:
            return Serving(endpoint)
        found = self.parked_endpoint(name)
        if found is not None:
            return Serving(found[0], parked=found[1])
        stand_in = self.endpoint(names.stand_in(name))
        return Serving(stand_in, standing_in=True) if stand_in is not None else None

    def _component(self, name: str) -> Component | None:
        found = self._found("sagemaker", "describe_inference_component", InferenceComponentName=name)
        if found is None:
            return None
        return Component(
            found["InferenceComponentStatus"],
            found.get("Specification", {}).get("ModelName"),
            found.get("RuntimeConfig", {}).get("CurrentCopyCount", 0),
            found["InferenceComponentArn"],
            found.get("FailureReason"),
        )

    def live_variant(self, endpoint: Endpoint) -> Mapping[str, Any]:
        """The live model's variant as its config has it."""
        name = endpoint.config_name or ""
        config = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=name) if name else None
        return _live_variant(config or {})

    def artifact_card(self, uri: str) -> ModelCard | UnreadableCard:
        """Its card's files from a model.tar.gz: streamed, bounded, and never put on a disk."""
        import tarfile  # brings three decompressors with it, which most functions never need

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        answer = self._found("s3", "get_object", Bucket=bucket, Key=key)
        if answer is None:
            return UnreadableCard(f"there is nothing at {uri}")
        files: dict[str, bytes] = {}
        try:
            with tarfile.open(fileobj=answer["Body"], mode="r|gz") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if name not in {*FILES, REPORT_FILE} or not member.isfile():
                        continue
                    if name == REPORT_FILE and member.size > _REPORT_BYTES:
                        continue  # a picture too large to draw is no reason to lose a model
                    if member.size > _CARD_FILE_BYTES:
                        return UnreadableCard(f"its {name} has {member.size} bytes, more than {_CARD_FILE_BYTES}")
                    content = archive.extractfile(member)
                    files[name] = content.read() if content else b""
                    if len(files) == len(FILES) + 1:
                        break
        except (tarfile.TarError, EOFError, OSError) as error:
            return UnreadableCard(f"{uri} is not a readable archive ({error})")
        finally:
            answer["Body"].close()
        return parse_card(files)

    def stored_card(self, dataset: str, job: str) -> ModelCard | None:
        """What was kept beside the registered model; None where it is not there or not readable."""
        bucket, files = self._settings.artifact_bucket, {}
        for name in FILES:
            key = names.model_card_prefix(dataset, job) + name
            if self._object_exists(bucket, key):
                files[name] = self._call("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()
        card = parse_card(files)
        return card if isinstance(card, ModelCard) else None

    def traffic(self, endpoint: Endpoint) -> Traffic:
        from mlplatform.aws_traffic import read_traffic  # few deployments compare kinds of hosting

        return read_traffic(self._call, endpoint.name, endpoint.kind, self.now())

    def calls(self, endpoint: Endpoint, since: datetime) -> int:
        """How many requests it got, or has waiting. An asynchronous endpoint counts what it has processed, and what
        sleeps the calls that failed because it does, which are not among its invocations.
        """
        scope = request_dimensions(endpoint.name, endpoint.kind)
        wanted = [("Invocations", scope, "Sum")]
        if endpoint.kind is HostingKind.ASYNCHRONOUS:
            wanted = [
                ("InvocationsProcessed", scope, "Sum"),
                ("ApproximateBacklogSize", sleeper_dimensions(endpoint), "Maximum"),
            ]
        if endpoint.kind is HostingKind.SCALE_TO_ZERO:
            wanted.append(("NoCapacityInvocationFailures", scope, "Sum"))
        return int(sum(sum(values) for values in self._minutes(wanted, since)))

    def waiting(self, endpoint: Endpoint) -> int:
        """The requests in an asynchronous endpoint's queue and in work, as of its last minute; 0 where it has told
        none for a while (ApproximateBacklogSize, "Monitor asynchronous endpoint", SageMaker developer guide)."""
        wanted = [("ApproximateBacklogSize", sleeper_dimensions(endpoint), "Maximum")]
        [values] = self._minutes(wanted, self.now() - _BACKLOG_TOLD)
        return int(values[0]) if values else 0

    def _minutes(
        self, wanted: Sequence[tuple[str, list[dict[str, str]], str]], since: datetime
    ) -> list[Sequence[float]]:
        """Of each metric, dimensions and statistic the values minute by minute, the newest first."""
        found = self._call(
            "cloudwatch",
            "get_metric_data",
            MetricDataQueries=[
                {
                    "Id": f"m{number}",
                    "MetricStat": {
                        "Metric": {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": scope},
                        "Period": 60,
                        "Stat": statistic,
                    },
                }
                for number, (name, scope, statistic) in enumerate(wanted)
            ],
            StartTime=since,
            EndTime=self.now(),
            ScanBy="TimestampDescending",
        )
        by_id = {one["Id"]: one["Values"] for one in found["MetricDataResults"]}
        return [by_id.get(f"m{number}", []) for number in range(len(wanted))]

    def scaling_bounds(self, endpoint: Endpoint) -> tuple[int, int] | None:
        """The fewest and the most instances that its scaling allows now; None where nothing scales it.

        A change of its instance type takes its scaling; what it allowed then still counts when it is to come back.
        """
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace="sagemaker",
            ResourceIds=[names.scalable_target(endpoint.name, kind=endpoint.kind)["ResourceId"]],
        )["ScalableTargets"]
        if found:
            return (found[0]["MinCapacity"], found[0]["MaxCapacity"])
        return names.tagged_bounds(endpoint.tags.get(names.TAKEN_TAG))

    def smoke_test(self, endpoint: Endpoint, sample_json: bytes) -> Prediction | Unasked:
        """Asks for the prediction of sample.json; what the model itself refuses is an answer, and no error.

        What sleeps is not woken: every scaling ends in an event that comes here, so that it would never sleep again.
        """
        why = asleep(endpoint)
        if why:
            return Unasked(why)
        if endpoint.kind is HostingKind.ASYNCHRONOUS:
            return self._smoke_test_queue(endpoint, sample_json)
        try:
            return compare_prediction(sample_json, *self._asked(endpoint, sample_json))
        except AwsError as error:
            if error.code == "ModelError":
                return Prediction(False, f"the model refused it: {error.aws_message}")
            raise

    def smoke_test_update(self, endpoint: Endpoint, model: str, sample_json: bytes) -> Prediction | None:
        """What a model answers that gets a part of the traffic; None where none of the answers was its own.

        Nothing in a request chooses the fleet of an update, but an answer says which model made it. What fails is left
        to the alarms, which count it.
        """
        last = time.monotonic() + _UPDATE_SECONDS
        for _ in range(_UPDATE_ATTEMPTS):
            if time.monotonic() > last:
                break
            try:
                status, content = self._asked(endpoint, sample_json)
            except AwsError as error:
                if error.code not in {"ModelError", "ServiceUnavailable"}:
                    raise
                continue
            if model_version(content) == model:
                return compare_prediction(sample_json, status, content)
        return None

    def _smoke_test_queue(self, endpoint: Endpoint, sample_json: bytes) -> Prediction | Unasked:
        """The same through S3 and the queue. Others may be before it, so that no answer in time proves nothing."""
        bucket = self._settings.artifact_bucket
        key = f"{names.queue_prefix(endpoint.tags[DATASET_TAG], 'inputs')}smoke-test.json"
        self._put(bucket, key, json.dumps(json.loads(sample_json)["request"]).encode())
        queued = self._call(
            "sagemaker-runtime",
            "invoke_endpoint_async",
            EndpointName=endpoint.name,
            ContentType="application/json",
            Accept="application/json",
            InputLocation=f"s3://{bucket}/{key}",
        )
        answer, failure = (queued[one].removeprefix(f"s3://{bucket}/") for one in ("OutputLocation", "FailureLocation"))
        for _ in range(_QUEUE_ATTEMPTS):
            for location, wrong in ((answer, ""), (failure, "the model refused it: ")):
                if self._object_exists(bucket, location):
                    content = self._call("s3", "get_object", Bucket=bucket, Key=location)["Body"].read()
                    if wrong:
                        return Prediction(False, f"{wrong}{content[:500].decode(errors='replace')}")
                    return compare_prediction(sample_json, 200, content)
            self._sleep(1.0)
        return Unasked(f"its queue has not come to the stored row within {_QUEUE_ATTEMPTS} seconds")

    def _asked(self, endpoint: Endpoint, sample_json: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to a sample's request: of several variants, the named one's.

        TargetVariant goes before the weights ("Testing models with production variants", SageMaker developer guide).
        """
        request: dict[str, Any] = {"EndpointName": endpoint.name}
        if len(endpoint.variants) > 1:
            request["TargetVariant"] = endpoint.variant_name
        answer = self._call(
            "sagemaker-runtime",
            "invoke_endpoint",
            **request,
            ContentType="application/json",
            Accept="application/json",
            Body=json.dumps(json.loads(sample_json)["request"]).encode(),
            **({"InferenceComponentName": endpoint.name} if endpoint.component else {}),
        )
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()

    # ---- decisions ----

    def apply(self, decision: Decision) -> Decision:
        """Does what was decided, so that doing it again changes nothing; returns what it came to.

        That is the decision itself, or Skip where another copy of the event was quicker. What was not finished
        before an error is finished when the event comes again: whatever marks it as done is written last.
        """
        match decision:
            case Skip() | ReportUntagged():
                return decision
            case Notify():
                return self._notify(decision)
            case StartTraining():
                return self._start_training(decision)
            case StartPipeline():
                started = self._start_pipeline(decision)
                if decision.verdict:
                    self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
                return started
            case StartTuning():
                return self._start_tuning(decision)
            case StopTuning():
                return self._stop_tuning(decision)
            case RejectDataset():
                return self._reject(decision)
            case DeployModel():
                return self._deploy(decision)
            case KeepLiveModel():
                return self._finish(self._registered(decision))
            case AskApproval():
                return self._finish(self._registered(decision))
            case FinishDeployment():
                if decision.component is not None:
                    self._update_sleeper(decision.endpoint, decision.component)
                else:
                    self._update_endpoint(decision.endpoint, decision.model, decision.deregister, decision.alarms)
                return decision
            case MakeComponent():
                return self._make_component(decision)
            case ChangeInPlace():
                return self._change_in_place(decision)
            case StartMove():
                return self._start_move(decision)
            case SwitchOver():
                return self._switch_over(decision)
            case RetireStandIn():
                self._tell_once(decision)
                self._delete_endpoint(decision.endpoint_name, has_component=decision.has_component)
                return decision
            case AbandonMove():
                return self._abandon_move(decision)
            case Refuse():
                return decision
            case StartAbTest():
                return self._start_ab_test(decision)
            case ShareTraffic():
                return self._share_traffic(decision)
            case EndAbTest():
                return self._end_ab_test(decision)
            case RejectUpdate():
                return self._reject_update(decision)
            case ConfigureAutoscaling():
                return self._configure_autoscaling(decision)
            case StopEndpoint():
                return self._stop_endpoint(decision)
            case StartEndpoint():
                return self._start_endpoint(decision)
            case ClearFailedStart():
                return self._clear_failed_start(decision)
            case RestoreCapacity():
                return self._restore_capacity(decision)
            case RestoreEndpoint():
                return self._restore_endpoint(decision)
            case ForgetParking():
                return self._forget_parking(decision)
            case ReportCosts():
                return self._report_costs(decision)
            case RecordLineage():
                self._call("sagemaker", "update_model_package", **decision.update)
                return decision
            case RecordSaving():
                return self._record_saving(decision)
            case RecordSpend():
                return self._record_spend(decision)
            case HoldLaunches():
                return self._hold_launches(decision)
            case LiftHold():
                return self._lift_hold(decision)
            case HoldDataset():
                return self._hold_dataset(decision)
            case ActivateCostTags():
                return self._activate_cost_tags(decision)
            case EndResource():
                return self._end_resource(decision)
            case WarnOfEnd():
                return self._warn_of_end(decision)
            case EndEndpoint():
                return self._end_endpoint(decision)
            case TagResource():
                return self._tag_resource(decision)
            case _:
                assert_never(decision)

    def _notify(self, decision: Notify) -> Decision:
        told = self._tell_once(decision)
        return decision if told else Skip(f"People were told already: {decision.reason}")

    def _tell_once(self, decision: Notify | ChangeInPlace | StartMove | RetireStandIn) -> bool:
        """Tells people, unless what the decision remembers that by is there; whether it did.

        What changes something is told before its first change: after the last, no event would bring it here again.
        """
        bucket = self._settings.artifact_bucket
        if decision.once and self._object_exists(bucket, decision.once):
            return False
        self._announce(decision)
        if decision.once:
            document = {"decision": type(decision).__name__, "reason": decision.reason}
            self._put_once(bucket, decision.once, document)
        return True

    def _start_training(self, decision: StartTraining) -> Decision:
        self._put(
            self._settings.artifact_bucket,
            names.manifest_key(decision.dataset, decision.version),
            decision.manifest.encode(),
        )
        created = self._unless(_exists, "sagemaker", "create_training_job", **decision.request)
        self._assert_as_planned(decision.request)
        self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
        if not created:
            return Skip(f"Training job {decision.job_name} exists already; each version is trained once.")
        return decision

    def _start_tuning(self, decision: StartTuning) -> Decision:
        self._put(
            self._settings.artifact_bucket,
            names.manifest_key(decision.dataset, decision.version),
            decision.manifest.encode(),
        )
        created = self._unless(_exists, "sagemaker", "create_hyper_parameter_tuning_job", **decision.request)
        self._assert_tunes_as_planned(decision.request)
        self._put_verdict(decision, "accepted", decision.explanation, decision.job_name)
        if not created:
            return Skip(f"Tuning job {decision.job_name} exists already; each version is tuned once.")
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

    def _reject(self, decision: RejectDataset) -> Decision:
        # The alert first: a verdict without an alert would never be repaired, an alert twice does no harm.
        self._announce(decision)
        self._put_verdict(decision, "rejected", decision.reason, None)
        return decision

    def _put_verdict(
        self,
        decision: StartTraining | StartTuning | StartPipeline | RejectDataset,
        verdict: str,
        reason: str,
        job_name: str | None,
    ) -> None:
        bucket, key = self._settings.data_bucket, names.verdict_key(decision.dataset, decision.version)
        document = {
            "dataset": decision.dataset,
            "version": decision.version,
            "verdict": verdict,
            "reason": reason,
            "job_name": job_name,
        }
        if isinstance(decision, StartPipeline):
            document["pipeline"] = decision.request["PipelineName"]
        if not self._put_once(bucket, key, document) and not self.verdict_exists(decision.dataset, decision.version):
            # What is there says that the version was held back, which is over.
            self._put(bucket, key, json.dumps(document, indent=2, ensure_ascii=False).encode())

    def _deploy(self, decision: DeployModel) -> Decision:
        if decision.model_package is not None:
            decision = replace(decision, package=self._register(decision))
        elif decision.card is not None:
            self._put_card(decision.dataset, decision.job_name, decision.card)
            self._put_page(decision.page)
        name = decision.endpoint["EndpointName"]
        try:
            if not self._unless(_exists, "sagemaker", "create_model", **decision.model):
                self._assert_same_model(decision.model)
            self._unless(_exists, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
            if decision.replace:
                self._delete_endpoint(name, has_component=decision.has_component)
                raise TryAgain(
                    f"Endpoint {name} was past repair and is being deleted; {decision.job_name} takes its place."
                )
            if decision.parked is not None:
                self._move_parking(decision.parked, decision.job_name, decision.endpoint_tags)
            elif decision.move is not None:
                with self._wished(decision.move.endpoint_name, decision.endpoint_tags):
                    self._make_stand_in(decision.move)
            elif decision.exists:
                self._update_to(decision)
            else:
                self._create_endpoint(decision.endpoint)
        except AwsError as error:
            waiting = asked_by(decision, error)
            if waiting is None:
                raise
            if waiting.update is not None:
                self._call("sagemaker", "update_model_package", **waiting.update)
            return self._finish(waiting)
        if decision.update is not None:
            self._call("sagemaker", "update_model_package", **decision.update)
        return self._finish(decision)

    def _update_to(self, decision: DeployModel) -> None:
        with self._wished(decision.endpoint["EndpointName"], decision.endpoint_tags):
            if decision.component is not None:
                self._update_sleeper(decision.endpoint, decision.component)
            else:
                model = decision.asks or decision.job_name
                self._update_endpoint(decision.endpoint, model, decision.deregister, decision.alarms)

    @contextmanager
    def _wished(self, name: str, tags: Mapping[str, str]) -> Iterator[None]:
        """The wish first, for an endpoint that is busy; taken back where SageMaker refuses the instances for it."""
        before = self._tags(self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointArn"])
        self._tag_endpoint(name, tags)
        try:
            yield
        except AwsError as error:
            if error.limit_reached:
                self._tag_endpoint(name, {key: before.get(key, "") for key in tags})
            raise

    def _start_ab_test(self, decision: StartAbTest) -> StartAbTest | Refuse:
        """The tag before the update: it is what a busy endpoint is updated for when it is free."""
        name = decision.endpoint["EndpointName"]
        self._put_card(decision.dataset, decision.job_name, decision.card)
        if not self._unless(_exists, "sagemaker", "create_model", **decision.model):
            self._assert_same_model(decision.model)
        self._unless(_exists, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        self._tag_endpoint(name, decision.endpoint_tags)
        try:
            self._change_variants(decision.endpoint, decision.endpoint["EndpointConfigName"], None)
        except AwsError as error:
            refusal = refused_by(error)
            if refusal is None:
                raise
            self._tag_endpoint(name, {names.CHALLENGER_TAG: ""})
            return refusal
        self._announce(decision)
        return decision

    def _share_traffic(self, decision: ShareTraffic) -> Decision:
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.capacity is not None and not self._unless(
            _is_in_progress, "sagemaker", "update_endpoint_weights_and_capacities", **decision.capacity
        ):
            return Skip(f"{decision.endpoint_name} is being updated; its challenger gets its share after that.")
        self._announce(decision)
        return decision

    def _end_ab_test(self, decision: EndAbTest) -> EndAbTest:
        self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.endpoint is not None:
            self._change_variants(decision.endpoint, decision.model, decision.deregister)
        self._announce(decision)
        return decision

    def _assert_same_model(self, request: Request) -> None:
        """Two packages that say that they come from one training job, but have other artifacts, have the same name."""
        name, wanted = request["ModelName"], request["PrimaryContainer"]["ModelDataUrl"]
        found = self._call("sagemaker", "describe_model", ModelName=name)["PrimaryContainer"].get("ModelDataUrl")
        if found != wanted:
            raise NotAsPlanned(
                f"There is a model {name} already, with {found} and not with {wanted}; delete it, or register the "
                "package with another training_job, or with none, among its CustomerMetadataProperties."
            )

    def _create_endpoint(self, request: Request) -> None:
        for attempt in range(1, _CONFIG_ATTEMPTS + 1):
            try:
                self._unless(_exists, "sagemaker", "create_endpoint", **request)
                return
            except AwsError as error:
                # CreateEndpoint reads the config with eventual consistency (SageMaker API reference, CreateEndpoint)
                if attempt == _CONFIG_ATTEMPTS or not is_missing(error):
                    raise
                self._sleep(float(attempt))

    def _tag_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        arn = self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointArn"]
        self._call("sagemaker", "add_tags", ResourceArn=arn, Tags=names.tag_list(tags))

    def _update_endpoint(
        self, request: Request, model: str, deregister: Request | None, alarms: tuple[Request, ...]
    ) -> None:
        """Updates an endpoint that is free.

        A busy one has its wanted config in a tag already, which configure-autoscaling acts upon when it is free.
        """
        if not self._can_be_updated(request, model):
            return
        if alarms:
            # A new alarm has no state; put again over an old one, it would keep the state of an update that failed.
            old = [one["AlarmName"] for one in alarms]
            self._unless(is_missing, "cloudwatch", "delete_alarms", AlarmNames=old)
        for alarm in alarms:
            self._call("cloudwatch", "put_metric_alarm", **alarm)
        self._update(request, model, deregister)

    def _change_variants(self, request: Request, model: str, deregister: Request | None) -> None:
        """The same for an update that nothing can watch."""
        if self._can_be_updated(request, model):
            self._update(request, model, deregister)

    def _can_be_updated(self, request: Request, model: str) -> bool:
        """Whether it is free, and neither runs that config already nor is on its way to it."""
        found = self._call("sagemaker", "describe_endpoint", EndpointName=request["EndpointName"])
        pending = found.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        if request["EndpointConfigName"] in {found.get("EndpointConfigName"), pending}:
            if self._tags(found["EndpointArn"]).get(names.ASKED_TAG) != model:
                self._remember_asked(request, model)  # who asked for it ended right after that
            return False
        return bool(found["EndpointStatus"] == "InService")

    def _update(self, request: Request, model: str, deregister: Request | None) -> None:
        name = request["EndpointName"]
        if deregister is not None:
            self._remember_taken(name, deregister)
            self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **deregister)
        try:
            accepted = self._unless(_is_in_progress, "sagemaker", "update_endpoint", **request)
        except AwsError as error:
            if deregister is not None or not _is_scaled(error):
                raise
            # Not the type but the types that take its place are others than before.
            variant = names.scalable_target(name)
            self._remember_taken(name, variant)
            self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **variant)
            accepted = self._unless(_is_in_progress, "sagemaker", "update_endpoint", **request)
        if accepted:
            self._remember_asked(request, model)

    def _remember_asked(self, request: Request, model: str) -> None:
        at = self.now().isoformat(timespec="seconds")
        self._tag_endpoint(request["EndpointName"], {names.ASKED_TAG: model, names.ASKED_AT_TAG: at})

    def _update_sleeper(self, endpoint: Request, component: Request) -> None:
        """An endpoint that scales to zero has its model in its component. Where it changes as well, it does so first:
        the component follows when the endpoint is looked at again."""
        found = self._call("sagemaker", "describe_endpoint", EndpointName=endpoint["EndpointName"])
        self._tag_endpoint(endpoint["EndpointName"], {names.LOOK_TAG: "component"})
        if found["EndpointStatus"] == "InService" and found["EndpointConfigName"] != endpoint["EndpointConfigName"]:
            self._unless(_is_in_progress, "sagemaker", "update_endpoint", **endpoint)
            return
        self._update_component(component)

    def _update_component(self, request: Request) -> None:
        """Gives the component of an endpoint that is free another model; a busy one gets it when it is looked at again.

        That has to come, so that it is asked for first: no event tells of a component ("Events that Amazon SageMaker AI
        sends to Amazon EventBridge", SageMaker developer guide).
        """
        name, model = request["InferenceComponentName"], request["Specification"]["ModelName"]
        there = self._component(name)
        if there is not None and there.status == "Failed":
            # It can't be updated. That nothing was asked of it since has it made anew when it is looked at.
            self._tag_endpoint(name, {names.ASKED_TAG: ""})
        if there is None or there.status != "InService" or there.model_name == model:
            return
        if self._call("sagemaker", "describe_endpoint", EndpointName=name)["EndpointStatus"] != "InService":
            return
        self._call("sagemaker", "update_inference_component", **request)
        self._tag_endpoint(name, {names.ASKED_TAG: model, names.ASKED_AT_TAG: self.now().isoformat(timespec="seconds")})

    def _make_component(self, decision: MakeComponent) -> MakeComponent | Skip:
        name, model = decision.endpoint_name, decision.component["Specification"]["ModelName"]
        self._tag_endpoint(name, {names.LOOK_TAG: "component"})
        if decision.replaces:
            self._delete_component(name)
            self._tag_endpoint(name, {names.ASKED_TAG: model})  # it is tried once
        if not self._unless(_exists, "sagemaker", "create_inference_component", **decision.component):
            return Skip(f"{decision.endpoint_name} has its inference component already.")
        for _ in range(_COMPONENT_ATTEMPTS):  # a laptop's is there in seconds; AWS takes minutes, and a tick goes on
            made = self._component(decision.endpoint_name)
            if made is not None and made.status != "Creating":
                break
            self._sleep(1.0)
        return decision

    def _change_in_place(self, decision: ChangeInPlace) -> Decision:
        self._tell_once(decision)
        self._unless(_exists, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        name = decision.endpoint_name
        if not self._unless(_is_in_progress, "sagemaker", "update_endpoint", **decision.endpoint):
            return Skip(f"{name} is being updated; the end of that will bring it here again.")
        at = self.now().isoformat(timespec="seconds")
        self._tag_endpoint(name, {**decision.endpoint_tags, names.ASKED_TAG: decision.model, names.ASKED_AT_TAG: at})
        return decision

    def _start_move(self, decision: StartMove) -> Decision:
        name = decision.endpoint["EndpointName"]
        if self._found("sagemaker", "describe_endpoint", EndpointName=name) is not None:
            return Skip(f"{name} is there already.")
        self._tell_once(decision)
        self._make_stand_in(decision)
        return decision

    def _make_stand_in(self, decision: StartMove) -> None:
        """The tag first: by it the next tick finds what was only begun."""
        self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        self._unless(_exists, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        self._create_endpoint(decision.endpoint)

    def _switch_over(self, decision: SwitchOver) -> Decision:
        """As quickly as AWS lets it: calls fail until this is over. An event or a tick finishes what takes longer."""
        name = decision.endpoint_name
        if decision.deletes:
            self._notify(Notify(decision.reason, f"Endpoint {name} moves", decision.once, routine=True))
            self._delete_endpoint(name, has_component=decision.has_component)
        for _ in range(_GONE_ATTEMPTS):
            if self._found("sagemaker", "describe_endpoint", EndpointName=name) is None:
                self._create_endpoint(decision.endpoint)
                return decision
            self._sleep(1.0)
        return decision

    def _abandon_move(self, decision: AbandonMove) -> Decision:
        """People and the endpoint's tags first: what is tried again begins with the stand-in, which goes last."""
        done: Decision = decision
        if decision.once:
            subject = f"Endpoint {decision.endpoint_name} stays as it is"
            done = self._notify(Notify(decision.reason, subject, decision.once))
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.stand_in:
            self._delete_endpoint(decision.stand_in, has_component=decision.has_component)
        return decision if isinstance(done, Notify) else done

    def _delete_endpoint(self, name: str, *, has_component: bool) -> None:
        """Its inference component first. Raises TryAgain, as _delete_component does.

        The scaling of an endpoint's variants goes with it (DeleteEndpoint, SageMaker API reference).
        """
        if has_component:
            self._delete_component(name)
        self._unless(is_missing, "sagemaker", "delete_endpoint", EndpointName=name)

    def _delete_component(self, name: str) -> None:
        """Its scaling first, or that would start copies while it goes. Raises TryAgain, before anything is done, while
        it is made or changed, which SageMaker lets nobody interrupt; and where it takes too long to go."""
        there = self._component(name)
        if there is None:
            return
        if there.status in _UNDER_WAY:
            raise TryAgain(
                f"The inference component of {name} is {there.status}; it can't be deleted before that is over."
            )
        target = names.scalable_target(name, kind=HostingKind.SCALE_TO_ZERO)
        self._unless(is_missing, "application-autoscaling", "deregister_scalable_target", **target)
        if there.status != "Deleting":
            try:
                self._unless(is_missing, "sagemaker", "delete_inference_component", InferenceComponentName=name)
            except AwsError as error:
                if not is_under_way(error):
                    raise
                raise TryAgain(f"The inference component of {name} is being changed, and goes after that.") from error
        for _ in range(_GONE_ATTEMPTS):
            if self._component(name) is None:
                return
            self._sleep(1.0)
        raise TryAgain(f"The inference component of {name} is being deleted; what follows waits for that.")

    def _remember_taken(self, endpoint_name: str, deregister: Request) -> None:
        """Deregistering forgets the bounds, and people may have set them. A challenger's go with it."""
        if deregister["ResourceId"] != names.scalable_target(endpoint_name)["ResourceId"]:
            return
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace=deregister["ServiceNamespace"],
            ResourceIds=[deregister["ResourceId"]],
        )["ScalableTargets"]
        if found:
            bounds = names.bounds_tag((found[0]["MinCapacity"], found[0]["MaxCapacity"]))
            self._tag_endpoint(endpoint_name, {names.TAKEN_TAG: bounds[names.BOUNDS_TAG]})

    def _reject_update(self, decision: RejectUpdate) -> Decision:
        """The metric again with each event: an alarm that saw it once may have passed it."""
        self._call("cloudwatch", "put_metric_data", **decision.metric)
        subject = f"Update of endpoint {decision.endpoint_name} answers wrongly"
        told = self._notify(Notify(decision.reason, subject, decision.once))
        return decision if isinstance(told, Notify) else told

    def _finish(self, decision: DeployModel | KeepLiveModel | AskApproval) -> Decision:
        """Tells people, and then remembers that it is done: under the job's outcome, or under the approval's."""
        bucket, outcome = (
            self._settings.artifact_bucket,
            {
                "decision": type(decision).__name__,
                "reason": decision.reason,
                "package": decision.package,
            },
        )
        key = decision.release
        if decision.model_package is not None:
            key = names.outcome_key(decision.dataset, decision.job_name)
            if isinstance(decision, DeployModel):
                version = int(decision.package.rpartition("/")[2])
                self._put_once(bucket, names.release_key(decision.dataset, version, "gate"), outcome)
        if not self._object_exists(bucket, key):
            self._announce(decision)
        if not self._put_once(bucket, key, outcome):
            return Skip(f"{decision.job_name} had its outcome a moment ago: {decision.reason}")
        return decision

    def _configure_autoscaling(self, decision: ConfigureAutoscaling) -> Decision:
        """Every scaling action ends with another event of an endpoint in service, so what is there is left alone.

        People are told before the first change: an event that comes again after the last would find nothing to tell.
        """
        tell = cache(lambda: self._announce(decision))
        changed = bool(decision.target) and self._scale(decision, tell)
        watched = self._put_alarms(decision.alarms, decision.ended, tell)
        if decision.last_tags:
            self._tag_endpoint(decision.endpoint_name, decision.last_tags)
        return decision if changed or watched else Skip(f"As it is already: {decision.reason}")

    def lacking(self, decision: ConfigureAutoscaling) -> tuple[str, ...]:
        """What applying it would change, in sentences; nothing is changed."""
        found = []
        if decision.target:
            targets, as_wanted, surplus = self._scaling_there(decision)
            if not targets:
                found.append("it does not scale: its scaling is not registered.")
            elif not as_wanted:
                found.append("its scaling is registered otherwise than the platform would, or lacks a policy.")
            elif surplus:
                found.append(f"it still scales by {', '.join(surplus)}, which nobody asks for any more.")
        alarms = (*decision.alarms, *self._waking(decision))
        if alarms:
            wanted = [one["AlarmName"] for one in alarms]
            there = self._call("cloudwatch", "describe_alarms", AlarmNames=wanted)["MetricAlarms"]
            kept = {one["AlarmName"] for one in there}
            for alarm in differing(alarms, there):
                wrong = "watches something else than it should" if alarm["AlarmName"] in kept else "is missing"
                found.append(f"its alarm {alarm['AlarmName']} {wrong}.")
        return tuple(found)

    def clamp(self, endpoint_name: str) -> str:
        """Brings an endpoint's instances inside its scaling's bounds; says within which.

        Registering a target does so at once, with the bounds that it has already (RegisterScalableTarget, API
        reference).
        """
        variant = names.scalable_target(endpoint_name)
        found = self._call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace=variant["ServiceNamespace"],
            ResourceIds=[variant["ResourceId"]],
        )["ScalableTargets"][0]
        bounds = {key: found[key] for key in ("MinCapacity", "MaxCapacity")}
        self._call("application-autoscaling", "register_scalable_target", **variant, **bounds)
        return f"it goes to {bounds['MinCapacity']} to {bounds['MaxCapacity']} instances"

    def _scaling_there(self, decision: ConfigureAutoscaling) -> tuple[list[dict[str, Any]], bool, list[str]]:
        """The scalable target, if any, whether it and its policies are as they are wanted, and unwanted policies."""
        target = {key: value for key, value in decision.target.items() if key != "Tags"}
        resource = {"ServiceNamespace": target["ServiceNamespace"], "ResourceId": target["ResourceId"]}
        service = "application-autoscaling"
        targets = self._call(
            service,
            "describe_scalable_targets",
            ServiceNamespace=resource["ServiceNamespace"],
            ResourceIds=[resource["ResourceId"]],
        )["ScalableTargets"]
        policies = self._call(service, "describe_scaling_policies", **resource)["ScalingPolicies"]
        as_wanted = bool(targets) and _holds(targets[0], target)
        as_wanted = as_wanted and all(any(_holds(one, wanted) for one in policies) for wanted in decision.policies)
        surplus = [one["PolicyName"] for one in policies if one["PolicyName"] in decision.unwanted]
        return targets, as_wanted, surplus

    def _scale(self, decision: ConfigureAutoscaling, tell: Callable[[], None]) -> bool:
        """Whether there was anything to change, of which people are then told."""
        targets, as_wanted, surplus = self._scaling_there(decision)
        if surplus or not as_wanted:
            tell()
        target = dict(decision.target)
        resource = {key: target[key] for key in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
        for policy in surplus:
            self._unless(is_missing, "application-autoscaling", "delete_scaling_policy", PolicyName=policy, **resource)
        if as_wanted:
            self._remember_bounds(decision)
            return self._put_alarms(self._waking(decision), (), tell) or bool(surplus)
        # RegisterScalableTarget, API reference: Tags are for a new target only
        tags = target.pop("Tags")
        service = "application-autoscaling"
        self._call(service, "register_scalable_target", **target, **({} if targets else {"Tags": tags}))
        self._remember_bounds(decision)
        for wanted in decision.policies:
            self._call(service, "put_scaling_policy", **wanted)
        self._put_alarms(self._waking(decision), (), tell)
        return True

    def _waking(self, decision: ConfigureAutoscaling) -> tuple[Request, ...]:
        """The alarm that wakes a sleeper, with its action, which AWS names when there is the policy."""
        if decision.wake is None:
            return ()
        policy = decision.policies[-1]
        found = self._call(
            "application-autoscaling",
            "describe_scaling_policies",
            ServiceNamespace=policy["ServiceNamespace"],
            ResourceId=policy["ResourceId"],
            PolicyNames=[policy["PolicyName"]],
        )["ScalingPolicies"]
        actions = [one["PolicyARN"] for one in found if one["PolicyName"] == policy["PolicyName"]]
        return ({**decision.wake, "AlarmActions": actions},)

    def _put_alarms(self, alarms: tuple[Request, ...], ended: tuple[str, ...], tell: Callable[[], None]) -> bool:
        """Whether there was anything to put, of which people are then told; those that ended are deleted."""
        wanted = [one["AlarmName"] for one in alarms]
        if not wanted and not ended:
            return False
        there = self._call("cloudwatch", "describe_alarms", AlarmNames=[*wanted, *ended])["MetricAlarms"]
        left = [one["AlarmName"] for one in there if one["AlarmName"] in ended]
        if left:
            self._unless(is_missing, "cloudwatch", "delete_alarms", AlarmNames=left)
        new = differing(alarms, there)
        if new:
            tell()
        for alarm in new:
            self._call("cloudwatch", "put_metric_alarm", **alarm)
        return bool(new)

    def _remember_bounds(self, decision: ConfigureAutoscaling) -> None:
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)

    def _restore_endpoint(self, decision: RestoreEndpoint) -> Decision:
        """The record is what brings it here again after an error, so that it goes last."""
        if decision.saving is not None:
            self._put_once(
                self._settings.artifact_bucket,
                ledger.object_key(decision.saving),
                ledger.document(decision.saving),
            )
        self._restore_scaling(decision.parked)
        self._announce(decision)
        self._end_parking(decision.config_arn, decision.parked.alarms)
        return decision

    def _report_costs(self, decision: ReportCosts) -> Decision:
        """The numbers are written last: they mark the report as made and told."""
        bucket = self._settings.artifact_bucket
        self._put(bucket, decision.page_key, decision.page.encode(), "text/html; charset=utf-8")
        self._announce(decision)
        self._put(bucket, decision.numbers_key, decision.numbers.encode())
        return decision

    # ---- facts: costs ----

    def cost_facts(self, now: datetime, *, fresh: bool = False) -> CostFacts:
        """What the report of the morning `now` is made of; raises no AwsError for what it can do without."""
        from mlplatform import aws_costs  # the report alone pays for its import

        return aws_costs.read_facts(self._call, self._settings, now, fresh=fresh)

    def advice_facts(self, now: datetime) -> AdviceFacts:
        """What the account has, for recommendations; what could not be read is in its `missing`."""
        from mlplatform.aws_advice import read_advice_facts  # as above

        return read_advice_facts(
            self._call,
            stack=self._settings.stack_name,
            region=self._settings.aws_region,
            now=now,
            office_hours=self._settings.office_hours,
            time_zone=self._settings.time_zone,
        )

    def artifact_exists(self, key: str) -> bool:
        return self._object_exists(self._settings.artifact_bucket, key)

    def artifact_link(self, key: str) -> str:
        """Where a person with access to the account finds an object in a browser; the link itself gives no access."""
        address = str(self._client("s3").meta.endpoint_url)
        return names.console_link(address, self._settings.artifact_bucket, self._settings.aws_region, key)

    # ---- the stack's end ----

    def stack_status(self, stack_id: str) -> str:
        """CloudFormation's StackStatus; Raises AwsError where there never was such a stack."""
        from mlplatform import aws_owned  # one function alone pays for its import

        return aws_owned.stack_status(self._call, stack_id)

    def owned(self) -> tuple[Owned, ...]:
        """What is left of what the stack's functions made."""
        from mlplatform import aws_owned  # as above

        return aws_owned.read_owned(self._call, self._settings.stack_name)

    def _warn_of_end(self, decision: WarnOfEnd) -> WarnOfEnd:
        """The message first: a day that nobody was told of must not come. Told twice is better than never."""
        self._announce(decision)
        self._call(
            "sagemaker",
            "add_tags",
            ResourceArn=decision.config_arn,
            Tags=names.tag_list(decision.tags),
        )
        return decision

    def _end_endpoint(self, decision: EndEndpoint) -> EndEndpoint:
        """The message first, as with a warning: of an endpoint that is gone nobody would be told any more."""
        self._announce(decision)
        self._end_parking(decision.config_arn, decision.alarms)
        if decision.running:
            self._delete_endpoint(decision.endpoint_name, has_component=decision.has_component)
        return decision

    def _tag_resource(self, decision: TagResource) -> TagResource:
        if decision.kind == "alarm":
            self._call("cloudwatch", "tag_resource", ResourceARN=decision.arn, Tags=names.tag_list(decision.tags))
        else:
            self._call("sagemaker", "add_tags", ResourceArn=decision.arn, Tags=names.tag_list(decision.tags))
        return decision

    def running_configs(self, endpoints: Iterable[str]) -> frozenset[str]:
        """Names of the configs that these endpoints run with, and of their models."""
        from mlplatform import aws_owned  # as above

        return aws_owned.running_configs(self._call, endpoints)

    def _end_resource(self, decision: EndResource) -> EndResource:
        from mlplatform import aws_owned  # as above

        aws_owned.end(self._call, decision)
        return decision

    # ---- objects and secrets ----

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        """Raises AwsError."""
        self._call("s3", "put_object", Bucket=bucket, Key=key, Body=content)

    def read_secret(self, parameter: str) -> str | None:
        """An SSM SecureString, decrypted; None where there is none."""
        found = self._found("ssm", "get_parameter", Name=parameter, WithDecryption=True)
        return None if found is None else str(found["Parameter"]["Value"])


def _live_variant(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of an endpoint or a config, the live model's variant: ours by its name, another's is the first."""
    variants: list[dict[str, Any]] = described.get("ProductionVariants", [])
    return next((one for one in variants if one["VariantName"] == names.VARIANT), variants[0] if variants else {})


def _utc(moment: Any) -> Any:
    return moment.astimezone(UTC)


def _exists(error: AwsError) -> bool:
    """ResourceInUse for jobs; ValidationException, "Cannot create already existing ...", for the rest."""
    return error.code == "ResourceInUse" or (is_invalid(error) and "already exist" in error.aws_message.lower())


def _holds(actual: Any, wanted: Any) -> bool:
    """Whether what AWS describes has everything that was asked for; it may have more."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and _holds(actual[key], value) for key, value in wanted.items())
    return bool(actual == wanted)


def _is_scaled(error: AwsError) -> bool:
    """ "The variant(s) ... must be deregistered as a scalable target with AutoScaling before they can ... have their
    instance type updated" ("Update or delete endpoints that use automatic scaling", SageMaker developer guide)."""
    return is_invalid(error) and "must be deregistered" in error.aws_message.lower()


def _is_in_progress(error: AwsError) -> bool:
    return is_invalid(error) and "in-progress" in error.aws_message.lower()
