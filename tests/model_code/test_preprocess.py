import numpy as np
import pytest

from preprocess import CategoricalEncoding, Encoder, Numbers, NumericEncoding, Texts, fit


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


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.1, 0.1 + 1e-17]])
def test_a_column_that_says_nothing_becomes_zero(values: list[float]) -> None:
    column = Numbers(np.array(values))
    assert np.abs(Encoder([fit("x", column)]).encode([column]).numbers).max() < 1e-6


def test_an_empty_column_has_one_knot() -> None:
    assert fit("x", Numbers(np.array([np.nan, np.nan]))) == NumericEncoding("x", 0.0, 1.0, [0.0], True)


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
    encoder = Encoder([CategoricalEncoding("a", ["x"]), NumericEncoding("n", 0.1 + 0.2, 1 / 3, [0.1, 0.7], True)])
    assert Encoder.from_schema(encoder.to_schema()).encodings == encoder.encodings
