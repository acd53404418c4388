from typing import Any

import numpy as np
import pytest

import dates
from preprocess import (
    CategoricalEncoding,
    DateEncoding,
    Dropped,
    Encoder,
    Numbers,
    NumericEncoding,
    Texts,
    fit,
    fit_all,
)


def test_a_number_is_told_in_spreads_from_the_median() -> None:
    column = Numbers(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    # Quartiles 2, 3 and 4: a normal distribution with them has a standard deviation of 2 / 1.349.
    encoding = fit("x", column)
    assert isinstance(encoding, NumericEncoding)
    assert (encoding.center, encoding.scale) == (3.0, pytest.approx(1.482580))
    numbers = Encoder([encoding]).encode([column]).numbers[:, 0]
    assert numbers.tolist() == pytest.approx([-1.349, -0.6745, 0, 0.6745, 1.349])


def test_a_few_absurd_values_do_not_move_the_others() -> None:
    usual = np.arange(100.0)
    one, other = fit("x", Numbers(usual)), fit("x", Numbers(np.append(usual[:-1], 1e12)))
    assert isinstance(one, NumericEncoding)
    assert isinstance(other, NumericEncoding)
    assert (one.center, one.scale) == (other.center, other.scale)


def test_knots_have_about_as_many_rows_between_them_and_stand_at_values_where_those_are_few() -> None:
    many = fit("x", Numbers(np.random.default_rng(0).exponential(size=4000)))
    assert isinstance(many, NumericEncoding)
    assert len(many.knots) == 49
    few = fit("x", Numbers(np.repeat([0.0, 1.0, 5.0], 20)))
    assert isinstance(few, NumericEncoding)
    assert [knot * few.scale + few.center for knot in few.knots] == pytest.approx([0, 1, 5], abs=1e-6)


def test_a_missing_or_infinite_number_stays_missing() -> None:
    column = Numbers(np.array([1.0, np.nan, 3.0, np.inf]))
    encoding = fit("x", Numbers(np.array([1.0, np.nan, 3.0])))
    assert isinstance(encoding, NumericEncoding)
    assert encoding.missing
    assert np.isnan(Encoder([encoding]).encode([column]).numbers[:, 0]).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("x", Numbers(np.array([5.0, 5.0])), "it is the same in every row"),
        ("x", Texts(np.array([0, 0]), ["a"]), "it is the same in every row"),
        ("x", Numbers(np.array([np.nan, np.nan])), "it is empty"),
        ("x", Texts(np.array([-1, -1]), []), "it is empty"),
        ("x", Texts(np.arange(40), [f"u{i}" for i in range(40)]), "it differs in nearly every row, as ids do"),
        ("customer_id", Numbers(np.arange(40.0)[::-1]), "it differs in nearly every row, as ids do"),
    ],
)
def test_a_column_that_can_teach_nothing_is_left_out(name: str, column: Any, reason: str) -> None:
    assert fit(name, column) == Dropped(name, reason)
    encoder = Encoder([Dropped(name, reason), NumericEncoding("y", 0.0, 1.0, [0.0], False)])
    rows = len(column.codes if isinstance(column, Texts) else column.values)
    assert encoder.encode([column, Numbers(np.zeros(rows))]).numbers.shape == (rows, 1)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("age", Numbers(np.arange(40.0))),  # different everywhere, but not called an id
        ("id", Numbers(np.arange(40.0) / 3)),  # measured
        ("code", Texts(np.arange(20), [f"u{i}" for i in range(20)])),  # too few to tell
        ("rain", Numbers(np.array([1.0, np.nan]))),  # missing or not says something
    ],
)
def test_a_column_that_may_teach_something_is_kept(name: str, column: Any) -> None:
    assert not isinstance(fit(name, column), Dropped)


@pytest.mark.parametrize(
    ("names", "first", "kept"),
    [
        (["column_0", "temp"], np.delete(np.arange(40.0), [3, 9]), False),  # the index that pandas writes, in part
        (["column_0", "column_1"], np.delete(np.arange(40.0), [3, 9]), True),  # no header: any column has such a name
        (["size", "temp"], np.delete(np.arange(40.0), [3, 9]), True),
        (["column_0", "temp"], np.arange(38.0) + 20, True),
    ],
)
def test_an_unnamed_column_that_numbers_the_rows_is_left_out(names: list[str], first: Any, kept: bool) -> None:
    found = fit_all(names, [Numbers(first), Numbers(np.sin(np.arange(38.0)))])
    assert isinstance(found[0], NumericEncoding) is kept


def test_of_columns_that_can_teach_nothing_one_is_kept() -> None:
    found = fit_all(["a", "b"], [Numbers(np.ones(3)), Numbers(np.ones(3))])
    assert [type(encoding) for encoding in found] == [NumericEncoding, Dropped]


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["2026-01-31", "2026-02-01", "2026-02-02"], "iso"),
        (["2026-01-31T10:00:00Z", "2026-02-01T10:30:00Z", "2026-02-01T11:00:00Z"], "iso"),
        (["31.01.2026", "01.02.2026", "02.02.2026"], "%d.%m.%Y"),
        (["01/31/2026", "02/01/2026", "02/02/2026"], "%m/%d/%Y"),
        (["31/01/2026", "01/02/2026", "02/02/2026"], "%d/%m/%Y"),
        (["2026-01-31", "2026-02-01"], None),  # two might as well be categories
        (["2026-01-31", "soon", "2026-02-01", "2026-02-02"], None),
        (["red", "green", "blue"], None),
    ],
)
def test_a_columns_form_of_dates_is_one_that_all_its_texts_have(texts: list[str], form: str | None) -> None:
    assert dates.form_of(texts) == form


def test_a_date_becomes_the_numbers_that_differ() -> None:
    # A Saturday, a Sunday and the Monday after it; no times.
    column = Texts(np.array([0, 1, 2, -1]), ["2026-01-31", "2026-02-01", "2026-02-02"])
    encoding = fit("since", column)
    assert isinstance(encoding, DateEncoding)
    assert [part.name for part in encoding.parts] == [
        "since: day", "since: month", "since: weekday", "since: day of month",
    ]  # fmt: skip
    values = dates.parts(dates.days(["2026-01-31", "2026-02-01 06:00", None], "iso"))
    assert values[0].tolist() == [20484, 1, 5, 31, 0]
    assert values[1].tolist() == [20485.25, 2, 6, 1, 6]
    assert np.isnan(values[2]).all()
    assert np.isnan(Encoder([encoding]).encode([column]).numbers[3]).all()


def test_absurdly_large_numbers_do_not_overflow() -> None:
    column = Numbers(np.array([1e308, -1e308, 1.0]))
    encoding = fit("x", column)
    assert isinstance(encoding, NumericEncoding)
    assert np.isfinite(Encoder([encoding]).encode([column]).numbers).all()
    assert np.isfinite(encoding.knots).all()
    assert Encoder([fit("x", Numbers(np.arange(9.0)))]).encode([column]).numbers[0, 0] == 1e4


def test_a_category_seen_once_shares_the_code_of_the_unknown() -> None:
    column = Texts(np.array([0, 0, 1, 2, 2, -1]), ["red", "rare", "blue"])
    encoding = fit("x", column)
    assert encoding == CategoricalEncoding("x", ["blue", "red"])
    # Unknown 0, missing 1, blue 2, red 3.
    assert Encoder([encoding]).encode([column]).codes[:, 0].tolist() == [3, 3, 0, 2, 2, 1]


def test_of_very_many_categories_the_thousand_most_frequent_are_kept() -> None:
    codes = np.concatenate([np.repeat(np.arange(3000), 2), np.repeat(np.arange(1000, 2000), 5)])
    encoding = fit("x", Texts(codes, [f"c{i:04}" for i in range(3000)]))
    assert isinstance(encoding, CategoricalEncoding)
    assert encoding.categories == [f"c{i}" for i in range(1000, 2000)]


def test_codes_point_at_rows_of_their_own() -> None:
    encoder = Encoder([CategoricalEncoding("a", ["x"]), CategoricalEncoding("b", ["y", "z"])])
    # a: unknown, missing, x, then b: unknown, missing, y, z.
    assert encoder.codes == 7
    rows = [Texts(np.array([0, -1]), ["x"]), Texts(np.array([1, 0]), ["q", "z"])]
    assert encoder.encode(rows).codes.tolist() == [[2, 6], [1, 3]]


def test_a_schema_holds_the_whole_encoding() -> None:
    encoder = Encoder(
        [
            CategoricalEncoding("a", ["x"]),
            NumericEncoding("n", 0.1 + 0.2, 1 / 3, [0.1, 0.7], True),
            DateEncoding("d", "iso", [2], [NumericEncoding("d: weekday", 3.0, 2.0, [0.0], True)]),
            Dropped("e", "it is empty"),
        ]
    )
    assert Encoder.from_schema(encoder.to_schema()).encodings == encoder.encodings


class Counted(list[str]):
    """Texts that count how often one of them is taken; to read them all is an error."""

    taken = 0

    def __getitem__(self, place: Any) -> Any:
        self.taken += 1
        return super().__getitem__(place)

    def __iter__(self) -> Any:
        raise AssertionError("all were read")


def test_of_a_few_rows_no_more_dates_are_read_than_they_have() -> None:
    days = [f"2026-01-{day:02d}" for day in range(1, 32)]
    encoding = fit("day", Texts(np.arange(31), days))
    few = Counted(days)
    taken = Encoder([encoding]).encode([Texts(np.array([30, -1, 0, 30]), few)]).numbers
    whole = Encoder([encoding]).encode([Texts(np.array([*range(31), -1]), days)]).numbers
    assert np.array_equal(taken, whole[[30, 31, 0, 30]], equal_nan=True)
    assert few.taken == 2


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1970-01-02", 1.0),
        ("1970-01-01T12:00", 0.5),
        ("1970-01-01 06:00:00.5", 0.25 + 0.5 / 86400),
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01T03:00+03:00", 0.0),
        ("1970-01-01T00:00:00-0600", 0.25),
        ("19700102", np.nan),  # a number, for all that anybody knows
        ("1970-02-30", np.nan),
        ("1970-W01-1", np.nan),
    ],
)
def test_iso_dates_are_read_alike_by_every_python(text: str, day: float) -> None:
    np.testing.assert_allclose(dates.days([text], "iso"), [day], atol=1e-9)
