"""What is read as intended, and what is refused with which sentence. Expected values are worked out by hand."""

from __future__ import annotations

import gzip
import importlib
import json
import random
from datetime import UTC, datetime

import pytest

import builders
from mlplatform.datasets import MISSING, data_files, plan_dataset
from mlplatform.errors import DataRejected
from mlplatform.facts import Drop, JobSpec, Sample, StoredObject, Table, Task

LONGEST = 30
HEADER = "age,dose,y\n"
# 40 rows, lines 2 to 41 below the header; the label alternates between no (even ages) and yes.
ROWS = [f"{20 + i},{i / 2},{'yes' if i % 2 else 'no'}\n" for i in range(40)]
GOOD = HEADER + "".join(ROWS)


def stored(name: str, dataset: str = "flowers") -> StoredObject:
    return StoredObject(f"datasets/{dataset}/{name}", "e", 1, datetime(2026, 11, 23, tzinfo=UTC))


def plan(
    files: dict[str, bytes | str] | bytes | str,
    *,
    job: object = None,
    complete: bool = True,
    dataset: str = "flowers",
    longest: int = LONGEST,
) -> tuple[Table, JobSpec]:
    if not isinstance(files, dict):
        files = {"data.csv": files}
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    objects = [stored(name, dataset) for name in contents]
    job_json = job if isinstance(job, bytes) or job is None else json.dumps(job).encode()
    samples = tuple(Sample(f"datasets/{dataset}/{name}", content, complete) for name, content in contents.items())
    return plan_dataset(Drop(dataset, "0123456789ab", tuple(objects), samples, job_json), longest)


def table(files: dict[str, bytes | str] | bytes | str, **options: object) -> Table:
    return plan(files, **options)[0]  # type: ignore[arg-type]


def refusal(files: dict[str, bytes | str] | bytes | str, **options: object) -> str:
    with pytest.raises(DataRejected) as refused:
        plan(files, **options)  # type: ignore[arg-type]
    reason = refused.value.reason
    assert reason.endswith(".")
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (GOOD.encode(), "utf-8"),
        (GOOD.encode("utf-8-sig"), "utf-8"),
        (GOOD.replace("\n", "\r\n").encode(), "utf-8"),
        (GOOD.replace("\n", "\r").encode(), "utf-8"),
        (b"\xff\xfe" + GOOD.encode("utf-16-le"), "utf-16"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "utf-16"),
        (GOOD.replace("yes", "s\xed").encode("latin-1"), "latin-1"),
        (GOOD.replace("yes", "s\xed").encode(), "utf-8"),
        (("\n\n" + GOOD).replace("\n30,", "\n\n30,").encode(), "utf-8"),
    ],
)
def test_byte_order_marks_line_ends_and_encodings_are_read_as_intended(content: bytes, encoding: str) -> None:
    found = table(content)
    assert found.encoding == encoding
    assert found.columns == ("age", "dose", "y")
    assert (found.label_position, found.task, found.header) == (2, Task.BINARY, True)


def test_an_unusual_encoding_is_said_with_the_line_that_shows_it() -> None:
    latin = GOOD.replace("25,2.5,yes", "25,2.5,s\xed").replace("27,3.5,yes", "27,3.5,s\xed").encode("latin-1")
    said = "data.csv is read as Latin-1, because line 7 is not valid UTF-8 (byte 0xED)."
    assert said in table(latin).explanation
    assert "data.csv is read as UTF-16" in table(b"\xff\xfe" + GOOD.encode("utf-16-le")).explanation


@pytest.mark.parametrize(("name", "delimiter"), [("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
def test_the_delimiter_is_found(name: str, delimiter: str) -> None:
    found = table(GOOD.replace(",", delimiter))
    assert found.delimiter == name
    assert len(found.columns) == 3


@pytest.mark.parametrize(
    ("content", "delimiter", "columns"),
    [
        # decimal commas: the comma would cut every row into 4 fields, evenly, but for the header
        ("a;b;y\n" + "1,5;2,5;ja\n3,5;4,5;nein\n" * 10, "semicolon", 3),
        # ... and without any header
        ("1,5;2,5;1\n3,5;4,5;0\n" * 10, "semicolon", 3),
        # prose with commas and semicolons inside quotes
        ('text,y\n"one, two; three | four",a\n"five, six; seven",b\n' + '"x, y",a\n"z",b\n' * 10, "comma", 2),
        # unquoted prose with commas between tabs
        ("text\ty\nwell, yes, so\tspam\nno\tham\nah, well\tham\nyes\tspam\n" + "a, b\tham\nc\tspam\n" * 10, "tab", 2),
    ],
)
def test_the_delimiter_is_found_among_others_of_its_kind(content: str, delimiter: str, columns: int) -> None:
    found = table(content)
    assert (found.delimiter, len(found.columns)) == (delimiter, columns)


def test_quoted_newlines_belong_to_their_value() -> None:
    found = table("note,y\n" + '"two\nlines",a\n"one ""quoted"" line",b\n' * 10)
    assert (found.columns, found.task) == (("note", "y"), Task.BINARY)


@pytest.mark.parametrize("blank", ["", "NA", "?", "nan", "NaN", "null", "None", "N/A", "  "])
def test_rows_without_a_label_are_left_out_and_counted(blank: str) -> None:
    found = table(GOOD.replace("20,0.0,no", f"20,0.0,{blank}").replace("22,1.0,no", f"22,1.0,{blank}"))
    assert found.task is Task.BINARY
    assert "2 rows of data.csv without a label are left out." in found.explanation


def test_missing_values_are_the_same_here_and_in_the_training_job() -> None:
    assert importlib.import_module("preprocess").MISSING_TOKENS == MISSING


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (GOOD, True),
        ("".join(ROWS), False),
        # numbers everywhere, names or none
        ("a,b\n" + "1,2\n3,4\n" * 10, True),
        ("1,2\n0,4\n" * 10, False),
        # what pandas writes for a table without names, without and with its index
        ("0,1,2\n" + "5.1,3,1\n4.9,2,0\n" * 10, True),
        (",0,1\n" + "5.1,3,1\n4.9,2,0\n" * 10, True),
        # text everywhere: a telling name; values that come up again; names that never do
        ("colour,class\n" + "red,hot\nblue,cold\n" * 10, True),
        ("red,hot\nblue,cold\n" * 10, False),
        ("colour,feeling\n" + "red,hot\nblue,cold\n" * 10, True),
        # a missing value above numbers says nothing, text above numbers does
        ("?,2,a\n" + "1,2,a\n3,4,b\n" * 10, False),
        # years are names when the other names say so
        ("name,size,2019\n" + "1,2,3\n3,4,5\n" * 10, True),
    ],
)
def test_a_header_is_told_from_data(content: str, header: bool) -> None:
    assert table(content).header is header


@pytest.mark.parametrize(
    ("header", "job", "position", "why"),
    [
        ("age,dose,y", None, 2, 'The label is the column "y", because of its name.'),
        ("LABEL,dose,outcome", None, 0, 'The label is the column "LABEL", because of its name.'),
        ("age,Target,y", None, 1, 'The label is the column "Target", because of its name.'),
        (
            "age,dose,sick",
            None,
            2,
            'The label is the column "sick", the last, because no column is called label, target, class or y.',
        ),
        ("age,dose,y", {"label": "age"}, 0, 'The label is the column "age", because job.json names it.'),
        ("age,dose,y", {"label": -3}, 0, 'The label is the column "age", because job.json says so.'),
        ("age,dose,y", {"label": 1}, 1, 'The label is the column "dose", because job.json says so.'),
    ],
)
def test_the_label_is_found_and_the_verdict_says_why(header: str, job: object, position: int, why: str) -> None:
    # every column works as a label: three classes in the first, two in the others
    content = header + "\n" + "".join(f"{i % 3},{i % 2},{'ab'[i % 2]}\n" for i in range(30))
    found = table(content, job=job)
    assert found.label_position == position
    assert why in found.explanation


def test_without_a_header_the_first_column_is_the_label() -> None:
    found = table("".join(f"{i % 2},{i / 10},x\n" for i in range(30)))
    assert (found.label_position, found.header, found.columns) == (0, False, ("column_0", "column_1", "column_2"))
    assert "SageMaker's convention" in found.explanation


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([i % 2 for i in range(40)], Task.BINARY),
        (["a", "b"] * 20, Task.BINARY),
        ([0.5, 1.5] * 20, Task.BINARY),  # two values are two classes, whatever they look like
        ([i % 3 for i in range(40)], Task.MULTICLASS),
        (["a", "b", "c", "d"] * 10, Task.MULTICLASS),
        ([i + 0.5 for i in range(40)], Task.REGRESSION),
        ([1, 2, 2.5, 3] * 10, Task.REGRESSION),  # a fraction is a measurement
        (list(range(40)), Task.REGRESSION),  # 40 different numbers are more than 20 and more than 5 % of 40
        ([i % 21 for i in range(400)], Task.REGRESSION),  # 21 are more than 20, and more than 20 (5 % of 400)
        ([i % 21 for i in range(420)], Task.MULTICLASS),  # 21 are not more than 21 (5 % of 420)
        ([i % 20 for i in range(40)], Task.MULTICLASS),  # 20 are not more than 20, and not more than half of 40
        ([i % 11 for i in range(20)], Task.REGRESSION),  # 11 of 20: more than half
    ],
)
def test_the_task_follows_from_the_labels(labels: list[object], task: Task) -> None:
    found = table("x,y\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)))
    assert found.task is task
    assert f"The task is {task}, because the label has" in found.explanation


def test_job_json_overrides_the_task() -> None:
    content = "x,y\n" + "".join(f"{i},{i % 3}\n" for i in range(30))
    found = table(content, job={"task": "regression"})
    assert found.task is Task.REGRESSION
    assert "The task is regression, because job.json says so." in found.explanation


@pytest.mark.parametrize(
    ("content", "job", "said"),
    [
        (b"", None, "data.csv is empty"),
        (b"\xef\xbb\xbf", None, "nothing but blank space"),
        (" \n\n", None, "nothing but blank space"),
        (HEADER, None, "data.csv holds only a header line"),
        ("1,2,3\n", None, "data.csv holds a single row"),
        (HEADER + ROWS[0], None, 'data.csv has 1 row with a value in label column "y"; at least 20 are needed'),
        (HEADER + "".join(ROWS[:19]), None, "data.csv has 19 rows"),
        (
            HEADER + "".join(ROWS[:19]) + "1,2,NA\n",
            None,
            'data.csv has 19 rows with a value in label column "y" (1 more has none)',
        ),
        (HEADER + "1,2,\n3,4,\n" * 20, None, "data.csv has no row with a value"),
        (GOOD.replace("yes", "no"), None, 'data.csv has one class only: every row has "no"'),
        (GOOD + "1,2,maybe\n", None, 'a single row of the class "maybe" in label column "y" (line 42)'),
        (
            GOOD,
            {"label": "diagnosis"},
            'the label is "diagnosis", and data.csv has no such column; it has age, dose, y',
        ),
        (GOOD, {"label": "Dose"}, 'perhaps "dose" is meant'),
        (GOOD, {"label": 3}, "the label is column 3, and data.csv has 3 columns; count from 0 to 2"),
        (GOOD, {"label": -4}, "the label is column -4"),
        ("".join(ROWS), {"label": "sick"}, "data.csv has no header line with that name"),
        (GOOD.replace("age", "y", 1), None, 'line 1 names the label "y" twice, in fields 1 and 3'),
        (GOOD.replace("age", "Y", 1), None, '2 columns that could be the label, "Y" and "y"'),
        (GOOD, {"task": "regression"}, 'values of label column "y" (line 2 has "no", line 3 has "yes"'),
        (GOOD.replace("no", "so", 1) + "1,2,so\n", {"task": "binary"}, "3 different values"),
        ("x,note\n" + "".join(f"{i},note {i}\n" for i in range(40)), None, "40 different texts in the 40 rows"),
        ("x,price\n" + "".join(f"{i},{i}.5\n" for i in range(40)) + "7,cheap\n", None, 'line 42 has "cheap"'),
        ("alone\n" + "1\n0\n" * 20, None, "data.csv has a single column"),
        # rows and quotes: the line is the editor's, quoted newlines included
        (GOOD + "1,2\n" + GOOD, None, "line 42 has 2 fields where line 1 has 3"),
        (GOOD.replace("20,0.0,no", '20,"0\n0",no') + "1,2,yes,4\n", None, "line 43 has 4 fields where line 1 has 3"),
        ("Doses of 2026\n" + GOOD, None, "line 1 has 1 field where line 2 has 3"),
        (
            "age;dose\n" + GOOD.replace(",", ";"),
            None,
            "line 1 has 2 fields where line 2 has 3 (separated by semicolon)",
        ),
        (GOOD.replace("\n", "\r") + "1,2\r", None, "line 42 has 2 fields"),
        (GOOD + '50,"2,no\n', None, "line 42: the quote that opens column 2 is never closed"),
        (GOOD + '50,"ok","2,no\n51,2,yes\n', None, "line 42: the quote that opens column 3 is never closed"),
        (GOOD.replace("25,", '"25,') + '9,"a",no\n', None, "line 7: the quote that opens column 1 closes on line 42"),
        # other things under the name of a table
        (gzip.compress(GOOD.encode()), None, "data.csv holds gzip-compressed data"),
        (
            b"PK\x03\x04" + b"\x14\0\x06\0\x08\0" + bytes(16) + b"[Content_Types].xml" + bytes(50),
            None,
            "an Excel workbook (.xlsx)",
        ),
        (b"PK\x03\x04" + bytes(range(256)) * 4, None, "data.csv holds a zip archive"),
        (b"PAR1\x15\x04" + bytes(50), None, "data.csv is a Parquet file without its end"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), None, "a PNG image"),
        (GOOD.encode() + b"\0\0\0", None, "binary content"),
        (bytes(random.Random(1).choices(range(1, 256), k=4000)), None, "binary content"),
        (GOOD.encode("utf-16-le"), None, "UTF-16 text without a byte order mark"),
        (b"\xff\xfe" + GOOD.encode("utf-16-le") + b"\n", None, "begins like UTF-16"),
        (b'[{"a": 1}]', None, "holds JSON"),
        (b"<!DOCTYPE html><html>", None, "a web page"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_one_sentence(content: str | bytes, job: object, said: str) -> None:
    assert said in refusal(content, job=job)


def test_columns_that_only_look_like_file_signatures_are_data() -> None:
    assert table("PAR1,ORC,y\n" + "1,2,a\n3,4,b\n" * 10).columns == ("PAR1", "ORC", "y")


def test_other_columns_of_one_name_are_told_apart() -> None:
    assert table("x,x,y\n" + "1,2,a\n3,4,b\n" * 10).columns == ("x", "x_2", "y")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(GOOD.encode() * 9)[:-20], "data.csv.gz ends in the middle of its compressed content"),
        (gzip.compress(GOOD.encode())[:-3], "data.csv.gz ends in the middle"),
        (GOOD.encode(), "data.csv.gz is not a gzip file"),
        (gzip.compress(b""), "empty once decompressed"),
        (gzip.compress(GOOD.encode())[:-8] + b"\0\0\0\0" + gzip.compress(GOOD.encode())[-4:], "damaged gzip file"),
        (gzip.compress(b"PK\x03\x04" + bytes(99)), "a zip archive"),
        (gzip.compress(b"PAR1\x15\x04" + bytes(99)), "a Parquet file"),
    ],
)
def test_a_broken_gzip_is_refused(content: bytes, said: str) -> None:
    assert said in refusal({"data.csv.gz": content})


def test_a_gzip_file_is_read_even_of_several_members() -> None:
    halves = gzip.compress(HEADER.encode() + "".join(ROWS[:20]).encode()) + gzip.compress("".join(ROWS[20:]).encode())
    assert table({"data.csv.gz": halves}).columns == ("age", "dose", "y")


def test_an_incomplete_sample_is_judged_only_on_what_it_can_show() -> None:
    # cut within a row; far fewer than 20 rows so far, and a class with a single row
    assert table(GOOD[:90], complete=False).task is Task.BINARY
    assert table(HEADER + "1,2,a\n2,3,b\n4,5,b\n6,", complete=False).task is Task.BINARY
    assert "line 3 has 2 fields" in refusal(HEADER + "1,2,a\n2,3\n4,5,b\n6,7,a\n", complete=False)


def test_the_beginning_of_a_large_gzip_is_enough() -> None:
    large = "x,y\n" + "".join(f"{random.Random(i).random()},{i % 2}\n" for i in range(20_000))
    beginning = gzip.compress(large.encode())[:50_000]
    assert table({"big.csv.gz": beginning}, complete=False).task is Task.BINARY


@pytest.mark.parametrize(
    "name", ["my data.csv", "a+b.csv", "100%25.csv", "größe 数据.csv", "noextension", "Data.CSV", "test.csv"]
)
def test_a_single_file_may_have_any_name(name: str) -> None:
    assert table({name: GOOD}).files == (f"datasets/flowers/{name}",)


def test_train_validation_and_test_are_taken_in_that_order() -> None:
    found = table({"test.csv": GOOD, "train.csv": GOOD, "validation.csv.gz": gzip.compress(GOOD.encode())})
    assert [key.rsplit("/")[-1] for key in found.files] == ["train.csv", "validation.csv.gz", "test.csv"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.csv": GOOD, "b.csv": GOOD}, "2 data files (a.csv, b.csv) and none is named train.*"),
        (
            {"train.csv": GOOD, "train.csv.gz": gzip.compress(GOOD.encode())},
            "train.csv and train.csv.gz both hold the train rows",
        ),
        ({"train.csv": GOOD, "notes.csv": GOOD}, "notes.csv lies beside train.csv"),
        (
            {"train.csv": GOOD, "test.csv": GOOD.replace("age", "years", 1)},
            'test.csv has "years" in its first line where train.csv has "age"',
        ),
        ({"train.csv": GOOD, "test.csv": "".join(ROWS)}, 'test.csv has "20" in its first line'),
        ({"train.csv": "".join(ROWS), "test.csv": GOOD}, "test.csv begins with a header line and train.csv does not"),
        ({"train.csv": GOOD, "test.csv": GOOD.replace(",", ";")}, "test.csv has 1 column and train.csv has 3"),
        (
            {"train.csv": GOOD, "test.csv": GOOD.replace("yes", "perhaps", 1)},
            'test.csv, line 3 has the class "perhaps", which train.csv never has',
        ),
        ({"train.csv": GOOD, "test.csv": HEADER + ROWS[0]}, 'test.csv has the class "no" only'),
        ({"train.csv": GOOD, "validation.csv": HEADER}, "validation.csv has no row with a value"),
        ({"train.csv": HEADER + "".join(ROWS[:5]), "test.csv": GOOD}, "train.csv has 5 rows"),
        (
            {"train.csv": GOOD, "test.csv": b"\xff\xfe" + GOOD.encode("utf-16-le")},
            "save all files of a dataset as UTF-8",
        ),
        ({"2026/data.csv": GOOD}, "2026/data.csv lies in a folder of its own"),
        ({}, "holds no data file"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(files: dict[str, bytes | str], said: str) -> None:
    assert said in refusal(files)


def test_folders_hidden_files_and_job_json_are_not_data() -> None:
    names = ["", "job.json", ".DS_Store", "data.csv"]
    assert [file.file_name for file in data_files(stored(name) for name in names)] == ["data.csv"]


@pytest.mark.parametrize(
    ("dataset", "longest", "said"),
    [
        ("Iris", 30, 'The dataset name "Iris" cannot be used'),
        ("two words", 30, "cannot be used"),
        ("a--b", 30, "cannot be used"),
        ("-a", 30, "cannot be used"),
        ("a" * 33, 40, "cannot be used"),
        ("abcdef", 5, "has 6 characters, and only 5 fit"),
    ],
)
def test_a_dataset_name_that_names_cannot_derive_from_is_refused(dataset: str, longest: int, said: str) -> None:
    assert said in refusal(GOOD, dataset=dataset, longest=longest)


def test_whatever_the_damage_the_answer_is_a_plan_or_one_sentence() -> None:
    originals = [GOOD.encode(), b"\xff\xfe" + GOOD.encode("utf-16-le"), gzip.compress(GOOD.encode())]
    pieces = [b'"', b"\n", b"\r", b",", b";", b"\0", b"\xff", b"NA", b"inf", b"1_0", b"\t", b'""', b"\xe2\x80\xa8", b""]
    jobs = [None, {"label": "dose"}, {"task": "regression"}, {"label": -1, "task": "multiclass"}]
    for seed in range(2_000):
        chance = random.Random(seed)
        content = bytearray(chance.choice(originals))
        name = "data.csv.gz" if content.startswith(b"\x1f\x8b") else "data.csv"
        for _ in range(chance.randrange(1, 6)):
            start = chance.randrange(len(content))
            content[start : start + chance.choice([0, 1, 5, 50])] = chance.choice(pieces)
        try:
            found = table({name: bytes(content)}, job=chance.choice(jobs), complete=chance.random() < 0.7)
        except DataRejected as refused:
            reason = refused.reason
        else:
            reason = found.explanation
        assert reason.endswith(".")
        assert len(reason.splitlines()) == 1


def test_columns_of_one_name_are_told_apart_and_the_verdict_says_so() -> None:
    found = table("x,x,y,\n" + "1,2,a,5\n3,4,b,6\n" * 10)
    assert found.columns == ("x", "x_2", "y", "column_3")
    assert 'Columns of one name are told apart: field 2, "x", is called "x_2".' in found.explanation


def test_texts_where_numbers_are_to_be_predicted_are_refused_with_the_first_three_rows() -> None:
    assert refusal(GOOD, job={"task": "regression"}) == (
        'data.csv has texts in 40 of the 40 values of label column "y" (line 2 has "no", line 3 has "yes", line 4 has '
        '"no"), and regression needs numbers; correct it, or set another task in job.json.'
    )


@pytest.mark.parametrize(
    "label", ['"$1,2{i:02}.50"', "{i} %", "€{i}", "({i}.25)", '"{i},5 kr"', "{i} 000", "1'0{i:02}", "US$ {i}"]
)
def test_money_percentages_and_thousands_are_numbers_to_predict(label: str) -> None:
    assert table("x,y\n" + "".join(f"{i},{label.format(i=i)}\n" for i in range(40))).task is Task.REGRESSION


@pytest.mark.parametrize("label", ["{i} apples", "{i}-{i}", "2026-11-{i:02}", "{i}:30", "item {i}", "1.2.{i}"])
def test_texts_with_digits_are_no_numbers(label: str) -> None:
    found = refusal("x,y\n" + "".join(f"{i},{label.format(i=i)}\n" for i in range(40)))
    assert "40 different texts" in found


def explained(content: str) -> str:
    return plan_dataset(builders.drop(content.encode()), 32)[0].explanation


def test_columns_without_name_and_values_at_the_end_are_no_label() -> None:
    rows = "".join(f"{i};{'ab'[i % 2]};;\n" for i in range(40))
    assert 'The label is the column "kind", the last' in explained("size;kind;;\n" + rows)


def test_classes_that_differ_by_case_alone_are_pointed_out() -> None:
    rows = "".join(f"{i},{('Yes', 'yes', 'No')[i % 3]}\n" for i in range(40))
    assert 'The classes "Yes" and "yes" differ in the case of their letters alone' in explained("size,kind\n" + rows)
    assert "differ in the case" not in explained("size,kind\n" + rows.replace("Yes", "yes"))


@pytest.mark.parametrize("title", ["Sales report 2025,,", ",,Sales report 2025", '"Sales, 2025",,'])
def test_a_title_above_the_header_is_called_one(title: str) -> None:
    rows = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(40))
    with pytest.raises(DataRejected, match="which is a title and no header; remove the lines above"):
        explained(f"{title}\n\nsize,weight,kind\n{rows}")


def test_a_sparse_first_row_is_no_title() -> None:
    rows = "".join(f"{'ab'[i % 2]},{i},{i % 7}\n" for i in range(40))
    assert "No header line" in explained(f"a,,\n{rows}")


MIXED = HEADER + "".join(f"{'fifty' if i == 50 else i},{i / 2},{'yes' if i % 2 else 'no'}\n" for i in range(120))


def test_a_text_among_the_numbers_of_a_feature_is_refused_with_its_line_and_what_to_do() -> None:
    found = refusal({"mixed.csv": MIXED})
    assert found == (
        'mixed.csv, line 52 has "fifty" in the column "age", which otherwise holds numbers; correct it, or leave the '
        "field empty."
    )
    without_header = refusal(
        {"mixed.csv": MIXED.removeprefix(HEADER).replace("yes", "1").replace("no", "0")}, job={"label": 2}
    )
    assert 'mixed.csv, line 51 has "fifty" in column 0 (counted from 0)' in without_header


def test_a_file_that_is_not_seen_whole_is_left_to_the_training_job() -> None:
    assert table(MIXED, complete=False).columns == ("age", "dose", "y")
