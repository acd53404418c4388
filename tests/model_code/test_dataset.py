import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dataset
import numerals
from dataset import DataError, Dataset, Layout
from preprocess import Numbers, Texts

LAYOUT = Layout(label_position=2, header=True, delimiter="comma", encoding="utf-8", task="binary")
ROWS = [f"{i},{'red' if i % 3 else 'blue'},{'yes' if i % 2 else 'no'}" for i in range(40)]
CORRECT = "; correct it, or leave the field empty."
TEXT = "\n".join(["size,colour,bought", *ROWS]) + "\n"


def load(folder: Path, content: str | bytes, layout: Layout = LAYOUT, name: str = "data.csv") -> Dataset:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return dataset.load(folder, layout, seed=1)


def refusal(folder: Path, content: str | bytes, layout: Layout = LAYOUT, name: str = "data.csv") -> str:
    with pytest.raises(DataError) as caught:
        load(folder, content, layout, name)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def sizes(data: Dataset) -> list[float]:
    """The first column of all splits together, sorted."""
    parts = [part.columns[0] for part in (data.train, data.validation, data.test)]
    assert all(isinstance(part, Numbers) for part in parts)
    return sorted(np.concatenate([part.values for part in parts]).tolist())


def colours(data: Dataset) -> set[str]:
    column = data.train.columns[1]
    assert isinstance(column, Texts)
    return {column.categories[code] if code >= 0 else "missing" for code in column.codes}


def test_columns_are_numbers_or_texts_and_the_label_is_a_class(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT)
    assert data.names == ["size", "colour"]
    assert data.label_name == "bought"
    assert data.classes == ["no", "yes"]
    assert sizes(data) == list(range(40))
    assert colours(data) == {"red", "blue"}


def test_a_split_keeps_each_class_in_proportion_and_each_row_once(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [28, 6, 6]
    assert [part.label.mean() for part in (data.train, data.validation, data.test)] == [0.5, 0.5, 0.5]


def test_the_same_seed_gives_the_same_split_and_another_seed_another(tmp_path: Path) -> None:
    load(tmp_path, TEXT)
    chosen = [dataset.load(tmp_path, LAYOUT, seed).test.columns[0].values.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_class_of_two_rows_is_in_train_and_test(tmp_path: Path) -> None:
    text = "size,colour,bought\n" + "".join(f"{i},red,{'rare' if i < 2 else 'often'}\n" for i in range(40))
    data = load(tmp_path, text)
    rare = data.classes.index("rare")
    assert (data.train.label == rare).sum() == 1
    assert (data.test.label == rare).sum() == 1


@pytest.mark.parametrize(
    ("name", "layout", "content"),
    [
        ("semicolon", replace(LAYOUT, delimiter="semicolon"), TEXT.replace(",", ";").encode()),
        ("tab", replace(LAYOUT, delimiter="tab"), TEXT.replace(",", "\t").encode()),
        ("pipe", replace(LAYOUT, delimiter="pipe"), TEXT.replace(",", "|").encode()),
        ("byte order mark", LAYOUT, b"\xef\xbb\xbf" + TEXT.encode()),
        ("CRLF", LAYOUT, TEXT.replace("\n", "\r\n").encode()),
        ("CR", LAYOUT, TEXT.replace("\n", "\r").encode()),
        ("UTF-16", replace(LAYOUT, encoding="utf-16"), TEXT.encode("utf-16")),
        ("Latin-1", replace(LAYOUT, encoding="latin-1"), TEXT.encode("latin-1")),
        ("gzip", LAYOUT, gzip.compress(TEXT.encode())),
        ("no header", replace(LAYOUT, header=False), TEXT.split("\n", 1)[1].encode()),
        ("blank lines", LAYOUT, TEXT.replace("\n", "\n\n").encode()),
        ("no line end at the end", LAYOUT, TEXT.rstrip().encode()),
        ("quoted", LAYOUT, TEXT.replace("red", '"red"').encode()),
        ("spaces around values", LAYOUT, TEXT.replace(",", " , ").encode()),
    ],
)
def test_the_same_table_is_read_from(name: str, layout: Layout, content: bytes, tmp_path: Path) -> None:
    data = load(tmp_path, content, layout, "a+b 50% ü.csv")
    assert sizes(data) == list(range(40)), name
    assert colours(data) == {"red", "blue"}, name
    assert data.classes == ["no", "yes"], name


def test_latin_1_letters_survive(tmp_path: Path) -> None:
    text = TEXT.replace("red", "grün").encode("latin-1")
    assert colours(load(tmp_path, text, replace(LAYOUT, encoding="latin-1"))) == {"grün", "blue"}


def test_a_quoted_line_end_belongs_to_the_value(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.replace("red", '"red\nand, more"').replace("size", '"si\nze"'))
    assert colours(data) == {"red\nand, more", "blue"}
    assert data.names[0] == "si\nze"


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    table = pa.table({
        "size": pa.array([None, *range(1, 40)], pa.int64()),
        "colour": pa.array(["red" if i % 3 else "blue" for i in range(40)]).dictionary_encode(),
        "bought": [bool(i % 2) for i in range(40)],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "data.parquet")
    data = dataset.load(tmp_path, LAYOUT, seed=1)
    assert np.nansum(sizes(data)) == sum(range(40))
    assert colours(data) == {"red", "blue"}
    assert data.classes == ["false", "true"]


@pytest.mark.parametrize("token", ["", "NA", "?", "nan", "NaN", "null", "None", "N/A", " ", '""'])
def test_a_missing_value_is_missing_in_numbers_and_texts(token: str, tmp_path: Path) -> None:
    text = TEXT.replace("\n6,blue,", f"\n{token},{token},").replace("\n4,red,", f"\n4,{token},")
    data = load(tmp_path, text)
    values = np.array(sizes(data))
    assert np.isnan(values).sum() == 1
    assert np.nansum(values) == sum(range(40)) - 6
    columns = [part.columns[1] for part in (data.train, data.validation, data.test)]
    assert sum(int((column.codes < 0).sum()) for column in columns) == 2


def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.replace("\n3,blue,yes", "\n3,blue,").replace("\n4,red,no", "\n4,red,?"))
    assert data.rows_without_label == 2
    assert 4 not in sizes(data)


def test_whole_numbers_first_and_fractions_a_megabyte_later_are_one_numeric_column(tmp_path: Path) -> None:
    lines = [f"{i},red,{'yes' if i % 2 else 'no'}" for i in range(150_000)]
    lines[-1] = "0.5,red,no"
    data = load(tmp_path, "\n".join(["size,colour,bought", *lines]))
    assert 0.5 in sizes(data)


def test_a_text_a_megabyte_later_makes_a_text_column_when_its_numbers_are_few(tmp_path: Path) -> None:
    lines = [f"{i},{i % 3},{'yes' if i % 2 else 'no'}" for i in range(150_000)]
    lines[-1] = "1,other,no"
    data = load(tmp_path, "\n".join(["size,colour,bought", *lines]))
    assert colours(data) <= {"0", "1", "2", "other"}


def test_dates_and_booleans_are_texts(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.replace("red", "2026-11-23").replace("blue", "true"))
    assert colours(data) == {"2026-11-23", "true"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (("0", "1"), [0, 1]),
        (("-1", "1"), [-1, 1]),
        (("10", "9"), [9, 10]),
        (("0.5", "1.5"), [0.5, 1.5]),
        (("01", "02"), ["01", "02"]),
        (("1.0", "2.0"), [1.0, 2.0]),
        (("b", "a"), ["a", "b"]),
        (("True", "False"), ["False", "True"]),
    ],
)
def test_classes_stay_as_they_stood_in_the_data(written: tuple[str, str], read: list[object], tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.replace("yes", written[0]).replace("no", written[1]))
    assert data.classes == read
    assert [type(of) for of in data.classes] == [type(of) for of in read]


def test_files_that_are_split_already_are_used_as_they_are(tmp_path: Path) -> None:
    header = "size,colour,bought\n"
    (tmp_path / "train.csv").write_text(TEXT)
    (tmp_path / "validation.csv.gz").write_bytes(gzip.compress((header + "100,red,yes\n101,blue,no\n").encode()))
    (tmp_path / "test.csv").write_text(header + "200,green,yes\n201,red,no\n")
    data = dataset.load(tmp_path, LAYOUT, seed=1)
    assert data.train.columns[0].values.tolist() == list(range(40))
    assert data.validation.columns[0].values.tolist() == [100, 101]
    assert data.test.columns[0].values.tolist() == [200, 201]
    assert data.test.label.tolist() == [1, 0]


def test_a_missing_test_file_is_taken_out_of_train(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    (tmp_path / "validation.csv").write_text("size,colour,bought\n100,red,yes\n101,blue,no\n")
    data = dataset.load(tmp_path, LAYOUT, seed=1)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [34, 2, 6]


def test_a_text_column_stays_text_in_a_test_file_that_has_only_numbers_there(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    (tmp_path / "test.csv").write_text("size,colour,bought\n1,7,yes\n2,8,no\n")
    assert dataset.load(tmp_path, LAYOUT, seed=1).test.columns[1].categories == ["7", "8"]


def test_numbers_are_taken_as_the_label_of_a_regression(tmp_path: Path) -> None:
    data = load(tmp_path, TEXT.replace("yes", "2.5").replace("no", "1"), replace(LAYOUT, task="regression"))
    assert data.classes is None
    assert set(data.train.label.tolist()) == {1.0, 2.5}
    assert [len(part) for part in (data.train, data.validation, data.test)] == [28, 6, 6]


def edited(line: int, text: str) -> str:
    lines = TEXT.split("\n")
    lines[line - 1] = text
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (edited(12, "10,red"), "Line 12 of data.csv has 2 columns where 3 are expected."),
        (edited(12, "10,red,yes,more"), "Line 12 of data.csv has 4 columns where 3 are expected."),
        (edited(12, '10,"red,yes'), "Line 12 of data.csv opens a quote that never closes."),
        ("", "data.csv is empty."),
        ("size,colour,bought\n", "data.csv has a header and no rows."),
        ("\n".join(TEXT.split("\n")[:20]), "The dataset has 19 usable rows; at least 20 are needed."),
        (TEXT.replace("yes", "no"), "Every row has the label 'no'; at least two classes are needed."),
        (
            TEXT.replace("\n5,red,yes", "\n5,red,maybe"),
            "The label 'bought' has 3 classes; the task binary needs exactly 2.",
        ),
        (
            "size,colour,bought\n" + "".join(f"{i},red,{'rare' if i == 7 else 'often'}\n" for i in range(40)),
            "The class 'rare' of the label 'bought' has only 1 row; every class needs at least 2.",
        ),
        (gzip.compress(TEXT.encode())[:-20], "data.csv is a gzip file that ends too early."),
        ("size,colour\n1,red\n", "data.csv has 2 columns; the label is said to be in column 3."),
        (TEXT.encode().replace(b"red", b"r\xff\xfed"), "data.csv holds bytes that are not UTF-8 text."),
        (b"PAR1" + TEXT.encode(), None),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_on_is_one_sentence(content: str | bytes, sentence: str | None, tmp_path: Path) -> None:
    found = refusal(tmp_path, content)
    assert sentence is None or found == sentence


def test_a_text_among_many_numbers_is_named_with_its_line(tmp_path: Path) -> None:
    lines = [f"{i},red,{'yes' if i % 2 else 'no'}" for i in range(300)]
    lines[250] = "about 5,red,no"
    found = refusal(tmp_path, "\n".join(["size,colour,bought", *lines]))
    assert found == "Line 252 of data.csv has the text 'about 5' in the numeric column 'size'" + CORRECT


def test_a_text_in_a_regressions_label_is_named_with_its_line(tmp_path: Path) -> None:
    text = TEXT.replace("yes", "2.5").replace("no", "1").replace("\n7,red,2.5", "\n7,red,much")
    found = refusal(tmp_path, text, replace(LAYOUT, task="regression"))
    assert found == "Line 9 of data.csv has the text 'much' in the numeric column 'bought'" + CORRECT


def test_a_text_in_the_test_files_numeric_column_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    found = refusal(tmp_path, "size,colour,bought\n1,red,yes\nbig,red,no\n", name="test.csv")
    assert found == "Line 3 of test.csv has the text 'big' in the numeric column 'size'" + CORRECT


def test_a_test_file_of_one_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    found = refusal(tmp_path, "size,colour,bought\n1,red,yes\n2,red,yes\n", name="test.csv")
    assert found == "test.csv has rows of one class only; models can't be compared on it."


def test_a_class_that_only_the_test_file_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    found = refusal(tmp_path, "size,colour,bought\n1,red,maybe\n", name="test.csv")
    assert found == "test.csv has the class 'maybe', which train.csv does not have."


def test_a_test_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(TEXT)
    found = refusal(tmp_path, "colour,size,bought\nred,1,yes\n", name="test.csv")
    assert found == "test.csv does not have the columns of train.csv."


def test_two_files_of_any_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT)
    found = refusal(tmp_path, TEXT, name="b.csv")
    assert found == "Expected one data file, or train.* with validation.* and test.*, but found a.csv, b.csv."


def test_values_with_line_ends_and_quotes_survive_the_borders_of_blocks(tmp_path: Path) -> None:
    """Several blocks of text, whose borders fall anywhere."""
    texts = ["plain", "two\nlines", 'a ""quote""', 'three\n\n"",lines', "comma, and more"]
    rows = [f'{i},"{texts[i % 5]}{"x" * (i % 70)}",{"yes" if i % 2 else "no"}\n' for i in range(90_000)]
    content = "size,colour,bought\n" + "".join(rows)
    assert len(content) > 2 * dataset.BLOCK_BYTES
    data = load(tmp_path, content)
    assert sizes(data) == list(range(90_000))
    columns = [part.columns[1] for part in (data.train, data.validation, data.test)]
    found = {column.categories[code][:5] for column in columns for code in np.unique(column.codes)}
    assert found == {"plain", "two\nl", 'a "qu', "three", "comma"}


def test_a_stray_quote_inside_a_value_stays_there(tmp_path: Path) -> None:
    rows = [f'{i},{i % 40}" pipe,{"yes" if i % 2 else "no"}' for i in range(150_000)]
    rows[77] = '77,"a\nb",yes'
    data = load(tmp_path, "\n".join(["size,colour,bought", *rows]))
    assert sizes(data) == list(range(150_000))
    assert '7" pipe' in colours(data)


@pytest.mark.parametrize("padding", [b"", b"\0" * 100])
def test_gzip_files_that_follow_one_another_are_one(padding: bytes, tmp_path: Path) -> None:
    half = len(TEXT) // 2
    parts = [gzip.compress(part.encode()) for part in (TEXT[:half], TEXT[half:])]
    assert sizes(load(tmp_path, padding.join(parts) + padding)) == list(range(40))


def test_a_large_gzip_is_read_as_it_is_unpacked(tmp_path: Path) -> None:
    rows = "".join(f"{i},red,{'yes' if i % 2 else 'no'}\n" for i in range(400_000))
    assert len(rows) > 2 * dataset.BLOCK_BYTES
    assert sizes(load(tmp_path, gzip.compress(("size,colour,bought\n" + rows).encode(), 1))) == list(range(400_000))


def test_parquet_is_read_piece_by_piece(tmp_path: Path) -> None:
    rows = 3 * dataset.PARQUET_ROWS
    table = pa.table({
        "size": np.arange(rows),
        "colour": pa.array(["red", "blue", None]).take(pa.array(np.arange(rows) % 3)),
        "bought": pa.array(["no", "yes"]).take(pa.array(np.arange(rows) % 2)),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=rows // 2 + 1)
    data = dataset.load(tmp_path, LAYOUT, seed=1)
    assert sizes(data) == list(range(rows))
    assert colours(data) == {"red", "blue", "missing"}
    column = data.test.columns[1]
    first = np.flatnonzero(data.test.columns[0].values % 3 == 1)
    assert {column.categories[code] for code in column.codes[first]} == {"blue"}


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.25, -3.5, np.nan], np.float32),
        ([1e-6, 1.0, 1e6], np.float32),  # single precision is as exact for small values as for large ones
        ([16_777_215.0, 0.0], np.float32),  # 2 ** 24 - 1
        ([16_777_217.0, 0.0], np.float64),
        ([1.7e9, 1.7e9 + 40], np.float64),  # seconds since 1970: the steps of single precision are 128
        ([1000.01, 1000.02, 1000.03], np.float64),
        ([1e38, 0.0], np.float64),
        ([1e-35, 3e-35], np.float64),
        ([7.0, 7.0], np.float32),
        ([np.nan], np.float32),
        ([], np.float32),
    ],
)
def test_a_column_is_kept_in_single_precision_where_that_is_precise_enough(values: list[float], kept: type) -> None:
    assert dataset._narrowed(np.array(values, dtype=np.float64)).dtype == kept


def test_a_column_that_needs_double_precision_further_down_gets_it(tmp_path: Path) -> None:
    rows = "".join(f"{i * 200},red,{'yes' if i % 2 else 'no'}\n" for i in range(250_000))
    data = load(tmp_path, "size,colour,bought\n" + rows)
    assert sizes(data)[-1] == 249_999 * 200
    assert data.train.columns[0].values.dtype == np.float64


def test_texts_far_down_in_several_columns_of_numbers_are_met(tmp_path: Path) -> None:
    rows = [f"{i % 3},{i % 4},{'yes' if i % 2 else 'no'}" for i in range(400_000)]
    rows[-1] = "none of them,other,no"
    data = load(tmp_path, "\n".join(["size,colour,bought", *rows]))
    assert colours(data) <= {"0", "1", "2", "3", "other"}
    assert data.train.columns[0].categories[:3] == ["0", "1", "2"]


def priced(prices: list[str], layout: Layout = LAYOUT) -> str:
    return "size,price,bought\n" + "".join(
        f'{i},"{prices[i % len(prices)]}",{"yes" if i % 2 else "no"}\n' for i in range(60)
    )


@pytest.mark.parametrize(
    ("prices", "numbers", "spelling"),
    [
        (["$1,234.50", "$7", "(2.25)", "n/a"], {1234.5, 7.0, -2.25}, numerals.Spelling()),
        (["1.234,50 €", "0,5 €", "7 €"], {1234.5, 0.5, 7.0}, numerals.Spelling(",", ".")),
        (["12 %", "7%", "99.5 %"], {12.0, 7.0, 99.5}, numerals.Spelling()),
    ],
)
def test_money_and_percentages_are_numbers(
    prices: list[str], numbers: set[float], spelling: numerals.Spelling, tmp_path: Path
) -> None:
    column = load(tmp_path, priced(prices)).train.columns[1]
    assert isinstance(column, Numbers)
    assert set(column.values[~np.isnan(column.values)].tolist()) == numbers
    assert column.spelling == spelling


def test_a_text_among_prices_is_named_with_its_line(tmp_path: Path) -> None:
    prices = [f"${i},000.50" for i in range(1, 200)] + ["ask us"]
    rows = "".join(f'{i},"{price}",{"yes" if i % 2 else "no"}\n' for i, price in enumerate(prices))
    found = refusal(tmp_path, "size,price,bought\n" + rows)
    assert found == "Line 201 of data.csv has the text 'ask us' in the numeric column 'price'" + CORRECT


def test_a_test_file_is_read_in_the_training_files_spelling(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(priced(["1,234", "0,5"]))
    (tmp_path / "test.csv").write_text('size,price,bought\n1,"1,234",yes\n2,"5,678",no\n')
    data = dataset.load(tmp_path, LAYOUT, seed=1)
    assert data.test.columns[1].values.tolist() == pytest.approx([1.234, 5.678])


def test_money_can_be_predicted(tmp_path: Path) -> None:
    text = TEXT.replace("yes", '"$1,200.50"').replace("no", "$800")
    data = load(tmp_path, text, replace(LAYOUT, task="regression"))
    assert set(data.train.label.tolist()) == {1200.5, 800.0}


def test_a_label_of_texts_where_a_number_was_asked_is_refused_with_its_first_three_rows(tmp_path: Path) -> None:
    text = TEXT.replace("\n4,red,no", "\n4,red,5.5")
    found = refusal(tmp_path, text, replace(LAYOUT, task="regression"))
    assert found == (
        "39 of the 40 values of 'bought' in data.csv are not numbers (line 2 has 'no', line 3 has 'yes', line 4 has "
        "'no'), and numbers are to be predicted; name another label, or another task, in job.json."
    )


def test_a_label_that_is_missing_in_every_row_is_refused(tmp_path: Path) -> None:
    found = refusal(tmp_path, TEXT.replace("yes", "NA").replace("no", ""))
    assert found == "The label 'bought' has no value in any of the 40 rows of data.csv; there is nothing to learn."


def test_rows_that_are_appended_leave_those_before_them_in_their_split(tmp_path: Path) -> None:
    """A live model is scored on the new version's test rows, and must not have been trained on them."""

    def tested(count: int) -> set[float]:
        label = np.arange(count, dtype=np.int32) % 2
        rows = dataset.Rows([Numbers(np.arange(count, dtype=np.float32))], label)
        parts = dataset._split(rows, {"validation": 0.15, "test": 0.15}, stratify=True, seed=42)
        return set(parts["test"].columns[0].values.tolist())

    before, after = tested(1000), tested(2000)
    old = {row for row in after if row < 1000}
    assert (len(before), len(after)) == (150, 300)
    assert len(old & before) >= 0.85 * len(before), "but for a few at the border"
    assert len(old - before) <= 0.15 * len(before)
