"""job.json is read strictly: a wish that can't be met is refused by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import botocore
import pytest

from mlplatform import instances
from mlplatform.errors import DataRejected
from mlplatform.facts import JobSpec, Task
from mlplatform.job_spec import parse_job_spec


def test_every_wish_is_taken_over() -> None:
    wishes = {
        "label": " diagnosis ",
        "task": "binary",
        "algorithm": "pytorch",
        "hyperparameters": {"epochs": 20, "learning_rate": 0.001, "dropout": 0, "seed": 7},
        "instance_type": "ml.m5.2xlarge",
        "instance_count": 1,
        "hosting": {
            "instance_type": "ml.c5.large",
            "min_instances": 1,
            "max_instances": 3,
            "invocations_per_instance": 500,
        },
    }
    assert parse_job_spec(json.dumps(wishes).encode("utf-8-sig")) == JobSpec(
        label="diagnosis",
        task=Task.BINARY,
        hyperparameters={"epochs": "20", "learning_rate": "0.001", "dropout": "0", "seed": "7"},
        instance_type="ml.m5.2xlarge",
        hosting=wishes["hosting"],  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("content", [None, b"{}"])
def test_no_wish_is_the_default(content: bytes | None) -> None:
    assert parse_job_spec(content) == JobSpec()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not valid JSON: expecting value at line 1, column 1"),
        (b'{"label": }', "at line 1, column 11"),
        (b"\xff{}", "is not UTF-8 text (byte 1"),
        (b"[1]", "holds [1]; it must be an object"),
        (b'{"label": "a", "label": "b"}', "has the key 'label' twice"),
        (b'{"hyperparameters": {"dropout": NaN}}', "holds NaN"),
        (b'{"label": "\\ud800"}', "holds a value that cannot be used"),
        (b'{"seed": ' + b"1" * 5000 + b"}", "holds a value that cannot be used"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_a_json_object_is_refused(content: bytes, said: str) -> None:
    assert said in refused(content)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"lable": "y"}, "the unknown key 'lable'; the keys are label, task, algorithm, hyperparameters"),
        ({"lable": "y"}, 'did you mean "label"?'),
        ({"label": 1.5}, "has 1.5 as 'label'"),
        ({"label": True}, "has true as 'label'"),
        ({"label": None}, "has null as 'label'"),
        ({"label": "  "}, "has an empty 'label'"),
        ({"task": "Binary"}, "has \"Binary\" as 'task'; it must be one of binary, multiclass, regression"),
        ({"algorithm": "xgboost"}, 'has "xgboost" as \'algorithm\'; so far the platform trains with "pytorch" only'),
        ({"algorithm": ["pytorch"]}, "as 'algorithm'"),
        ({"tuning": {"max_jobs": 5}}, "asks for 'tuning', which this version of the platform does not support yet"),
        ({"pipeline": {}}, "asks for 'pipeline', which this version of the platform does not support yet"),
        ({"hyperparameters": [1]}, "has [1] as 'hyperparameters'; it must be an object"),
        ({"hyperparameters": {"epoch": 3}}, "'hyperparameters.epoch'; the keys under 'hyperparameters' are epochs"),
        ({"hyperparameters": {"epochs": "20"}}, "has \"20\" as 'hyperparameters.epochs'; it must be a whole number"),
        ({"hyperparameters": {"epochs": 2.5}}, "has 2.5 as 'hyperparameters.epochs'"),
        ({"hyperparameters": {"epochs": True}}, "has true as 'hyperparameters.epochs'"),
        ({"hyperparameters": {"epochs": 0}}, "has 0 as 'hyperparameters.epochs'; it must be from 1 to 10,000"),
        ({"hyperparameters": {"dropout": 1}}, "has 1 as 'hyperparameters.dropout'; it must be from 0 to below 1"),
        ({"hyperparameters": {"learning_rate": "fast"}}, "must be a number, without quotes"),
        ({"hyperparameters": {"learning_rate": 0}}, "has 0 as 'hyperparameters.learning_rate'"),
        ({"instance_type": "ml.t2.medium"}, "it must be a type that SageMaker trains on"),
        ({"instance_type": "m5.xlarge"}, 'did you mean "ml.m5.xlarge"?'),
        ({"instance_type": "ml.trn1.2xlarge"}, "as 'instance_type'"),
        ({"instance_count": 17}, "has 17 as 'instance_count'; it must be from 1 to 16"),
        ({"instance_count": 0}, "has 0 as 'instance_count'; it must be from 1 to 16"),
        ({"instance_count": 1.5}, "has 1.5 as 'instance_count'; it must be a whole number"),
        ({"instance_count": "1"}, "has \"1\" as 'instance_count'"),
        ({"approval": "yes"}, "has \"yes\" as 'approval'; it must be one of automatic, manual"),
        ({"hosting": {"instance_type": "ml.t3.medium"}}, "a type that SageMaker hosts on"),
        ({"hosting": {"min": 1}}, "the unknown key 'hosting.min'; the keys under 'hosting' are instance_type"),
        ({"hosting": {"min_instances": 0}}, "has 0 as 'hosting.min_instances'; it must be from 1 to 100"),
        ({"hosting": {"max_instances": 2.0}}, "has 2.0 as 'hosting.max_instances'; it must be a whole number"),
        ({"hosting": {"min_instances": 3, "max_instances": 2}}, "'hosting.min_instances' 3 above 'hosting.max"),
        ({"hosting": {"invocations_per_instance": -1}}, "has -1 as 'hosting.invocations_per_instance'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_by_name(wish: object, said: str) -> None:
    assert said in refused(json.dumps(wish).encode())


def refused(content: bytes) -> str:
    with pytest.raises(DataRejected) as refusal:
        parse_job_spec(content)
    reason = refusal.value.reason
    assert reason.startswith("job.json ")
    assert reason.endswith(".")
    return reason


@pytest.mark.parametrize(
    ("shape", "ours", "left_out"),
    [
        ("TrainingInstanceType", instances.TRAINING, "trn1 trn1n trn2 p6e-gb200 g7 g7e p2 p6-b200 p6-b300"),
        (
            "ProductionVariantInstanceType",
            instances.HOSTING,
            "c6g c6gd c6gn c7g c8g dl1 inf1 inf2 m6g m6gd m8g p6e-gb200 r6g r6gd r7gd r8g trn1 trn1n trn2 "
            "g7 g7e p2 p6-b200 p6-b300",
        ),
    ],
)
def test_instance_types_are_sagemakers_but_for_those_that_the_images_cannot_drive(
    shape: str, ours: frozenset[str], left_out: str
) -> None:
    model = next(Path(botocore.__file__).parent.glob("data/sagemaker/2017-07-24/service-2.json*"))
    content = gzip.decompress(model.read_bytes()) if model.suffix == ".gz" else model.read_bytes()
    theirs = set(json.loads(content)["shapes"][shape]["enum"])
    assert ours <= theirs
    assert {name.split(".")[1] for name in theirs - ours} == set(left_out.split())
