"""What is wrong with a dataset is said before a job exists, in one sentence, in the verdict and in the alert."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cli import drop as dropping

from .conftest import STACK, Laptop

pytestmark = pytest.mark.xdist_group("second-laptop")

GOOD = "age,income,label\n" + "".join(f"{20 + i},{1000 + i},{'yes' if i % 2 else 'no'}\n" for i in range(40))


@pytest.mark.parametrize(
    ("dataset", "file_name", "content", "said"),
    [
        ("empty", "data.csv", "", "empty"),
        ("headeronly", "data.csv", "age,income,label\n", "header"),
        ("onerow", "data.csv", "age,income,label\n1,2,yes\n", "row"),
        ("fewrows", "data.csv", "\n".join(GOOD.splitlines()[:15]), "20"),
        ("oneclass", "data.csv", GOOD.replace("no", "yes"), "one class"),
        ("archive", "data.csv", b"PK\x03\x04" + bytes(range(256)) * 4, "data.csv"),
        ("cutoff", "data.csv.gz", gzip.compress(GOOD.encode() * 50)[:-20], "data.csv.gz"),
        ("ragged", "data.csv", GOOD + "1,2\n", "42"),
        ("quote", "data.csv", GOOD + '1,"2,yes\n3,4,no\n', "quote"),
        ("twolabels", "data.csv", GOOD.replace("age,income,label", "label,income,label"), "label"),
    ],
)
def test_a_bad_file_is_rejected_before_any_job_exists(
    laptop: Laptop, dataset: str, file_name: str, content: str | bytes, said: str
) -> None:
    laptop.put(dataset, file_name, content)
    verdict = laptop.verdict(dataset)
    assert verdict["verdict"] == "rejected"
    assert said in verdict["reason"]
    assert verdict["job_name"] is None
    assert laptop.inbox(dataset)
    jobs = laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-{dataset}-")
    assert jobs["TrainingJobSummaries"] == []


@pytest.mark.parametrize(
    ("dataset", "spec", "said"),
    [
        ("unknownkey", {"colour": "red"}, "colour"),
        ("badtype", {"hyperparameters": {"epochs": "many"}}, "epochs"),
        ("absentlabel", {"label": "diagnosis"}, "diagnosis"),
    ],
)
def test_a_bad_job_spec_is_rejected_by_name(laptop: Laptop, dataset: str, spec: dict[str, object], said: str) -> None:
    laptop.put(dataset, "job.json", json.dumps(spec))
    laptop.put(dataset, "data.csv", GOOD)
    verdict = laptop.verdict(dataset)
    assert verdict["verdict"] == "rejected"
    assert said in verdict["reason"]


def test_a_dataset_name_that_breaks_the_rule_is_refused_with_an_alert(laptop: Laptop) -> None:
    laptop.put("Bad_Name", "data.csv", GOOD)
    assert laptop.inbox("Bad_Name")


def test_what_lies_beside_a_new_file_can_be_removed_with_the_drop(laptop: Laptop) -> None:
    for name in ("january.csv", "job.json", "february.csv"):
        laptop.put("twice", name, "broken")
    assert sorted(dropping.clear(laptop.connection, [Path("february.csv")], "twice")) == ["january.csv", "job.json"]
    stored = laptop.s3.list_objects_v2(Bucket=laptop.connection.data_bucket, Prefix="datasets/twice/")["Contents"]
    assert [one["Key"] for one in stored] == ["datasets/twice/february.csv"]


def test_machines_that_the_account_may_not_have_are_refused_by_their_quotas_name(laptop: Laptop) -> None:
    laptop.put("greedy", "job.json", json.dumps({"instance_type": "ml.p3.2xlarge"}))
    laptop.put("greedy", "data.csv", GOOD)
    verdict = laptop.verdict("greedy")
    assert (verdict["verdict"], verdict["job_name"]) == ("held", None)
    assert '"ml.p3.2xlarge for spot training job usage" is 0, and the training needs 1' in verdict["reason"]
    assert laptop.inbox("greedy version")
    assert laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-greedy-")["TrainingJobSummaries"] == []
