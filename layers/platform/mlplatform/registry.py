"""A dataset's models in SageMaker's model registry: what a package is registered with, and what it says when read.

A package's number comes from SageMaker, so that it is found again by its description, which begins with its training
job's name. What can be counted or compared is in CustomerMetadataProperties: at most 50 of them, of letters, digits,
spaces and `_.:/=+-@` (SageMaker API reference, CreateModelPackage). Full sentences go where any text may stand:
ModelPackageDescription for the gate's, ApprovalDescription for a person's.

    gate             passed, or failed
    asked            cost, suspicious, requested, tested, quota or missing (a role, a bucket or an artifact): why a
                     person was asked; only where one was. What registers a model itself, such as a pipeline, may set
                     it, to have it wait; and compared_with, hosting, training_job
    dataset, dataset_version, manifest, training_job, tuning_job, instance, code, code_digest, hp_*
                     what it was made of
    objective, test_*, live_*, compared_with
                     its metrics on the test rows, those of the model that was live on the same rows, and its artifact
    training_usd, hosting_usd_per_month, hosting
                     what it cost, what it will cost, and what job.json asked for
    approved_by, rejected_by, rolled_back_to, forced_by, forced_at, forced_because
                     what people did, as `mlp` writes it
    execution        of a pipeline, which writes it (pipeline/definitions.py)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlplatform import names
from mlplatform.decisions import Request
from mlplatform.facts import Approval, ModelCard, ModelPackage, TrainingJob
from mlplatform.settings import Settings

if TYPE_CHECKING:
    from mlplatform.model_cost import HostingCost

PROPERTIES_LIMIT = 50
JUDGED = "judged"  # a property of a package: the stamp of the change because of which it was judged
_DESCRIPTION_LIMIT = 1024
_VALUE_LIMIT = 256
_KEY_LIMIT = 128
_GATE_SAID = "The gate said: "
# \w has the letters and digits of all languages, as \p{L} and \p{N} have.
_NOT_IN_A_VALUE = re.compile(r"[^\w \u00a0.:/=+\-@]")
_MODEL_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def package_request(
    job: TrainingJob,
    card: ModelCard,
    container: Request,
    *,
    approval: Approval,
    reason: str,
    cost: HostingCost,
    asked: str = "",
    settings: Settings,
) -> Request:
    """CreateModelPackage for a judged model. The group carries the tags of all its packages."""
    dataset = job.dataset or ""
    instance_type = names.hosting_wishes(job.tags).get("instance_type", settings.hosting_instance_type)
    card_uri = f"s3://{settings.artifact_bucket}/{names.model_card_prefix(dataset, job.name)}metrics.json"
    known = {"gate": "failed" if approval is Approval.REJECTED else "passed", "asked": asked}
    known |= _lineage(job, card, cost, settings)
    return {
        "ModelPackageGroupName": names.endpoint(settings.stack_name, dataset),
        "ModelPackageDescription": one_line(f"{package_description(job.name)} {reason}"),
        # The same job asks with the same token, should two copies of its event be handled at once.
        "ClientToken": hashlib.sha256(job.name.encode()).hexdigest()[:36],
        "ModelApprovalStatus": approval.value,
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json", "text/csv"],
            "SupportedResponseMIMETypes": ["application/json", "text/csv"],
            "SupportedRealtimeInferenceInstanceTypes": [instance_type],
        },
        "ModelMetrics": {"ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": card_uri}}},
        "MetadataProperties": {"GeneratedBy": job.arn},
        "CustomerMetadataProperties": properties(known),
    }


def _lineage(job: TrainingJob, card: ModelCard, cost: HostingCost, settings: Settings) -> dict[str, str]:
    dataset, version = job.dataset or "", job.tags.get(names.VERSION_TAG, "")
    code = job.hyperparameters.get("sagemaker_submit_directory", "").strip('"')
    return {
        "dataset": dataset,
        "dataset_version": version,
        "manifest": f"s3://{settings.artifact_bucket}/{names.manifest_key(dataset, version)}",
        "training_job": job.name,
        "tuning_job": job.tuning or "",
        "code": code,
        "code_digest": code.rsplit("/", 2)[-2] if code.count("/") > 2 else "",
        **findings(card, cost),
        "compared_with": job.inputs.get("live_model", ""),
        "hosting": job.tags.get(names.HOSTING_TAG, ""),
        **trainings([job], settings.aws_region),
    }


def trainings(jobs: Sequence[TrainingJob], region: str) -> dict[str, str]:
    """What trained a model, with what and for how much; of a pipeline that trained two and took one, both."""
    from mlplatform.model_cost import training_usd  # most functions know models by their names alone

    billed = [usd for job in jobs if (usd := training_usd(job, region)) is not None]
    machines = [f"{job.instance_count} x {job.instance_type}{' spot' if job.spot else ''}" for job in jobs]
    return {
        "instance": " and ".join(dict.fromkeys(machines)),
        "training_usd": f"{sum(billed):.4f}" if billed else "",
        **{
            f"hp_{name}": value.strip('"')
            for job in jobs
            for name, value in sorted(job.hyperparameters.items())
            if not name.startswith(("sagemaker_", names.OF_SAGEMAKER))
        },
    }


def findings(card: ModelCard, cost: HostingCost) -> dict[str, str]:
    """What the gate looks at."""
    metrics = card.metrics
    return {
        "objective": metrics.objective,
        **{f"test_{name}": f"{value:.6f}" for name, value in metrics.test.items() if name != "rows"},
        **{f"live_{name}": f"{value:.6f}" for name, value in (metrics.live or {}).items() if name != "rows"},
        "hosting_usd_per_month": "" if cost.usd_per_month is None else f"{cost.usd_per_month:.2f}",
    }


def properties(values: Mapping[str, str]) -> dict[str, str]:
    """As CustomerMetadataProperties takes them: what is empty is left out, what it forbids becomes a space."""
    fitting = {
        _NOT_IN_A_VALUE.sub(" ", key)[:_KEY_LIMIT]: _NOT_IN_A_VALUE.sub(" ", value)[:_VALUE_LIMIT].strip()
        for key, value in values.items()
    }
    return dict([pair for pair in fitting.items() if pair[1]][: PROPERTIES_LIMIT - 8])  # 8 for what people add


def judgement(
    package_arn: str, found: Mapping[str, str], stamp: str, *, passed: bool, asked: str = ""
) -> dict[str, Any]:
    """UpdateModelPackage for what something else registered, and the gate then judged: what it found, and because of
    which change of the package."""
    known = {"gate": "passed" if passed else "failed", JUDGED: stamp, "asked": asked, **found}
    return {"ModelPackageArn": package_arn, "CustomerMetadataProperties": properties(known)}


def verdict(
    package_arn: str, found: Mapping[str, str], stamp: str, approval: Approval, reason: str, asked: str = ""
) -> Request:
    """The same where the approval changes too."""
    return {
        **judgement(package_arn, found, stamp, passed=approval is not Approval.REJECTED, asked=asked),
        "ModelApprovalStatus": approval.value,
        "ApprovalDescription": one_line(reason),
    }


def waits(package_arn: str, known: Mapping[str, str], reason: str) -> Request:
    """UpdateModelPackage for a good model that a person is to approve after all."""
    return {
        "ModelPackageArn": package_arn,
        "CustomerMetadataProperties": properties(known),
        "ModelApprovalStatus": Approval.PENDING.value,
        "ApprovalDescription": one_line(reason),
    }


def one_line(text: str) -> str:
    """As ApprovalDescription takes it: at most 1024 characters, and no line breaks."""
    return " ".join(text.split())[:_DESCRIPTION_LIMIT]


def package_description(job_name: str) -> str:
    """How ListModelPackages tells a job's package: packages have numbers, not names."""
    return f"Trained by {job_name}."


def model_name(package: ModelPackage) -> str:
    """The name of the model and of the endpoint config that serve a package: its training job's, if that is ours."""
    job = package.properties.get("training_job", "")
    tuning = package.properties.get("tuning_job", "")  # whose trials have its name, with little of the dataset's
    trial = names.is_tuning_job(tuning) and package.group.startswith(names.tuned_for(tuning))
    own = job.startswith((f"{package.group}-", *([f"{tuning}-"] if trial else []))) and _MODEL_NAME.fullmatch(job)
    return job if own else names.package_model(package.group, package.version)


def gate_said(package: ModelPackage) -> str:
    """The gate's finding: in the description of what it registered itself, else in what it said when it judged."""
    begins, _, own = package.description.partition(". ")
    if own or not package.description.startswith("Trained by "):
        return own if begins.startswith("Trained by ") else package.description
    answered = {"approved_by", "rejected_by"} & set(package.properties)
    before, _, kept = package.approval_description.partition(_GATE_SAID)
    return kept or ("" if answered else before)


def person_said(package: ModelPackage) -> str:
    """The words of who approved or rejected it last."""
    return package.approval_description.partition(_GATE_SAID)[0].strip()


def answer(reason: str, package: ModelPackage) -> str:
    """A person's ApprovalDescription: it takes the place of the gate's, which is kept where it stands nowhere else."""
    gate = gate_said(package)
    kept = f"{_GATE_SAID}{gate}" if gate and gate not in package.description else ""
    return one_line(f"{reason} {kept}")


def passed_gate(package: ModelPackage) -> bool:
    """Also true of what was registered by others, whose gate is theirs."""
    return package.properties.get("gate") != "failed"


def dataset_of(group: str, stack: str) -> str | None:
    """The dataset of a model package group; None where it is none of the stack's."""
    dataset = group.removeprefix(f"{stack}-")
    return dataset if group != dataset and names.is_dataset(stack, dataset) else None


def spoken(package_arn: str, stack: str) -> str:
    """How people and `mlp` call a package: `churn/3`."""
    return package_arn.rsplit("model-package/", 1)[-1].removeprefix(f"{stack}-")
