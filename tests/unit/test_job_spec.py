"""job.json is read strictly: a wish that can't be met is refused by name."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import botocore
import pytest

from mlplatform import instances
from mlplatform.errors import DataRejected
from mlplatform.facts import JobSpec, Range, Task, TuningSpec
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


DEFAULT_RANGES = (
    Range("learning_rate", "Continuous", "0.0001", "0.01", "Logarithmic"),
    Range("hidden_size", "Integer", "64", "256", "Auto"),
    Range("batch_size", "Integer", "32", "128", "Auto"),
)


@pytest.mark.parametrize(
    ("wish", "read"),
    [
        ({"tuning": {}}, TuningSpec(ranges=DEFAULT_RANGES)),
        ({"tuning": True}, TuningSpec(ranges=DEFAULT_RANGES)),
        ({"tuning": False}, None),
        ({"tuning": {"max_jobs": 1}}, TuningSpec(max_jobs=1, max_parallel_jobs=1, ranges=DEFAULT_RANGES)),
        (
            {
                "tuning": {
                    "max_jobs": 9,
                    "max_parallel_jobs": 3,
                    "strategy": "random",
                    "early_stopping": False,
                    "objective": "validation:accuracy",
                    "max_cost_usd": 1.5,
                    "max_runtime_seconds": 600,
                    "warm_start": False,
                    "round": 2,
                    "ranges": {
                        "hidden_size": {"values": [64, 128]},
                        "dropout": [0, 0.5],
                        "weight_decay": {"min": 1e-5, "max": 0.1, "scale": "log"},
                    },
                },
                "hyperparameters": {"learning_rate": 0.01},
            },
            TuningSpec(
                max_jobs=9,
                max_parallel_jobs=3,
                strategy="Random",
                early_stopping=False,
                objective="validation:accuracy",
                max_cost_usd=Decimal("1.50"),
                max_runtime_seconds=600,
                warm_start=False,
                round=2,
                ranges=(
                    Range("hidden_size", "Categorical", values=("64", "128")),
                    Range("batch_size", "Integer", "32", "128", "Auto"),
                    Range("dropout", "Continuous", "0", "0.5", "Auto"),
                    Range("weight_decay", "Continuous", "1e-05", "0.1", "Logarithmic"),
                ),
            ),
        ),
    ],
)
def test_a_tuning_has_defaults_and_what_is_fixed_is_not_tuned(wish: object, read: TuningSpec | None) -> None:
    assert parse_job_spec(json.dumps(wish).encode()).tuning == read


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
        ({"algorithm": ["pytorch"]}, "as 'algorithm'"),
        ({"tuning": [1]}, "has [1] as 'tuning'; it must be an object"),
        ({"epochs": 5}, "(did you mean hyperparameters.epochs?)"),
        ({"memory_gb": 2}, "(did you mean hosting.memory_gb?)"),
        ({"tuning": {"trials": 5}}, "(did you mean max_jobs?)"),
        ({"tuning": {"jobs": 5}}, "the unknown key 'tuning.jobs'; the keys under 'tuning' are max_jobs"),
        ({"tuning": {"max_jobs": 751}}, "has 751 as 'tuning.max_jobs'; it must be from 1 to 750"),
        ({"tuning": {"max_parallel_jobs": 11}}, "has 11 as 'tuning.max_parallel_jobs'; it must be from 1 to 10"),
        ({"tuning": {"max_jobs": 2, "max_parallel_jobs": 3}}, "'tuning.max_parallel_jobs' 3 above 'tuning.max_jobs' 2"),
        ({"tuning": {"max_runtime_seconds": 5}}, "has 5 as 'tuning.max_runtime_seconds'; it must be from 60"),
        ({"tuning": {"max_cost_usd": 0}}, "has 0 as 'tuning.max_cost_usd'; it must be an amount in USD"),
        ({"tuning": {"max_cost_usd": "5"}}, "has \"5\" as 'tuning.max_cost_usd'"),
        ({"tuning": {"early_stopping": "Auto"}}, "has \"Auto\" as 'tuning.early_stopping'; it must be true or false"),
        ({"tuning": {"strategy": "grid"}}, "as 'tuning.strategy'; it must be one of bayesian, random"),
        (
            {"tuning": {"objective": "test:roc_auc"}},
            "has \"test:roc_auc\" as 'tuning.objective'; it must be a metric of",
        ),
        ({"tuning": {"ranges": {"depth": [1, 2]}}}, "the unknown key 'tuning.ranges.depth'"),
        ({"tuning": {"ranges": {"dropout": 0.5}}}, "has 0.5 as 'tuning.ranges.dropout'; it must be such as"),
        (
            {"tuning": {"ranges": {"dropout": [0.5]}}},
            "has [0.5] as 'tuning.ranges.dropout'; it must be [smallest, largest]",
        ),
        ({"tuning": {"ranges": {"dropout": {"min": 0.1}}}}, "lacks 'tuning.ranges.dropout.max'"),
        ({"tuning": {"ranges": {"dropout": [0.5, 0.1]}}}, "'tuning.ranges.dropout.min' 0.5 not below"),
        ({"tuning": {"ranges": {"dropout": [0.5, 0.5]}}}, "'tuning.ranges.dropout.min' 0.5 not below"),
        (
            {"tuning": {"ranges": {"dropout": [0, 1]}}},
            "has 1 as 'tuning.ranges.dropout.max'; it must be from 0 to 0.95",
        ),
        (
            {"tuning": {"ranges": {"hidden_size": [64, 10_000]}}},
            "has 10000 as 'tuning.ranges.hidden_size.max'; it must be",
        ),
        (
            {"tuning": {"ranges": {"hidden_size": [64, 99.5]}}},
            "'tuning.ranges.hidden_size.max'; it must be a whole number",
        ),
        (
            {"tuning": {"ranges": {"dropout": {"min": 0, "max": 0.5, "scale": "log"}}}},
            "has 0 as 'tuning.ranges.dropout.min'; a log scale needs values above 0",
        ),
        (
            {"tuning": {"ranges": {"weight_decay": {"min": 0, "max": 1, "scale": "reverse_log"}}}},
            "has 1 as 'tuning.ranges.weight_decay.max'; a reverse_log scale needs",
        ),
        (
            {"tuning": {"ranges": {"dropout": {"min": 0, "max": 0.5, "scale": "ln"}}}},
            "as 'tuning.ranges.dropout.scale'; it must be one of auto, linear, log, reverse_log",
        ),
        (
            {"tuning": {"ranges": {"network": ["mlp", "tabm"]}}},
            "has a range as 'tuning.ranges.network'; it can only be",
        ),
        (
            {"tuning": {"ranges": {"network": {"values": ["mlp", "cnn"]}}}},
            "has \"cnn\" as 'tuning.ranges.network.values'; it must be one of tabm, mlp",
        ),
        ({"tuning": {"ranges": {"hidden_size": {"values": [64]}}}}, "it must be a list of two values or more"),
        ({"tuning": {"ranges": {"hidden_size": {"values": [64, 64]}}}}, "each value counts once"),
        ({"tuning": {"ranges": {"epochs": {"values": list(range(1, 32))}}}}, "has 34 things to search"),
        (
            {"tuning": {"ranges": {"dropout": [0, 0.5]}}, "hyperparameters": {"dropout": 0.1}},
            "has 'dropout' under 'hyperparameters' and under 'tuning.ranges'",
        ),
        (
            {"tuning": {}, "hyperparameters": {"learning_rate": 0.1, "hidden_size": 8, "batch_size": 8}},
            "with every hyperparameter fixed",
        ),
        ({"hyperparameters": [1]}, "has [1] as 'hyperparameters'; it must be an object"),
        ({"hyperparameters": {"epoch": 3}}, "'hyperparameters.epoch'; the keys under 'hyperparameters' are epochs"),
        ({"hyperparameters": {"epochs": "20"}}, "has \"20\" as 'hyperparameters.epochs'; it must be a whole number"),
        ({"hyperparameters": {"epochs": 2.5}}, "has 2.5 as 'hyperparameters.epochs'"),
        ({"hyperparameters": {"epochs": True}}, "has true as 'hyperparameters.epochs'"),
        ({"hyperparameters": {"epochs": 0}}, "has 0 as 'hyperparameters.epochs'; it must be from 1 to 10,000"),
        ({"hyperparameters": {"dropout": 1}}, "has 1 as 'hyperparameters.dropout'; it must be from 0 to 0.95"),
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
        ({"hosting": {"min": 1}}, "the unknown key 'hosting.min'; the keys under 'hosting' are kind, instance_type"),
        (
            {"hosting": {"kind": "serverles"}},
            'must be one of real-time, serverless, scale-to-zero, asynchronous, auto (did you mean "serverless"?)',
        ),
        (
            {"hosting": {"kind": "serverless", "instance_type": "ml.g5.xlarge"}},
            "'hosting.instance_type', which belongs to",
        ),
        ({"hosting": {"kind": "serverless", "min_instances": 2}}, "'hosting.min_instances', which belongs to"),
        ({"hosting": {"kind": "serverless", "memory_gb": 7}}, "has 7 as 'hosting.memory_gb'; it must be from 1 to 6"),
        (
            {"hosting": {"kind": "serverless", "max_concurrency": 201}},
            "'hosting.max_concurrency'; it must be from 1 to",
        ),
        (
            {"hosting": {"memory_gb": 2}},
            "'hosting.memory_gb', which belongs to the 'hosting.kind' serverless or scale-to-zero, but there",
        ),
        ({"hosting": {"requests_per_day": 5}}, "'hosting.requests_per_day', which belongs to the 'hosting.kind' auto"),
        ({"hosting": {"kind": "asynchronous", "min_instances": 1}}, "'hosting.min_instances', which belongs to"),
        ({"hosting": {"kind": "scale-to-zero", "max_concurrency": 5}}, "'hosting.max_concurrency', which belongs to"),
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
