"""Finds in AWS what functions have made, and ends it. Nothing is touched but what carries the stack's tag.

A name alone proves nothing: another stack's name may begin with this one's, and people name things as they like. What
can't be tagged belongs to the stack if what it is named after does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, assert_never

from mlplatform import names
from mlplatform.aws_calls import Call, is_under_way, pages, tagged_resources
from mlplatform.decisions import EndResource
from mlplatform.errors import AwsError
from mlplatform.facts import STACK_TAG, Owned, OwnedKind
from mlplatform.pipelines import DEFINITIONS

ENDPOINT_LOGS = "/aws/sagemaker/Endpoints/"
COMPONENT_LOGS = "/aws/sagemaker/InferenceComponents/"
_COMPONENT = "inference-component/"
_DIMENSIONS = {
    "scaling-target": "variant:DesiredInstanceCount",
    "component-scaling": "inference-component:DesiredCopyCount",
}


def stack_status(call: Call, stack_id: str) -> str:
    """CloudFormation's StackStatus. A deleted stack is still found by its id (DescribeStacks, API reference)."""
    return str(call("cloudformation", "describe_stacks", StackName=stack_id)["Stacks"][0]["StackStatus"])


def read_owned(call: Call, stack: str) -> tuple[Owned, ...]:
    """What is there of what the stack's functions made, in no particular order. Raises AwsError."""
    # They lag behind, so that they only confirm.
    tagged = tagged_resources(call, ["sagemaker", "cloudwatch:alarm"], {STACK_TAG: stack})
    found = [*_jobs(call, stack, tagged), *_hosting(call, stack, tagged)]
    groups = [
        (entry["ModelPackageGroupName"], entry["ModelPackageGroupArn"])
        for entry in pages(
            call, "ModelPackageGroupSummaryList", "sagemaker", "list_model_package_groups", NameContains=f"{stack}-"
        )
        if entry["ModelPackageGroupArn"] in tagged
    ]
    for group, arn in groups:
        found.append(Owned("model-package-group", group, arn=arn, tags=tagged[arn], about=group))
        found += [
            Owned(
                "model-package",
                entry["ModelPackageArn"],
                entry.get("ModelApprovalStatus", ""),
                arn=entry["ModelPackageArn"],
                created=entry.get("CreationTime"),
                tags=tagged[arn],  # a package has none of its own
                about=group,
                description=entry.get("ModelPackageDescription", ""),
            )
            for entry in pages(
                call, "ModelPackageSummaryList", "sagemaker", "list_model_packages", ModelPackageGroupName=group
            )
        ]
    # An endpoint and the group of its models have one name, and so has the log.
    owners = {one.name for one in found if one.kind in ("endpoint", "model-package-group")}
    found += _logs(call, stack, owners)
    found += _alarms(call, stack, tagged)
    if _is_there(call, "ssm", "get_parameter", Name=names.slack_webhook(stack)):
        found.append(Owned("parameter", names.slack_webhook(stack)))
    return tuple(found)


def running_configs(call: Call, endpoints: Iterable[str]) -> frozenset[str]:
    """Names of the configs that these endpoints run with, and of their models; no list tells them. Raises AwsError."""
    found: set[str] = set()
    for endpoint in endpoints:
        try:
            config = call("sagemaker", "describe_endpoint", EndpointName=endpoint).get("EndpointConfigName")
            if config is None:
                continue
            found.add(config)
            described = call("sagemaker", "describe_endpoint_config", EndpointConfigName=config)
        except AwsError as error:
            if not _gone(error):
                raise
            continue
        models = {one["ModelName"] for one in described["ProductionVariants"] if "ModelName" in one}
        found |= models or _components_model(call, endpoint)
    return frozenset(found)


def _components_model(call: Call, endpoint: str) -> set[str]:
    """The model of an endpoint that scales to zero, once it has one."""
    try:
        component = call("sagemaker", "describe_inference_component", InferenceComponentName=endpoint)
    except AwsError as error:
        if not _gone(error):
            raise
        return set()
    return {component["Specification"]["ModelName"]}


def end(call: Call, decision: EndResource) -> None:
    """Does it; what is gone or ending already is as it should be, and what is being changed is found by the next pass.
    Raises AwsError."""
    name = decision.name
    try:
        match decision.kind:
            case "tuning-job":
                call("sagemaker", "stop_hyper_parameter_tuning_job", HyperParameterTuningJobName=name)
            case "pipeline-execution":
                token = name[-32:].replace("/", "-").rjust(32, "0")  # the same for the same execution
                call("sagemaker", "stop_pipeline_execution", PipelineExecutionArn=name, ClientRequestToken=token)
            case "training-job":
                call("sagemaker", "stop_training_job", TrainingJobName=name)
            case "endpoint":
                call("sagemaker", "delete_endpoint", EndpointName=name)
            case "inference-component":
                call("sagemaker", "delete_inference_component", InferenceComponentName=name)
            case "scaling-target" | "component-scaling":
                call(
                    "application-autoscaling",
                    "deregister_scalable_target",
                    ServiceNamespace="sagemaker",
                    ResourceId=name,
                    ScalableDimension=f"sagemaker:{_DIMENSIONS[decision.kind]}",
                )
            case "endpoint-config":
                call("sagemaker", "delete_endpoint_config", EndpointConfigName=name)
            case "model":
                call("sagemaker", "delete_model", ModelName=name)
            case "model-package":
                call("sagemaker", "delete_model_package", ModelPackageName=name)
            case "model-package-group":
                call("sagemaker", "delete_model_package_group", ModelPackageGroupName=name)
            case "log-group":
                call("logs", "delete_log_group", logGroupName=name)
            case "alarm":
                call("cloudwatch", "delete_alarms", AlarmNames=[name])
            case "parameter":
                call("ssm", "delete_parameter", Name=name)
            case _:
                assert_never(decision.kind)
    except AwsError as error:
        if not _gone(error) and not is_under_way(error):
            raise


def _jobs(call: Call, stack: str, tagged: Mapping[str, Mapping[str, str]]) -> Iterator[Owned]:
    """Those that run: a job that ended costs nothing and can't be deleted. A pipeline's jobs are not listed here: they
    stop with its execution (StopPipelineExecution, SageMaker API reference)."""
    prefix = f"{stack}-"
    for definition in DEFINITIONS:
        try:
            executions = list(
                pages(
                    call,
                    "PipelineExecutionSummaries",
                    "sagemaker",
                    "list_pipeline_executions",
                    PipelineName=f"{prefix}{definition}",
                )
            )
        except AwsError as error:
            if not _gone(error):
                raise
            continue
        for entry in executions:
            if entry["PipelineExecutionStatus"] in ("Executing", "Stopping"):
                yield Owned("pipeline-execution", entry["PipelineExecutionArn"], entry["PipelineExecutionStatus"])
    for status in ("InProgress", "Stopping"):
        for entry in pages(
            call,
            "HyperParameterTuningJobSummaries",
            "sagemaker",
            "list_hyper_parameter_tuning_jobs",
            StatusEquals=status,
            NameContains=prefix,
        ):
            if entry["HyperParameterTuningJobArn"] in tagged:
                yield Owned("tuning-job", entry["HyperParameterTuningJobName"], status)
        for entry in pages(
            call, "TrainingJobSummaries", "sagemaker", "list_training_jobs", StatusEquals=status, NameContains=prefix
        ):
            if entry["TrainingJobArn"] in tagged:
                yield Owned("training-job", entry["TrainingJobName"], status)


def _hosting(call: Call, stack: str, tagged: Mapping[str, Mapping[str, str]]) -> Iterator[Owned]:
    prefix = f"{stack}-"
    endpoints: dict[str, Mapping[str, str]] = {}
    for entry in pages(call, "Endpoints", "sagemaker", "list_endpoints", NameContains=prefix):
        if (arn := entry["EndpointArn"]) in tagged:
            name = entry["EndpointName"]
            endpoints[name] = tagged[arn]
            yield Owned("endpoint", name, entry["EndpointStatus"], arn, entry["CreationTime"], tagged[arn], name)
    for entry in pages(call, "InferenceComponents", "sagemaker", "list_inference_components", NameContains=prefix):
        arn, name, about = entry["InferenceComponentArn"], entry["InferenceComponentName"], entry["EndpointName"]
        # Its endpoint's is the stack's: that the tagging service lists components is not certain, and one that is
        # left keeps its endpoint, and with that the stack, from being deleted.
        if (tags := tagged.get(arn) or endpoints.get(about)) is not None:
            status, created = entry["InferenceComponentStatus"], entry["CreationTime"]
            yield Owned("inference-component", name, status, arn, created, tags, about)
    for entry in pages(call, "EndpointConfigs", "sagemaker", "list_endpoint_configs", NameContains=prefix):
        if (arn := entry["EndpointConfigArn"]) in tagged:
            yield Owned("endpoint-config", entry["EndpointConfigName"], "", arn, entry["CreationTime"], tagged[arn])
    for entry in pages(call, "Models", "sagemaker", "list_models", NameContains=prefix):
        if (arn := entry["ModelArn"]) in tagged:
            yield Owned("model", entry["ModelName"], "", arn, entry["CreationTime"], tagged[arn])
    for entry in pages(
        call,
        "ScalableTargets",
        "application-autoscaling",
        "describe_scalable_targets",
        ServiceNamespace="sagemaker",
    ):
        # Gone with its endpoint as a rule; asked for its own tags, since nothing else is left to tell whose it was.
        resource, arn = entry["ResourceId"], entry.get("ScalableTargetARN", "")
        if resource.startswith((f"endpoint/{prefix}", f"{_COMPONENT}{prefix}")):
            kind: OwnedKind = "component-scaling" if resource.startswith(_COMPONENT) else "scaling-target"
            tags = call("application-autoscaling", "list_tags_for_resource", ResourceARN=arn)["Tags"]
            if tags.get(STACK_TAG) == stack:
                yield Owned(kind, resource, "", arn, entry["CreationTime"], tags, resource.split("/")[1])


def _logs(call: Call, stack: str, owners: set[str]) -> Iterator[Owned]:
    """SageMaker makes an endpoint's log group without tags; training logs lie in a group of the whole account's."""
    for kind in (ENDPOINT_LOGS, COMPONENT_LOGS):
        token: dict[str, str] = {}
        while True:
            page = call("logs", "describe_log_groups", logGroupNamePrefix=f"{kind}{stack}-", **token)
            for group in page["logGroups"]:
                about = group["logGroupName"].removeprefix(kind)
                if names.bare(about) in owners:
                    created = datetime.fromtimestamp(group["creationTime"] / 1000, UTC)
                    yield Owned("log-group", group["logGroupName"], created=created, about=about)
            if not page.get("nextToken"):
                break
            token = {"nextToken": page["nextToken"]}


def _alarms(call: Call, stack: str, tagged: Mapping[str, Mapping[str, str]]) -> Iterator[Owned]:
    """CloudFormation's own alarms lack the tag; those of target tracking go with their policy."""
    for entry in pages(call, "MetricAlarms", "cloudwatch", "describe_alarms", AlarmNamePrefix=f"{stack}-"):
        if (arn := entry["AlarmArn"]) in tagged:
            scopes = ("EndpointName", "InferenceComponentName")  # a component has its endpoint's name
            endpoints = [one["Value"] for one in entry.get("Dimensions", ()) if one["Name"] in scopes]
            about = endpoints[0] if endpoints else ""
            yield Owned("alarm", entry["AlarmName"], arn=arn, tags=tagged[arn], about=about)


def _is_there(call: Call, service: str, operation: str, **parameters: Any) -> bool:
    try:
        call(service, operation, **parameters)
    except AwsError as error:
        if _gone(error):
            return False
        raise
    return True


def _gone(error: AwsError) -> bool:
    """SageMaker says ValidationException for what is gone, and for a job that ended before it could be stopped: "The
    request was rejected because the training job is in status Stopped." (github.com/awslabs/benchmark-ai/issues/928).
    """
    if error.code in {"ResourceNotFound", "ResourceNotFoundException", "ObjectNotFoundException", "ParameterNotFound"}:
        return True
    text = error.aws_message.lower()
    refused = error.code in {"ValidationException", "ValidationError"}
    return refused and any(words in text for words in ("could not find", "not found", "does not exist", "is in status"))
