"""Lambda's runtime brings its own AWS SDK, which may be older than the one that the tests run with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import older_sdk
import pytest
from botocore.awsrequest import AWSResponse
from botocore.loaders import Loader, create_loader
from botocore.session import Session

import builders
from mlplatform import capacity
from mlplatform.aws import Aws
from mlplatform.decisions import DeployModel
from mlplatform.deployment import Model, deployment
from mlplatform.quotas import fit_deployment

SAGEMAKER = "sagemaker/2017-07-24"


def taught() -> dict[str, Any]:
    """Shapes that the layer adds to whichever botocore it finds."""
    shapes: dict[str, Any] = json.loads(older_sdk.EXTRAS.read_text())["merge"]["shapes"]
    return shapes


def without_documentation(value: Any) -> Any:
    if isinstance(value, list):
        return [without_documentation(one) for one in value]
    if isinstance(value, dict):
        return {key: without_documentation(one) for key, one in value.items() if key != "documentation"}
    return value


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SageMaker's model as it was before there were instance pools, where the next session finds it first."""
    model = Loader().load_data(f"{SAGEMAKER}/service-2")
    shapes = dict(model["shapes"])
    for name, shape in taught().items():
        if "type" in shape:  # a shape of its own
            del shapes[name]
        else:
            kept = {key: one for key, one in shapes[name]["members"].items() if key not in shape["members"]}
            shapes[name] = {**shapes[name], "members": kept}
    folder = tmp_path / SAGEMAKER
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps({**model, "shapes": shapes}))
    loader = create_loader(str(tmp_path))  # sessions have one for all tests: conftest.py
    monkeypatch.setattr(
        Session,
        "_register_data_loader",
        lambda session: session._components.register_component("data_loader", loader),
    )


def test_what_the_layer_teaches_an_older_sdk_is_what_the_pinned_one_knows() -> None:
    shapes = Loader().load_data(f"{SAGEMAKER}/service-2")["shapes"]
    for name, shape in taught().items():
        known = without_documentation(shapes[name])
        if "type" not in shape:
            known = {"members": {member: known["members"][member] for member in shape["members"]}}
        assert shape == known


def test_an_older_sdk_sends_instance_pools_and_reads_them(older: None) -> None:
    """What SageMaker would get and answer, on the wire: moto refuses a variant that has pools and no type."""
    settings = builders.settings()
    model = Model("churn", builders.JOB, {"Image": "image", "ModelDataUrl": "s3://b/m"}, "")
    told = {"ml.c5.large for endpoint usage": 5, "ml.c6i.large for endpoint usage": 5}
    deploys = fit_deployment(deployment("It is good.", model, None, settings), None, told, settings)
    assert isinstance(deploys, DeployModel)
    aws, sent = Aws(settings), []

    def sagemaker(request: Any, **_: Any) -> Any:
        sent.append(json.loads(request.body))
        config = {"EndpointConfigArn": "arn:a", "EndpointConfigName": "a", **sent[0], "CreationTime": 1}
        content = {"stream": lambda: [json.dumps(config).encode()]}
        return AWSResponse(request.url, 200, {}, SimpleNamespace(**content))

    aws._client("sagemaker").meta.events.register("before-send.sagemaker.*", sagemaker)
    aws._call("sagemaker", "create_endpoint_config", **deploys.endpoint_config)
    [pooled] = sent[0]["ProductionVariants"]
    assert [one["InstanceType"] for one in pooled["InstancePools"]] == ["ml.c5.large", "ml.c6i.large"]
    read = aws.live_variant(builders.endpoint())
    assert capacity.types_of(read) == ("ml.c5.large", "ml.c6i.large")


@pytest.mark.parametrize(
    ("operation", "parameters", "refused"),
    [
        ("put_metric_alarm", {"AlarmName": "a", "EvaluationWindow": {}}, ["EvaluationWindow"]),
        ("put_metric_alarm", {"AlarmName": "a"}, []),
        ("set_alarm_state", {}, ["cloudwatch set_alarm_state was not compared with it: see older_sdk.py"]),
    ],
)
def test_requests_of_the_functions_are_held_against_an_older_sdk(
    operation: str, parameters: dict[str, Any], refused: list[str]
) -> None:
    """Every call that a test's account gets is: builders.Account."""
    assert older_sdk.unknown("cloudwatch", operation, parameters) == refused
