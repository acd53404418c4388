"""Numbers as people write them are read alike by columns and by cells, and in one spelling a column."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

import dataset
import numerals
from numerals import Spelling
from preprocess import Numbers

POINT, COMMA, LONE_COMMA = Spelling(), Spelling(",", "."), Spelling(",", "")
NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("text", "point", "comma", "lone_comma"),
    [
        ("7", 7, 7, 7),
        ("-1.5e3", -1500, -1500, -1500),
        ("1.234", 1.234, 1234, 1.234),
        ("1,234", 1234, 1.234, 1.234),
        ("1,234,567", 1234567, None, None),
        ("1.234.567", None, 1234567, None),
        ("$1,234.50", 1234.5, None, None),
        ("1.234,50 €", None, 1234.5, None),
        (f"1{NBSP}234,5{NBSP}€", None, 1234.5, 1234.5),
        ("1'234.50 CHF", 1234.5, None, 1234.5),
        ("12 %", 12, 12, 12),
        ("12.5%", 12.5, None, 12.5),
        ("-$5", -5, -5, -5),
        ("$-5", -5, -5, -5),
        ("\u22123 kr", -3, -3, -3),
        ("(1,000.00)", -1000, None, None),
        ("US$ 3", 3, 3, 3),
        ("EUR 12", 12, 12, 12),
        (".5", 0.5, 0.5, 0.5),
        ("0,5", None, 0.5, 0.5),
        ("12,34", None, 12.34, 12.34),
        ("1 2", None, None, None),
        ("12,34,567.1", None, None, None),
        ("1-2", None, None, None),
        ("- 5 -", None, None, None),
        ("(3", None, None, None),
        ("$", None, None, None),
        ("12 apples", None, None, None),
        ("2026-11-28", None, None, None),
        ("10:30", None, None, None),
        ("inf", None, None, None),
        ("\u0663", None, None, None),  # a digit of another script
    ],
)
def test_a_text_is_the_same_number_in_a_column_and_in_a_cell(
    text: str, point: float | None, comma: float | None, lone_comma: float | None
) -> None:
    for spelling, expected in ((POINT, point), (COMMA, comma), (LONE_COMMA, lone_comma)):
        assert numerals.number(text, spelling) == expected, spelling
        (found,), _ = dataset._spelled(pa.array([text]), spelling, False)
        assert (None if math.isnan(found) else found) == expected, spelling


@pytest.mark.parametrize(
    ("texts", "decimal_comma", "spelling"),
    [
        (["1", "2.5"], False, None),
        (["1,234", "7"], False, POINT),
        (["1,234", "7"], True, LONE_COMMA),
        (["1,234", "0.5"], True, POINT),
        (["1,234", "0,5"], False, LONE_COMMA),
        (["$1,234.50", "$2"], False, POINT),
        (["1.234,50", "2"], False, COMMA),
        (["1.234.567", "2 €"], False, COMMA),
        (["12,345,678", "2 €"], True, POINT),
        (["1,5", "2,5", "2.50"], False, LONE_COMMA),  # most texts decide
        (["$2,159", "$1,000", "7"], True, POINT),  # nobody writes money with three decimals
        (["2,159 \u20ac", "EUR 1,000"], True, POINT),
        (["2,159 %", "-1,000"], True, LONE_COMMA),
        (["1,234", "0,567"], False, LONE_COMMA),  # no thousands begin with a zero
        (["1.234", "0.567 \u20ac"], True, POINT),
    ],
)
def test_a_columns_texts_tell_its_spelling(texts: list[str], decimal_comma: bool, spelling: Spelling | None) -> None:
    assert dataset._spelled(pa.array(texts), None, decimal_comma)[1] == spelling


def test_a_dash_among_numbers_is_a_missing_one_and_elsewhere_a_value(tmp_path: Path) -> None:
    rows = "".join(f"{('-', '1,250', '7')[i % 3]},{'+-'[i % 2]}\n".replace("1,250", '"1,250"') for i in range(30))
    (tmp_path / "data.csv").write_text("income,label\n" + rows)
    read = dataset.load(tmp_path, dataset.Layout(1, True, "comma", "utf-8", "binary"), seed=1)
    column = read.train.columns[0]
    assert isinstance(column, Numbers)
    assert {None if math.isnan(value) else value for value in column.values.tolist()} == {None, 1250, 7}
    assert read.classes == ["+", "-"]


@pytest.mark.parametrize(
    ("texts", "first", "spelling"),
    [
        (["85 m2", "7 m2", "1,250.5 m2"], 85, Spelling(unit="m2")),
        (["12kg", "7", "3.5kg", "-"], 12, Spelling(unit="kg")),
        (["1,5 \u00b0C", "-2,5 \u00b0C", "3 \u00b0C"], 1.5, Spelling(",", "", "\u00b0C")),
        (["60 km/h", "70 km/h", "80 km/h"], 60, Spelling(unit="km/h")),
        (["1 kg", "2 g", "3 kg"], None, None),  # which are not the same
        (["2 doors", "4 doors"], None, None),  # which might as well be categories
        (["A 1", "A 2", "A 3"], None, None),
        (["1e5", "2e5", "3"], 1e5, None),
    ],
)
def test_a_unit_behind_every_number_of_a_column_is_left_aside(
    texts: list[str], first: float | None, spelling: Spelling | None
) -> None:
    values, found = dataset._numbers(pa.array(texts), None, False)
    if first is None:
        assert any(math.isnan(value) for value in values)
        return
    assert (values[0], found) == (first, spelling)
    if spelling:  # a cell that comes to be served may do without
        assert numerals.number(texts[0], spelling) == first
        assert numerals.number(texts[0].removesuffix(spelling.unit).rstrip(), spelling) == first
        # A validation file is read as the training file was.
        assert dataset._numbers(pa.array(texts), spelling, False)[0][0] == first


def test_a_column_with_a_unit_is_a_column_of_numbers(tmp_path: Path) -> None:
    rows = "".join(f"{10 + i} m2,{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "data.csv").write_text("area,label\n" + rows)
    read = dataset.load(tmp_path, dataset.Layout(1, True, "comma", "utf-8", "binary"), seed=1)
    assert isinstance(read.train.columns[0], Numbers)
    assert read.train.columns[0].spelling == Spelling(unit="m2")
