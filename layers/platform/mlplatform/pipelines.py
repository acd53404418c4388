"""The stack's SageMaker Pipelines: their definitions, the execution that a drop gets, and what comes of it.

The definitions lie in definitions/ beside this module, written by the SageMaker SDK (pipeline/ of the repository), and
are the same for every stack. publish-model-code puts them in S3 with the stack's own values for STACK_DEFAULTS, where
the template's AWS::SageMaker::Pipeline resources find them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlplatform import algorithms, containers, names, prices, registry
from mlplatform.decisions import Notify, RecordLineage, Request, Skip, StartPipeline
from mlplatform.errors import UnknownPrice
from mlplatform.facts import (
    Approval,
    Drop,
    JobSpec,
    PipelineRun,
    Table,
    Task,
    TrainingJob,
)
from mlplatform.settings import Settings

# definition -> what trains in it
DEFINITIONS: Mapping[str, tuple[str, ...]] = {
    "pytorch": ("pytorch",),
    "xgboost": ("xgboost",),
    "xgboost-multiclass": ("xgboost",),
    "auto": ("xgboost", "pytorch"),
    "auto-multiclass": ("xgboost", "pytorch"),
}
APPROVALS = (Approval.PENDING.value, Approval.APPROVED.value)  # what ApprovalStatus may be; the first is the default
NO_LIVE_MODEL = "source/requirements.txt"  # of the code: stands for a live model's artifact where nothing is live
NOTHING = "none"  # SageMaker takes no empty value for a parameter
PROCESSING_INSTANCE_TYPE = "ml.t3.medium"  # new accounts have a quota for it, unlike for ml.m5
# With 4, 16, 64 and 384 GiB of memory; and up to how many GiB of text each takes.
_PROCESSING_TYPES = (
    (PROCESSING_INSTANCE_TYPE, 1.0),
    ("ml.m5.xlarge", 5.0),
    ("ml.m5.4xlarge", 25.0),
    ("ml.m5.24xlarge", math.inf),
)
_PACKED = (".gz", ".parquet")
_UNPACKED = 10  # bytes of text in one of those, at most as a rule

# Parameters whose default is the stack's own; no URI here is one of a real bucket.
STACK_DEFAULTS: Mapping[str, str | int | float] = {
    "Stack": "ml-platform",
    "Project": "ml-platform",
    "Environment": "dev",
    "CostCenter": "machine-learning",
    "Owner": "ml-team",
    "Region": "us-east-1",
    "ArtifactsUri": "s3://artifacts",
    "CodeUri": "s3://artifacts/code/digest",
    "TrainingRoleArn": "arn:aws:iam::111122223333:role/training",
    "TrainingImage": containers.training_image("us-east-1", "ml.m5.xlarge"),
    "XgboostImage": containers.xgboost_image("us-east-1"),
    "InferenceImage": containers.inference_image("us-east-1", "ml.c5.large"),
    "TrainingInstanceType": "ml.m5.xlarge",
    "ProcessingInstanceType": PROCESSING_INSTANCE_TYPE,
    "InferenceInstanceType": "ml.c5.large",
    "TrainingMaxRuntimeSeconds": 3600,
    "TrainingMaxWaitSeconds": 7200,
    "LiveModelUri": f"s3://artifacts/code/digest/{NO_LIVE_MODEL}",
    "ManifestUri": "s3://artifacts/manifests/none.json",
}
# Parameters that every execution gives. An empty text is none that SageMaker takes.
RUN_DEFAULTS: Mapping[str, str | int | float] = {
    "Dataset": NOTHING,
    "DatasetVersion": NOTHING,
    "ModelName": NOTHING,
    "CheckpointName": NOTHING,
    "Hosting": NOTHING,  # the tag, names.hosting_tag
    "LabelColumn": 0,
    "Header": "true",
    "Delimiter": "comma",
    "Encoding": "utf-8",
    "Task": "binary",
    "Seed": 42,  # of the split, which every step has to make alike, and of what trains
    "LeastScore": 0.5,
    "Hyperparameters": '"{}"',  # of train.py: the JSON text of the JSON text of an object, see wishes_value
    "TrainingUsdPerHour": 0.0,
    "VolumeGib": 10,
}


def path(definition: str) -> Path:
    return Path(__file__).with_name("definitions") / f"{definition}.json"


def pipeline_name(stack: str, definition: str) -> str:
    return f"{stack}-{definition}"


def parameter(hyperparameter: str) -> str:
    """How a hyperparameter is called as a pipeline's parameter: `max_depth` is MaxDepth."""
    return "".join(part.capitalize() for part in hyperparameter.split("_"))


def stack_values(settings: Settings, code_uri: str) -> dict[str, str | int | float]:
    """STACK_DEFAULTS of one stack. `code_uri` is the folder that the model code is published in."""
    region, training, hosting = settings.aws_region, settings.training_instance_type, settings.hosting_instance_type
    artifacts = f"s3://{settings.artifact_bucket}"
    return {
        "Stack": settings.stack_name,
        **settings.required_tags,
        "Region": region,
        "ArtifactsUri": artifacts,
        "CodeUri": code_uri,
        "TrainingRoleArn": settings.training_role_arn,
        "TrainingImage": containers.training_image(region, training),
        "XgboostImage": containers.xgboost_image(region),
        "InferenceImage": containers.inference_image(region, hosting),
        "TrainingInstanceType": training,
        "ProcessingInstanceType": PROCESSING_INSTANCE_TYPE,
        "InferenceInstanceType": hosting,
        "TrainingMaxRuntimeSeconds": settings.training_max_runtime_seconds,
        "TrainingMaxWaitSeconds": settings.training_max_wait_seconds,
        "LiveModelUri": f"{code_uri}/{NO_LIVE_MODEL}",
        "ManifestUri": f"{artifacts}/manifests/none.json",
    }


def published_definitions(settings: Settings, code_uri: str) -> dict[str, str]:
    """Every definition's JSON as the stack has it, by its name."""
    return {name: published(path(name).read_text(encoding="utf-8"), settings, code_uri) for name in DEFINITIONS}


def published(text: str, settings: Settings, code_uri: str) -> str:
    """A definition's JSON with the stack's own defaults, jobs whose names begin with the stack's, and its network."""
    definition: dict[str, Any] = json.loads(text)
    values = stack_values(settings, code_uri)
    for one in definition["Parameters"]:
        one["DefaultValue"] = values.get(one["Name"], one["DefaultValue"])
    start = f"{STACK_DEFAULTS['Stack']}-"
    for step in definition["Steps"]:
        for member in ("ProcessingJobName", "TrainingJobName"):
            if member in step["Arguments"]:
                step["Arguments"][member] = f"{settings.stack_name}-{step['Arguments'][member].removeprefix(start)}"
        if step["Type"] == "Training":
            step["Arguments"] |= settings.vpc_config
        elif step["Type"] == "Processing" and settings.vpc_config:
            step["Arguments"]["NetworkConfig"] = {**step["Arguments"].get("NetworkConfig", {}), **settings.vpc_config}
    return json.dumps(definition)


# ---- a drop ----


def definition_for(algorithm: str, task: Task) -> str:
    """Which definition trains that way."""
    return f"{algorithm}-multiclass" if algorithm != algorithms.PYTORCH and task is Task.MULTICLASS else algorithm


def plan_pipeline(
    job: Request, drop: Drop, table: Table, spec: JobSpec, manifest: str, settings: Settings, *, run: str = ""
) -> StartPipeline:
    """The execution for a drop that is good to train on. `job` is the training job that it would get otherwise.

    `run` tells a person's repetition from the drop's own execution, and is in the name.
    """
    stack, dataset, code = settings.stack_name, drop.dataset, settings.model_code_digest
    definition = definition_for(spec.algorithm, table.task)
    token = _digest(f"{drop.version} {run}")[: len(drop.version)] if run else drop.version
    name = names.training_job(stack, dataset, token, code)
    parameters = _parameters(name, job, drop, table, spec, settings)
    trains = " and ".join(DEFINITIONS[definition])
    request = {
        "PipelineName": pipeline_name(stack, definition),
        "PipelineExecutionDisplayName": name,
        "PipelineExecutionDescription": f"Dataset {dataset}, version {drop.version}",
        "PipelineParameters": [{"Name": key, "Value": value} for key, value in parameters.items()],
        # The same version and code ask with the same token, whichever copy of an event it is.
        "ClientRequestToken": _digest(name),
    }
    return StartPipeline(
        reason=(
            f"{dataset} version {drop.version} is good to train on: {table.explanation} {name}, an execution of the "
            f"pipeline {request['PipelineName']}, trains {trains} on {parameters['TrainingInstanceType']} spot."
        ),
        dataset=dataset,
        version=drop.version,
        job_name=name,
        explanation=table.explanation,
        manifest=manifest,
        group={
            "ModelPackageGroupName": names.endpoint(stack, dataset),
            "ModelPackageGroupDescription": f"Models trained on the dataset {dataset}",
            "Tags": names.tag_list(names.tags(settings.required_tags, stack=stack, dataset=dataset)),
        },
        request=request,
        verdict=not run,
    )


def _parameters(name: str, job: Request, drop: Drop, table: Table, spec: JobSpec, settings: Settings) -> dict[str, str]:
    """What this execution is given; everything else has the stack's default."""
    resources, channels = job["ResourceConfig"], {one["ChannelName"]: one for one in job["InputDataConfig"]}
    uris = {name: one["DataSource"]["S3DataSource"]["S3Uri"] for name, one in channels.items()}
    hosting = names.hosting_tag(spec.hosting).get(names.HOSTING_TAG, NOTHING)
    host = str(spec.hosting.get("instance_type", settings.hosting_instance_type))
    code, region = settings.model_code_digest, settings.aws_region
    made_of = json.dumps([drop.version, code, table.label_position, table.task, spec.hyperparameters], sort_keys=True)
    known: dict[str, str] = {
        "Dataset": drop.dataset,
        "DatasetVersion": drop.version,
        "ModelName": name,
        # What a step may go on from: the same rows, code and hyperparameters, whichever execution it is.
        "CheckpointName": f"{drop.version}-{_digest(made_of)[:12]}",
        "ManifestUri": uris["dataset"],
        "CodeUri": settings.model_code_uri.rpartition("/")[0],
        "LabelColumn": str(table.label_position),
        "Header": "true" if table.header else "false",
        "Delimiter": table.delimiter,
        "Encoding": table.encoding,
        "Task": table.task.value,
        "Seed": spec.hyperparameters.get("seed", str(RUN_DEFAULTS["Seed"])),
        "LeastScore": "0" if table.task is Task.REGRESSION else "0.5",
        "Hosting": hosting,
        "VolumeGib": str(resources["VolumeSizeInGB"]),
        "ProcessingInstanceType": _processing_type(drop),
        "TrainingInstanceType": resources["InstanceType"],
        "TrainingImage": containers.training_image(region, resources["InstanceType"]),
        "TrainingUsdPerHour": _usd_per_hour(resources["InstanceType"], region),
        "InferenceInstanceType": host,
        "InferenceImage": containers.inference_image(region, host),
    }
    if "live_model" in uris:
        known["LiveModelUri"] = uris["live_model"]
    if "xgboost" in DEFINITIONS[definition_for(spec.algorithm, table.task)]:
        wishes = algorithms.xgboost_hyperparameters(table.task, spec.hyperparameters)
        known |= {parameter(hyperparameter): value for hyperparameter, value in wishes.items()}
    if spec.algorithm != algorithms.XGBOOST and spec.hyperparameters:
        known["Hyperparameters"] = json.dumps(json.dumps(dict(spec.hyperparameters)))
    known["ApprovalStatus"] = (Approval.PENDING if spec.ask_approval else Approval.APPROVED).value
    return {**known, **(spec.pipeline or {})}


def _processing_type(drop: Drop) -> str:
    """The smallest type whose memory holds the data: preparing takes about twice the bytes of the text."""
    text_bytes = sum(
        stored.size_bytes * (_UNPACKED if stored.file_name.lower().endswith(_PACKED) else 1) for stored in drop.objects
    )
    return next(kind for kind, limit_gib in _PROCESSING_TYPES if text_bytes <= limit_gib * 1024**3)


def _usd_per_hour(instance_type: str, region: str) -> str:
    try:
        return str(prices.usd_per_hour(instance_type, "training", region))
    except UnknownPrice:
        return "0"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---- an execution's end ----


def plan_outcome(
    run: PipelineRun, trained: Sequence[TrainingJob], said: str | None, settings: Settings
) -> Skip | Notify | RecordLineage:
    """What is left to do when an execution has ended: a model that it registered is judged by releases.py.

    `trained` are its training jobs; `said` is what the program of a failed processing step wrote for people.
    """
    dataset = run.parameters.get("Dataset", "")
    if not run.ours(settings.stack_name):
        return Skip(f"{run.name} of {run.pipeline} is none that {settings.stack_name} started.")
    if run.status not in {"Succeeded", "Failed", "Stopped"}:
        return Skip(f"{run.name} is {run.status}, whatever the event said; the event of its end will decide.")
    registered = next((step for step in run.steps if step.kind == "RegisterModel" and step.status == "Succeeded"), None)
    if run.status == "Succeeded" and registered is not None:
        # What a definition can't leave out, although there was none of it.
        # It is told or not told (ListPipelineParametersForExecution, API reference, says neither of defaults).
        live_model = run.parameters.get("LiveModelUri", f"/{NO_LIVE_MODEL}")
        stand_ins = {"compared_with": live_model.endswith(f"/{NO_LIVE_MODEL}")}
        stand_ins["hosting"] = run.parameters.get("Hosting", NOTHING) == NOTHING
        return RecordLineage(
            f"{run.name} registered {registered.arn}; the event of that decides what becomes of the model. Written on "
            "it is what it was trained with.",
            {
                "ModelPackageArn": registered.arn,
                "CustomerMetadataProperties": registry.properties(registry.trainings(trained, settings.aws_region)),
                "CustomerMetadataPropertiesToRemove": [name for name, stands_in in stand_ins.items() if stands_in],
            },
            names.lineage_key(dataset, run.parameters.get("ModelName", run.name)),
        )
    once = names.outcome_key(dataset, run.parameters.get("ModelName", run.name))
    if run.failed is None:
        why = "was stopped" if run.status == "Stopped" else f"ended as {run.status}"
        return Notify(
            f"Pipeline execution {run.name} of {run.pipeline} {why} before there was a model.",
            f"Pipeline of {dataset} stopped",
            once,
        )
    why = said or run.failed.failure_reason or run.failure_reason or "SageMaker gave no reason"
    return Notify(
        f"Pipeline execution {run.name} of {run.pipeline} failed in its step {run.failed.name}: "
        f"{why.strip().rstrip('.')}. Nothing was deployed.",
        f"Pipeline of {dataset} failed",
        once,
    )
