"""A settled drop becomes one managed spot training job, or a sentence that says why not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlplatform import containers, kinds, names, prices
from mlplatform.datasets import data_files, plan_dataset
from mlplatform.decisions import (
    HoldDataset,
    RejectDataset,
    Request,
    Skip,
    StartPipeline,
    StartTraining,
    StartTuning,
)
from mlplatform.errors import DataRejected, UnknownPrice
from mlplatform.facts import (
    DatasetArrived,
    Drop,
    Endpoint,
    Hold,
    JobSpec,
    PipelineAsked,
    Serving,
    StoredObject,
    Table,
    Task,
)
from mlplatform.job_spec import with_pipeline
from mlplatform.pipelines import plan_pipeline
from mlplatform.settings import Settings
from mlplatform.tuning import plan_tuning

_GIB = 1024**3
_SMALLEST_VOLUME_GIB = 10
# Not nan or inf, which CloudWatch refuses (MetricDatum, CloudWatch API reference).
_NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
_EPOCH_METRICS = {
    "train:loss": "train_loss",
    "validation:loss": "validation_loss",
    "learning_rate": "learning_rate",
}
_CLASS_METRICS = {
    "validation:accuracy": "validation_accuracy",
    "test:accuracy": "test_accuracy",
    "test:roc_auc": "test_roc_auc",
    "test:log_loss": "test_log_loss",
}
_REGRESSION_METRICS = {
    "validation:rmse": "validation_rmse",
    "test:rmse": "test_rmse",
    "test:mae": "test_mae",
    "test:r2": "test_r2",
}


def skip_drop(arrived: DatasetArrived, objects: tuple[StoredObject, ...], verdict_exists: bool) -> Skip | None:
    """Why this event needs no look at the data; None if it does.

    Every object's event is delayed by the queue, so that when the event of a drop's last object is handled, all of
    the drop is there. That event decides, and the others step aside: no clock is compared, and of ten copies in any
    order all come to the same. LastModified counts whole seconds, so the key breaks ties.
    """
    key = arrived.key
    if arrived.marker:
        return Skip(f"{key} is an empty folder marker, not data.")
    own = next((stored for stored in objects if stored.key == key), None)
    if own is None:
        return Skip(f"{key} is no longer there; nothing is to be trained on it.")
    if arrived.etag and own.etag.strip('"') != arrived.etag:
        return Skip(f"{key} was overwritten later; the newer object's own event will decide.")
    newest = max(objects, key=lambda stored: (stored.last_modified, stored.key))
    if newest.key != key:
        return Skip(f"{newest.key} arrived later than {key}; its own event will decide.")
    if not data_files(objects):
        return Skip(f"{key} is there without data yet; the data file's own event will decide.")
    if verdict_exists:
        version = names.dataset_version(objects)
        return Skip(f"Version {version} of {arrived.dataset} already has its verdict; each version is trained once.")
    return None


def plan_training(
    drop: Drop, serving: Serving | None, settings: Settings, asked: PipelineAsked | None = None
) -> StartTraining | StartTuning | StartPipeline | RejectDataset:
    """What becomes of a drop that skip_drop let through. `serving` is the dataset's endpoint, if it has one.

    With `asked`, a person starts a pipeline for what lies there.
    """
    try:
        _assert_in_a_folder(drop)
        table, spec = plan_dataset(drop, names.longest_dataset(settings.stack_name))
        if asked is not None:
            spec = with_pipeline(spec, asked.parameters)
        _assert_hosted(spec, settings)
        job_name = names.training_job(settings.stack_name, drop.dataset, drop.version, settings.model_code_digest)
        live = serving.endpoint if serving else None
        request = _training_job(job_name, drop, table, spec, live=live, settings=settings)
        manifest = _manifest(drop.dataset, table, settings)
        if spec.pipeline is not None:
            return plan_pipeline(request, drop, table, spec, manifest, settings, run=asked.stamp if asked else "")
        if spec.tuning is not None:
            return plan_tuning(request, drop, table, spec.tuning, manifest, settings)
    except DataRejected as error:
        return RejectDataset(reason=error.reason, dataset=drop.dataset, version=drop.version)
    return StartTraining(
        reason=(
            f"{drop.dataset} version {drop.version} is good to train on: {table.explanation} {job_name} runs on "
            f"{_fleet(request, settings.aws_region)}."
        ),
        dataset=drop.dataset,
        version=drop.version,
        job_name=job_name,
        explanation=table.explanation,
        manifest=manifest,
        request=request,
    )


def _assert_hosted(spec: JobSpec, settings: Settings) -> None:
    """Nothing is trained that could not be deployed."""
    why = kinds.refusal(spec.hosting, settings)
    if why is not None:
        raise DataRejected(f"{names.JOB_SPEC_FILE} {why}.")


def _fleet(request: Request, region: str) -> str:
    """What a job runs on and for how long at most; of several instances also the most that they can cost."""
    kind, count = request["ResourceConfig"]["InstanceType"], request["ResourceConfig"]["InstanceCount"]
    seconds = request["StoppingCondition"]["MaxRuntimeInSeconds"]
    if count == 1:
        return f"{kind} spot for at most {seconds} seconds"
    said = f"{count} x {kind} spot, which share its rows, for at most {seconds} seconds"
    try:
        most = count * seconds * prices.usd_per_hour(kind, "training", region) / prices.SECONDS_PER_HOUR
    except UnknownPrice:
        return said
    return f"{said} (at most {most:.2f} USD at the on-demand price)"


def refuse_launch(decision: StartTraining | StartTuning | StartPipeline, hold: Hold) -> HoldDataset:
    """What a good drop comes to while launches are held. It is not forgotten: its version can be dropped again."""
    return HoldDataset(
        reason=(
            f"{decision.dataset} version {decision.version} is good to train on, but waits: {hold.reason} "
            "Drop it again when that is over, or run `mlp costs resume`, which also starts what waits."
        ),
        dataset=decision.dataset,
        version=decision.version,
        period=hold.period,
    )


def _assert_in_a_folder(drop: Drop) -> None:
    for stored in drop.objects:
        name = stored.key.removeprefix(names.DATASETS_PREFIX)
        if "/" not in name:
            raise DataRejected(
                f"{stored.key} lies directly under {names.DATASETS_PREFIX}; put it in a folder named after the "
                f"dataset, such as {names.DATASETS_PREFIX}my-data/{name}."
            )


def _manifest(dataset: str, table: Table, settings: Settings) -> str:
    """The S3 manifest that pins the job's files (S3DataSource, SageMaker API reference): a prefix, then names."""
    prefix = f"{names.DATASETS_PREFIX}{dataset}/"
    files = [key.removeprefix(prefix) for key in table.files]
    return json.dumps([{"prefix": f"s3://{settings.data_bucket}/{prefix}"}, *files])


def _training_job(
    job_name: str, drop: Drop, table: Table, spec: JobSpec, *, live: Endpoint | None, settings: Settings
) -> Request:
    """CreateTrainingJob. Its members and limits: SageMaker API reference, CreateTrainingJob and StoppingCondition."""
    instance_type = spec.instance_type or settings.training_instance_type
    artifacts = f"s3://{settings.artifact_bucket}"
    checkpoints = names.checkpoint_prefix(drop.dataset, drop.version, settings.model_code_digest)
    channels = [
        _channel("dataset", "ManifestFile", f"{artifacts}/{names.manifest_key(drop.dataset, drop.version)}", "text/csv")
    ]
    if live and live.artifact_uri:
        # The new model has to beat the live one on the new test rows, so the job gets to score it.
        channels.append(_channel("live_model", "S3Prefix", live.artifact_uri, "application/x-tar"))
    return {
        "TrainingJobName": job_name,
        "AlgorithmSpecification": {
            "TrainingImage": containers.training_image(settings.aws_region, instance_type),
            "TrainingInputMode": "File",
            "EnableSageMakerMetricsTimeSeries": True,
            "MetricDefinitions": metric_definitions(table.task),
        },
        "RoleArn": settings.training_role_arn,
        "HyperParameters": _hyperparameters(job_name, table, spec, settings),
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": f"{artifacts}/training-output/"},
        "ResourceConfig": {
            "InstanceType": instance_type,
            "InstanceCount": spec.instance_count,
            "VolumeSizeInGB": _volume_gib(drop),
        },
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": f"{artifacts}/{checkpoints}", "LocalPath": "/opt/ml/checkpoints"},
        "StoppingCondition": {
            "MaxRuntimeInSeconds": settings.training_max_runtime_seconds,
            "MaxWaitTimeInSeconds": settings.training_max_wait_seconds,
        },
        # Covers SageMaker's own InternalServerError only, within the same runtime and wait limits.
        "RetryStrategy": {"MaximumRetryAttempts": 2},
        "EnableInterContainerTrafficEncryption": spec.instance_count > 1,
        # The training toolkit fetches the code from S3 inside the container, which isolation would forbid.
        "EnableNetworkIsolation": False,
        **settings.vpc_config,
        "Tags": names.tag_list(
            names.tags(settings.required_tags, stack=settings.stack_name, dataset=drop.dataset)
            | {names.VERSION_TAG: drop.version}
            | names.hosting_tag(spec.hosting)
            | ({names.APPROVAL_TAG: "manual"} if spec.ask_approval else {})
        ),
    }


def _channel(name: str, kind: str, uri: str, content_type: str) -> dict[str, Any]:
    """Every instance gets every file. A drop is one file, or one per split: sharded by key, most would get none."""
    return {
        "ChannelName": name,
        "ContentType": content_type,
        "CompressionType": "None",
        "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}},
    }


def _volume_gib(drop: Drop) -> int:
    """The files, unpacked if they are compressed, and checkpoints. Types with a disk of their own ignore it."""
    stored_bytes = sum(stored.size_bytes for stored in drop.objects)
    return _SMALLEST_VOLUME_GIB + math.ceil(10 * stored_bytes / _GIB)


def metric_definitions(task: Task) -> list[dict[str, str]]:
    """`train.py` prints `name=value` pairs; SageMaker reads them from the log by these expressions."""
    metrics = _EPOCH_METRICS | (_REGRESSION_METRICS if task is Task.REGRESSION else _CLASS_METRICS)
    return [{"Name": name, "Regex": rf"(?:^|\s){printed}={_NUMBER}"} for name, printed in metrics.items()]


def _hyperparameters(job_name: str, table: Table, spec: JobSpec, settings: Settings) -> dict[str, str]:
    """Script arguments, and those of the training toolkit (github.com/aws/sagemaker-training-toolkit), read as JSON.

    The toolkit reads the script's arguments as JSON too where it can: `true` would arrive as `True`, so text that
    JSON could take for something else than a number is quoted.
    """
    arguments: Mapping[str, str] = {
        "label_column": str(table.label_position),
        "header": "true" if table.header else "false",
        "delimiter": table.delimiter,
        "encoding": table.encoding,
        "task": table.task.value,
        **spec.hyperparameters,
    }
    toolkit: Mapping[str, str | int | bool] = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": settings.model_code_uri,
        "sagemaker_region": settings.aws_region,
        "sagemaker_container_log_level": 20,
        "sagemaker_job_name": job_name,
    }
    if spec.instance_count > 1:
        # The script is started by torchrun, which tells the instances of one another (TorchDistributedRunner of the
        # toolkit; "Launch distributed training", SageMaker developer guide, distributed-data-parallelism).
        toolkit = {**toolkit, "sagemaker_torch_distributed_enabled": True}
    quoted = {
        name: json.dumps(value) if value in {"true", "false", "null"} else value for name, value in arguments.items()
    }
    return quoted | {name: json.dumps(value) for name, value in toolkit.items()}
