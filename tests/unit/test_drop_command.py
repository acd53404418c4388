"""What `mlp drop` uploads, under which name, and what it refuses before anything is uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.connection import CommandError, Connection
from cli.drop import assert_good_drop, dataset_name, files_of


class StoredS3:
    """An S3 client that lists these keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": key} for key in self.keys if key.startswith(asked["Prefix"])]}


def connection(*keys: str) -> Connection:
    found = Connection("ml-platform", None, "us-east-1")
    found.__dict__ |= {"outputs": {"DataBucketName": "data"}, "s3": StoredS3(*keys)}
    return found


def written(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder


def test_a_job_json_beside_a_file_goes_with_it(tmp_path: Path) -> None:
    written(tmp_path, people_csv="a", job_json="{}", notes_txt="no data")
    both = [tmp_path / "people.csv", tmp_path / "job.json"]
    assert files_of([tmp_path / "people.csv"]) == both
    assert files_of([tmp_path / "people.csv", tmp_path / "job.json"]) == both
    assert sorted(files_of([tmp_path])) == sorted(both)


def test_two_files_of_one_name_are_refused_since_one_would_overwrite_the_other(tmp_path: Path) -> None:
    first = written(tmp_path / "churn", train_csv="a") / "train.csv"
    second = written(tmp_path / "j2", train_csv="b") / "train.csv"
    with pytest.raises(CommandError, match="have one name"):
        files_of([first, second])
    assert files_of([first, first]) == [first]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Breast Cancer.csv", "breast-cancer"),
        ("Kundenübersicht Q3.csv", "kundenubersicht-q3"),
        ("Straße.csv.gz", "strasse"),
        ("数据.csv", "dataset"),
    ],
)
def test_a_dataset_is_called_like_its_file(file: str, name: str) -> None:
    assert dataset_name(Path(file)) == name


def test_a_dataset_is_called_like_the_folder_that_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(written(tmp_path / "Churn 2026"))
    assert dataset_name(Path(".")) == "churn-2026"


def test_wishes_alone_are_refused_unless_data_lies_there(tmp_path: Path) -> None:
    spec = [written(tmp_path, job_json="{}") / "job.json"]
    with pytest.raises(CommandError, match="alone, and no data lies in"):
        assert_good_drop(connection("datasets/churn/job.json", "datasets/churn/"), spec, "churn", replace=False)
    stored = connection("datasets/churn/people.csv", "datasets/churn/job.json")
    assert_good_drop(stored, spec, "churn", replace=False)
    with pytest.raises(CommandError, match="nothing else would be left"):
        assert_good_drop(stored, spec, "churn", replace=True)


def test_a_job_json_that_the_platform_would_refuse_is_not_uploaded(tmp_path: Path) -> None:
    written(tmp_path, people_csv="a", job_json=json.dumps({"epochs": 5}))
    with pytest.raises(CommandError, match=r"did you mean hyperparameters.epochs.*nothing was uploaded"):
        assert_good_drop(connection(), files_of([tmp_path]), "churn", replace=False)
