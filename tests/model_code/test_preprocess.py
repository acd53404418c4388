import numpy as np
import pytest

from preprocess import CategoricalEncoding, Encoder, Numbers, NumericEncoding, Texts, fit


def test_a_numeric_column_becomes_its_standard_score() -> None:
    column = Numbers(np.array([1.0, 3.0, 5.0, 7.0]))
    encoding = fit("x", column)
    assert encoding == NumericEncoding("x", 4.0, pytest.approx(5**0.5), False)
    assert Encoder([encoding]).encode([column]).numbers[:, 0].tolist() == pytest.approx(
        [-1.341641, -0.447214, 0.447214, 1.341641], abs=1e-6
    )


def test_a_missing_number_is_the_mean_and_says_so() -> None:
    column = Numbers(np.array([1.0, np.nan, 3.0]))
    assert Encoder([fit("x", column)]).encode([column]).numbers.tolist() == [[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


def test_a_number_missing_only_later_is_the_mean() -> None:
    encoder = Encoder([fit("x", Numbers(np.array([1.0, 3.0])))])
    assert encoder.encode([Numbers(np.array([np.nan, 3.0]))]).numbers.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("values", [[5.0, 5.0], [np.nan, np.nan], [0.1, 0.1 + 1e-17]])
def test_a_column_that_says_nothing_becomes_zero(values: list[float]) -> None:
    column = Numbers(np.array(values))
    assert np.abs(Encoder([fit("x", column)]).encode([column]).numbers).max() < 1e-6


def test_absurdly_large_numbers_do_not_overflow() -> None:
    column = Numbers(np.array([1e308, -1e308, 1.0]))
    assert np.isfinite(Encoder([fit("x", column)]).encode([column]).numbers).all()


def test_a_category_seen_once_shares_the_code_of_the_unknown() -> None:
    column = Texts(np.array([0, 0, 1, 2, 2, -1]), ["red", "rare", "blue"])
    encoding = fit("x", column)
    assert encoding == CategoricalEncoding("x", ["blue", "red"])
    # Unknown 0, missing 1, blue 2, red 3.
    assert Encoder([encoding]).encode([column]).codes[:, 0].tolist() == [3, 3, 0, 2, 2, 1]


def test_of_very_many_categories_the_hundred_most_frequent_are_kept() -> None:
    codes = np.concatenate([np.repeat(np.arange(300), 2), np.repeat(np.arange(100, 200), 5)])
    encoding = fit("x", Texts(codes, [f"c{i:03}" for i in range(300)]))
    assert isinstance(encoding, CategoricalEncoding)
    assert encoding.categories == [f"c{i}" for i in range(100, 200)]


def test_codes_point_at_inputs_of_their_own() -> None:
    encoder = Encoder([
        CategoricalEncoding("a", ["x"]), NumericEncoding("n", 0.0, 1.0, True), CategoricalEncoding("b", ["y", "z"]),
    ])  # fmt: skip
    # Inputs: n, n is missing, then a: unknown, missing, x, then b: unknown, missing, y, z.
    assert encoder.inputs == 9
    rows = [Texts(np.array([0, -1]), ["x"]), Numbers(np.array([1.0, np.nan])), Texts(np.array([1, 0]), ["q", "z"])]
    assert encoder.encode(rows).codes.tolist() == [[4, 8], [3, 5]]


def test_a_schema_holds_the_whole_encoding() -> None:
    encoder = Encoder([CategoricalEncoding("a", ["x"]), NumericEncoding("n", 0.1 + 0.2, 1 / 3, True)])
    assert Encoder.from_schema(encoder.to_schema()).encodings == encoder.encodings
