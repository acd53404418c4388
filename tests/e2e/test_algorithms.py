"""Other algorithms than the network, from drop to answer, on the laptop: the built-in XGBoost in a pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlplatform import names

from .conftest import STACK, Laptop

pytestmark = pytest.mark.xdist_group("laptop")


def orders(rows: int = 300) -> str:
    """Three classes by name, that follow from a weight, which is sometimes missing, and a warehouse."""
    random = np.random.default_rng(3)
    weight, warehouse = random.uniform(0, 30, rows), random.choice(["north", "south", "east"], rows)
    score = weight + np.where(warehouse == "south", 10, 0) + random.normal(0, 1, rows)
    lines = ["weight,warehouse,carrier"]
    for i in range(rows):
        carrier = ["bike", "van", "lorry"][int(np.digitize(score[i], [10, 22]))]
        lines.append(f"{'' if i % 15 == 0 else f'{weight[i]:.2f}'},{warehouse[i]},{carrier}")
    return "\n".join(lines) + "\n"


def test_a_drop_for_xgboost_is_prepared_trained_judged_and_answers_by_the_contract(laptop: Laptop) -> None:
    wishes = {"label": "carrier", "algorithm": "xgboost", "hyperparameters": {"num_round": 15, "eta": 0.3}}
    laptop.put("orders", names.JOB_SPEC_FILE, json.dumps(wishes))
    laptop.put("orders", "orders.csv", orders())
    verdict = laptop.verdict("orders")
    assert verdict["verdict"] == "accepted", verdict
    laptop.endpoint_serving("orders", verdict["job_name"], seconds=120)
    answer = laptop.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=names.endpoint(STACK, "orders"),
        Body=json.dumps(
            {
                "records": [
                    {"weight": 1.5, "warehouse": "north"},
                    {"weight": 29, "warehouse": "south"},
                    {"weight": 15, "warehouse": "moon"},
                    {"warehouse": "south"},
                ]
            }
        ),
        ContentType="application/json",
    )
    found = json.loads(answer["Body"].read())
    assert found["classes"] == ["bike", "lorry", "van"]
    assert found["predictions"][:2] == ["bike", "lorry"]
    assert found["predictions"][3] in {"lorry", "van"}, "what is missing is served, by what is known"
    assert all(abs(sum(row) - 1) < 1e-6 for row in found["probabilities"])
    assert found["model_version"] == verdict["job_name"]
    (job,) = laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-xgboost")["TrainingJobSummaries"]
    trained = laptop.sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
    assert trained["HyperParameters"]["num_class"] == "3"
    assert trained["AlgorithmSpecification"]["TrainingImage"].endswith("/sagemaker-xgboost:3.0-5")
