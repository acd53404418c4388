"""The planner and the training job read the same file the same way, each with its own reader."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

import dataset
import numerals
from mlplatform import stray_text
from mlplatform.datasets import plan_dataset
from mlplatform.errors import DataRejected
from mlplatform.facts import Drop, Sample, StoredObject
from preprocess import Numbers

BODY = "".join(f"{i},{i / 2},{'ab'[i % 2]}\n" for i in range(40))
PLAIN = "age,dose,y\n" + BODY

CASES: dict[str, str | bytes] = {
    "plain": PLAIN,
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "UTF-16, little end first": b"\xff\xfe" + PLAIN.encode("utf-16-le"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-16 with CR": b"\xff\xfe" + PLAIN.replace("\n", "\r").encode("utf-16-le"),
    "Latin-1": PLAIN.replace("a\n", "\xe4\n").encode("latin-1"),
    "CR LF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "CR LF in the header only": PLAIN.replace("\n", "\r\n", 1),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "tabs": PLAIN.replace(",", "\t"),
    "pipes": PLAIN.replace(",", "|"),
    "spaces behind commas": PLAIN.replace(",", ", "),
    "blank lines": "\n\n" + PLAIN.replace("\n3,", "\n\n3,"),
    "missing values": PLAIN.replace("3,1.5", "?,NA").replace("5,2.5,b", "5,null, NA "),
    "quoted newline in the header": PLAIN.replace("age", '"age\nin years"', 1),
    "no header": "".join(f"{'ab'[i % 2]},{i},{i / 2}\n" for i in range(40)),
    "an unnamed column": PLAIN.replace("age", "", 1),
    "two columns of one name": PLAIN.replace("age", "dose", 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("packed", [False, True])
def test_names_label_and_rows_agree(case: str, packed: bool, tmp_path: Path) -> None:
    text = CASES[case]
    content = text.encode() if isinstance(text, str) else text
    name = "data.csv.gz" if packed else "data.csv"
    content = gzip.compress(content) if packed else content
    key = f"datasets/d/{name}"
    drop = Drop(
        "d", "v", (StoredObject(key, "e", 1, datetime(2026, 11, 23, tzinfo=UTC)),), (Sample(key, content, True),), None
    )
    table, _ = plan_dataset(drop, 30)
    (tmp_path / name).write_bytes(content)
    layout = dataset.Layout(table.label_position, table.header, table.delimiter, table.encoding, table.task)
    read = dataset.load(tmp_path, layout, seed=1)
    assert table.columns == (
        *read.names[: table.label_position],
        read.label_name,
        *read.names[table.label_position :],
    )
    without_label = 1 if case == "missing values" else 0
    assert len(read.train) + len(read.validation) + len(read.test) == 40 - without_label
    assert read.rows_without_label == without_label
    assert read.classes is not None
    assert len(read.classes) == 2
    assert all(isinstance(column, Numbers) for column in read.train.columns)


MANY = [str(number) for number in range(120)]
COMMAS = [f"{number},5" for number in range(120)]
# The values of a feature, and the test file's: None where there is none. What is refused is refused by both readers.
FEATURES: dict[str, tuple[list[str], list[str] | None, bool]] = {
    "one text among many numbers": ([*MANY, "fifty"], None, True),
    "one text in too few rows to be rare": ([*MANY[:60], "fifty"], None, False),
    "one text among few different numbers": ([*MANY[:20] * 9, "fifty"], None, False),
    "as few rows as may be": (["fifty", *MANY[:99]], None, True),
    "one row fewer": (["fifty", *MANY[:98]], None, False),
    "missing values do not count": ([*MANY[:98], *["NA", "?", ""] * 9, "fifty"], None, False),
    "a dash is a missing number": ([*MANY, "-"], None, False),
    "a dash beside a text": (["-", *MANY, "fifty"], None, False),
    "a unit once": ([*MANY, "85 m2"], None, False),
    "two units": ([*MANY * 2, "85 m2", "3 kg"], None, True),
    "money": ([*MANY, "$1,234.50", "Fr. 5"], None, False),
    "infinity is a missing number": ([*MANY, "inf", "Infinity"], None, False),
    "decimal commas": ([*COMMAS, "fifty"], None, True),
    "numbers alone": (MANY, ["1", "2.5", "NA"], False),
    "a text in the test file": (MANY, ["1", "two", "3"], True),
    "a unit in the test file": (MANY, ["1", "2 kg", "3"], False),
    "a text in the test file where training has categories": (["low", "high", *MANY[:20]], ["1", "two"], False),
}


@pytest.mark.parametrize("case", FEATURES)
def test_text_among_numbers_is_refused_where_the_training_would_fail_for_it(case: str, tmp_path: Path) -> None:
    train, test, refused = FEATURES[case]
    files = {"train.csv": train} if test is None else {"train.csv": train, "test.csv": test}
    for name, values in files.items():
        lines = [f"{value};{'ab'[row % 2]}" for row, value in enumerate(values)]
        (tmp_path / name).write_text("\n".join(["size;y", *lines, ""]))
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    drop = Drop(
        "d",
        "v",
        tuple(StoredObject(f"datasets/d/{name}", "e", 1, moment) for name in files),
        tuple(Sample(f"datasets/d/{name}", (tmp_path / name).read_bytes(), True) for name in files),
        None,
    )
    layout = dataset.Layout(1, True, "semicolon", "utf-8", "binary")
    if not refused:
        plan_dataset(drop, 30)
        dataset.load(tmp_path, layout, seed=1)
        return
    with pytest.raises(dataset.DataError, match="in the numeric column 'size'"):
        dataset.load(tmp_path, layout, seed=1)
    with pytest.raises(DataRejected, match='in the column "size", which otherwise holds numbers'):
        plan_dataset(drop, 30)


def test_the_two_readers_have_one_rule_for_text_among_numbers() -> None:
    assert (stray_text.LOOKS_NUMERIC, stray_text.MANY_NUMBERS) == (dataset._LOOKS_NUMERIC, dataset._MANY_NUMBERS)
    assert stray_text.DASHES == numerals.DASHES


def test_a_label_with_decimal_commas_is_a_number(tmp_path: Path) -> None:
    content = ("x;y\n" + "".join(f"{i};-{i},5\n" for i in range(40))).encode()
    key = "datasets/d/data.csv"
    drop = Drop(
        "d", "v", (StoredObject(key, "e", 1, datetime(2026, 11, 23, tzinfo=UTC)),), (Sample(key, content, True),), None
    )
    table, _ = plan_dataset(drop, 30)
    assert table.task == "regression"
    (tmp_path / "data.csv").write_bytes(content)
    read = dataset.load(tmp_path, dataset.Layout(1, True, "semicolon", "utf-8", "regression"), seed=1)
    labels = sorted(float(label) for part in (read.train, read.validation, read.test) for label in part.label)
    assert (labels[0], labels[-1], len(labels)) == (-39.5, -0.5, 40)


@pytest.mark.parametrize(
    ("delimiter", "label"),
    [
        ("comma", '"${i},250.50"'),
        ("comma", "{i}.5 %"),
        ("comma", '"{i},5"'),
        ("semicolon", "1.{i:03},50 €"),
        ("semicolon", "({i},25)"),
    ],
)
def test_money_to_predict_is_a_number_to_both(delimiter: str, label: str, tmp_path: Path) -> None:
    mark = {"comma": ",", "semicolon": ";"}[delimiter]
    content = (f"x{mark}price\n" + "".join(f"{i}{mark}{label.format(i=i)}\n" for i in range(40))).encode()
    key = "datasets/d/data.csv"
    drop = Drop(
        "d", "v", (StoredObject(key, "e", 1, datetime(2026, 11, 23, tzinfo=UTC)),), (Sample(key, content, True),), None
    )
    table, _ = plan_dataset(drop, 30)
    assert (table.task, table.delimiter) == ("regression", delimiter)
    (tmp_path / "data.csv").write_bytes(content)
    read = dataset.load(tmp_path, dataset.Layout(1, True, delimiter, "utf-8", "regression"), seed=1)
    labels = {float(label) for part in (read.train, read.validation, read.test) for label in part.label}
    assert len(labels) == 40


@pytest.mark.parametrize(
    ("values", "others", "delimiter", "first", "said"),
    [
        # Money has no three decimals, whatever separates the fields.
        (["$2,159", "$1,000"], "1", ";", 2159, "'$1,000' is read as 1000, because it is money"),
        (["2,159", "1,000"], "0.5", ";", 2159, "'1,000' is read as 1000, because other columns have decimal points"),
        (["2,159", "1,000"], "1", ";", 2.159, "'1,000' is read as 1.000, because semicolons separate the fields"),
        (
            ["2,159", "1,000"],
            "1",
            "\t",
            2159,
            "'1,000' is read as 1000, because nothing says that its commas are decimal",
        ),
        (["2,159", "0,500"], "1", ";", 2.159, ""),  # no thousands begin with a zero
        (["$2,159.00", "$1,000"], "1", ";", 2159, ""),
        (["2,159,000", "1,000"], "1", ";", 2159000, ""),
        (["2,15", "1,000"], "1", ";", 2.15, ""),
    ],
)
def test_a_comma_with_three_digits_is_read_alike_and_said_where_it_could_be_either(
    values: list[str], others: str, delimiter: str, first: float, said: str, tmp_path: Path
) -> None:
    rows = [delimiter.join(["price", "other", "y"])]
    rows += [delimiter.join([values[i % 2], others, "ab"[i % 3 == 0]]) for i in range(40)]
    content = ("\n".join(rows) + "\n").encode()
    one = StoredObject("datasets/shop/data.csv", "e", len(content), datetime(2026, 11, 23, tzinfo=UTC))
    table, _ = plan_dataset(Drop("shop", "v", (one,), (Sample(one.key, content, complete=True),), None), 32)
    (tmp_path / "data.csv").write_bytes(content)
    layout = dataset.Layout(
        label_position=table.label_position,
        header=table.header,
        delimiter=table.delimiter,
        encoding=table.encoding,
        task=table.task.value,
    )
    read = dataset._read(tmp_path / "data.csv", layout).columns[0]
    assert isinstance(read, Numbers)
    assert read.values[0] == pytest.approx(first)
    assert (said in table.explanation) if said else ("is read as" not in table.explanation)
