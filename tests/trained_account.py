"""An account in which models were trained: jobs that ended and their artifacts, and what deploy-model made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import builders
from builders import JOB, LIVE_JOB, Account
from deploy_model import deploy_model
from mlplatform import events, names
from mlplatform.decisions import Decision, DeployModel

ARTIFACTS = "ml-platform-artifacts"


def train(
    account: Account, name: str = JOB, *, metrics: Mapping[str, Any] | None = None, live: str = "", **described: Any
) -> None:
    """A job that ended, and its artifact. moto calls every job Completed; `described` says what else it was."""
    output = f"s3://{ARTIFACTS}/training-output/"
    channels = [{"ChannelName": "dataset", "DataSource": _s3("ManifestFile", f"s3://{ARTIFACTS}/manifests/m.json")}]
    if live:
        channels.append({"ChannelName": "live_model", "DataSource": _s3("S3Prefix", live)})
    account.client("sagemaker").create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        RoleArn=account.settings.training_role_arn,
        InputDataConfig=channels,
        OutputDataConfig={"S3OutputPath": output},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
        EnableManagedSpotTraining=True,
        Tags=names.tag_list(
            names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn")
            | {names.VERSION_TAG: name.split("-")[-2]}
        ),
    )
    account.put(f"training-output/{name}/output/model.tar.gz", builders.model_archive(metrics), ARTIFACTS)

    def describe(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        if not parameters["TrainingJobName"].startswith("ml-platform-"):
            return None
        found = account.client("sagemaker").describe_training_job(TrainingJobName=parameters["TrainingJobName"])
        own = f"{output}{parameters['TrainingJobName']}/output/model.tar.gz"
        more = described if parameters["TrainingJobName"] == name else {}
        return found | {"ModelArtifacts": {"S3ModelArtifacts": own}} | more  # type: ignore[no-any-return]

    account.answers["describe_training_job"] = describe


def _s3(kind: str, uri: str) -> dict[str, Any]:
    return {"S3DataSource": {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}}


def end(account: Account, name: str = JOB, status: str = "Completed") -> Decision:
    event = builders.sample_event("sagemaker_training_job_state_change")
    event["detail"] |= {"TrainingJobName": name, "TrainingJobStatus": status}
    return deploy_model(account.app(), events.training_ended(event))


def packages(account: Account) -> list[dict[str, Any]]:
    sagemaker = account.client("sagemaker")
    summaries = sagemaker.list_model_packages(ModelPackageGroupName="ml-platform-churn")["ModelPackageSummaryList"]
    return [sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"]) for summary in summaries]


def endpoint(account: Account) -> dict[str, Any]:
    return account.client("sagemaker").describe_endpoint(EndpointName="ml-platform-churn")  # type: ignore[no-any-return]


def endpoint_tags(account: Account) -> dict[str, str]:
    found = account.client("sagemaker").list_tags(ResourceArn=endpoint(account)["EndpointArn"])["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


def deploy_first(account: Account) -> str:
    """A live model; returns where its artifact is."""
    train(account, LIVE_JOB)
    assert isinstance(end(account, LIVE_JOB), DeployModel)
    return f"s3://{ARTIFACTS}/training-output/{LIVE_JOB}/output/model.tar.gz"


def better_than(live: float) -> dict[str, Any]:
    return builders.metrics_json(live={"rows": 8, "roc_auc": live})
