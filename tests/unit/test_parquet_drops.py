"""Parquet drops are planned from what their footers tell."""

from __future__ import annotations

import io
import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlplatform.datasets import plan_dataset
from mlplatform.errors import DataRejected
from mlplatform.facts import Drop, Sample, StoredObject, Table, Task

ROWS = 40


def parquet(columns: dict[str, list[Any]] | pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), buffer, **options)
    return buffer.getvalue()


def plan(files: dict[str, bytes] | bytes, job: object = None, complete: bool = True) -> Table:
    contents = files if isinstance(files, dict) else {"data.parquet": files}
    objects = tuple(StoredObject(f"datasets/d/{name}", "e", 1, datetime(2026, 11, 23, tzinfo=UTC)) for name in contents)
    samples = tuple(Sample(f"datasets/d/{name}", content, complete) for name, content in contents.items())
    return plan_dataset(Drop("d", "v", objects, samples, job and json.dumps(job).encode()), 30)[0]


def refusal(files: dict[str, bytes] | bytes, job: object = None, complete: bool = True) -> str:
    with pytest.raises(DataRejected) as refused:
        plan(files, job, complete)
    return refused.value.reason


def labelled(label: list[Any], name: str = "y") -> dict[str, list[Any]]:
    return {"größe": [i / 2 for i in range(len(label))], name: label}


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (["no", "yes"] * 20, Task.BINARY),
        ([True, False] * 20, Task.BINARY),
        ([0, 1] * 20, Task.BINARY),
        ([0.0, 1.0] * 20, Task.BINARY),
        (["a", "b", "c", "d"] * 10, Task.MULTICLASS),
        ([1, 2, 3, 4] * 10, Task.MULTICLASS),
        ([i / 3 for i in range(ROWS)], Task.REGRESSION),
        (list(range(ROWS)), Task.REGRESSION),
    ],
)
@pytest.mark.parametrize("options", [{}, {"row_group_size": 20, "compression": "gzip", "data_page_version": "2.0"}])
def test_the_task_follows_from_the_types_and_dictionaries(
    label: list[Any], task: Task, options: dict[str, Any]
) -> None:
    found = plan(parquet(labelled(label), **options))
    assert found.columns == ("größe", "y")
    assert (found.label_position, found.task, found.header) == (1, task, True)


def test_a_wish_decides_where_the_file_does_not_tell() -> None:
    plain = parquet(labelled([0, 1] * 20), use_dictionary=False)
    assert "say in job.json whether the task is binary" in refusal(plain)
    assert plan(plain, {"task": "multiclass", "label": 0}).task is Task.MULTICLASS
    assert plan(parquet(labelled([0.5, 1.5] * 20), use_dictionary=False)).task is Task.REGRESSION


def test_columns_of_many_kinds_do_not_confuse_the_footer() -> None:
    wide = {f"column {i}": [i] * ROWS for i in range(300)}
    table = pa.table(
        {**wide, "when": [datetime(2026, 1, 1, tzinfo=UTC)] * ROWS, "target": ["a", "b"] * 20, "z": [None] * ROWS}
    )
    found = plan(parquet(table))
    assert (len(found.columns), found.columns[found.label_position], found.task) == (303, "target", Task.BINARY)


GOOD = parquet(labelled(["no", "yes"] * 20))


@pytest.mark.parametrize(
    ("files", "job", "said"),
    [
        (GOOD[:-50], None, "a Parquet file without its end"),
        (GOOD[:-30] + GOOD[-8:], None, "a damaged Parquet file"),
        (parquet(labelled(["a", "b"] * 9)), None, 'data.parquet has 18 rows with a value in label column "y"'),
        (parquet(labelled(["a", "b"] * 9 + [None] * 9)), None, "has 18 rows"),
        (parquet(labelled(["a"] * ROWS)), None, "one class only"),
        (parquet(labelled([f"note {i}" for i in range(ROWS)])), None, "40 different texts in the 40 rows"),
        (GOOD, {"task": "regression"}, "has text in label column"),
        (GOOD, {"label": "diagnosis"}, "data.parquet has no such column; it has größe, y"),
        (parquet({"y": [1, 2] * 20}), None, "fewer than 2 columns"),
        (parquet({"a": [{"b": 1}] * ROWS, "y": [1, 2] * 20}), None, "nested columns"),
        (parquet(pa.table([[1] * ROWS, [0, 1] * 20], names=["y", "y"])), None, "twice"),
        (
            {"train.parquet": GOOD, "test.parquet": parquet(labelled(["no"] * 30, "x"))},
            None,
            "does not have the columns",
        ),
        ({"train.parquet": GOOD, "test.csv": b"a,y\n1,2\n"}, None, "drop all files of a dataset in one format"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(files: dict[str, bytes] | bytes, job: object, said: str) -> None:
    assert said in refusal(files, job)


def seen_in_parts(content: bytes, head: int, tail: int) -> Drop:
    stored = StoredObject("datasets/d/data.parquet", "e", len(content), datetime(2026, 11, 23, tzinfo=UTC))
    return Drop("d", "v", (stored,), (Sample(stored.key, content[:head], False, content[-tail:]),), None)


def test_a_large_file_is_known_by_its_beginning_and_its_end() -> None:
    chance = random.Random(1)
    columns = {"x": [chance.random() for _ in range(5_000)], "y": ["no", "yes"] * 2_500}
    # The label's dictionary lies at the very beginning, or behind 40,000 bytes of x but within the last 8,000.
    first = parquet({"y": columns["y"], "x": columns["x"]}, use_dictionary=["y"])
    last = parquet(columns, use_dictionary=["y"])
    assert plan_dataset(seen_in_parts(first, 1_000, 2_000), 30)[0].task is Task.BINARY
    assert plan_dataset(seen_in_parts(last, 1_000, 8_000), 30)[0].task is Task.BINARY
    with pytest.raises(DataRejected, match=r"say in job\.json whether"):
        plan_dataset(seen_in_parts(last, 1_000, 600), 30)
    with pytest.raises(DataRejected, match="of which only 100 are looked at"):
        plan_dataset(seen_in_parts(last, 1_000, 100), 30)


def test_no_damage_makes_the_planner_fail_otherwise_than_by_a_refusal() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        damaged = bytearray(GOOD)
        for _ in range(3):
            damaged[chance.randrange(len(GOOD) // 2, len(GOOD) - 4)] = chance.randrange(256)
        with suppress(DataRejected):  # anything else fails the test
            assert plan(bytes(damaged)).columns
