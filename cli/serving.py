"""What an endpoint serves and runs on, whatever its kind of hosting."""

from __future__ import annotations

from botocore.exceptions import ClientError

from cli.connection import Connection, is_missing
from mlplatform.facts import HostingKind
from mlplatform.kinds import kind_of


def live(connection: Connection, endpoint: str) -> tuple[str, str]:
    """The live model, which the config of most endpoints is named like, and what it runs on."""
    sagemaker = connection.sagemaker
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    variants = described.get("ProductionVariants", [])
    config = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    kind = kind_of(config)
    if kind is HostingKind.REAL_TIME:
        counts = "+".join(str(variant.get("CurrentInstanceCount", "?")) for variant in variants)
        resources = [f"endpoint/{endpoint}/variant/{variant['VariantName']}" for variant in variants]
        return described["EndpointConfigName"], f"{counts}{_bounds(connection, resources)}"
    model = config["ProductionVariants"][0].get("ModelName", "")
    if kind is HostingKind.SERVERLESS:
        size = config["ProductionVariants"][0]["ServerlessConfig"]
        return model, f"serverless, {size['MemorySizeInMB'] // 1024} GB x {size['MaxConcurrency']}"
    count = variants[0].get("CurrentInstanceCount", 0)
    resource = f"endpoint/{endpoint}/variant/{config['ProductionVariants'][0]['VariantName']}"
    if kind is HostingKind.SCALE_TO_ZERO:
        resource = f"inference-component/{endpoint}"
        model, count = _component(connection, endpoint)
    return model, f"{kind.value}, {count or 'asleep: 0'}{_bounds(connection, [resource])}"


def _component(connection: Connection, name: str) -> tuple[str, int]:
    """The model of what scales to zero, and how many copies serve; neither before it has one."""
    try:
        found = connection.sagemaker.describe_inference_component(InferenceComponentName=name)
    except ClientError as error:
        if not is_missing(error):
            raise
        return "", 0
    return found["Specification"].get("ModelName", ""), found.get("RuntimeConfig", {}).get("CurrentCopyCount", 0)


def _bounds(connection: Connection, resources: list[str]) -> str:
    targets = connection.autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=resources)[
        "ScalableTargets"
    ]
    return f" of {targets[0]['MinCapacity']}..{targets[0]['MaxCapacity']}" if targets else ", not scaled"
