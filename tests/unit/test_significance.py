"""The arithmetic of comparisons, against examples that were worked out elsewhere or by hand."""

from __future__ import annotations

import pytest

from cli.significance import at_most, matched, means, paired, proportions, proportions_needed


def test_two_shares_are_compared_by_their_pooled_scatter() -> None:
    """38 and 21 of 200: pooled 0.1475, z = 0.085 / sqrt(0.1475 x 0.8525 x 0.01) = 2.397, of which p is 0.0165."""
    found = proportions((38, 200), (21, 200))
    assert found.test == "two-proportion z-test"
    assert found.difference == pytest.approx(-0.085)
    assert found.p_value == pytest.approx(0.0165, abs=1e-4)
    assert found.significant


def test_few_failures_are_counted_exactly() -> None:
    """Fisher's tea: 3 of 4 against 1 of 4. One-sided 17/70; both tails are 34/70."""
    found = proportions((3, 4), (1, 4))
    assert found.test == "Fisher's exact test"
    assert found.p_value == pytest.approx(34 / 70)
    assert proportions((0, 900), (0, 100)).p_value == 1.0
    assert proportions((0, 0), (0, 100)).p_value is None


def test_the_requests_that_tell_two_shares_apart() -> None:
    """0.01 and 0.02, half each: p = 0.015; (1.95996 sqrt(0.0591) + 0.84162 sqrt(0.0198 + 0.0392))^2 / 0.0001 = 4636.3.

    A tenth each way costs more: the smaller group decides.
    """
    assert proportions_needed(0.01, 0.02, 0.5) == 4637
    few = proportions_needed(0.01, 0.02, 0.1)
    assert few is not None
    assert few > 2 * 4637
    assert proportions_needed(0.01, 0.01, 0.5) is None


def test_none_of_n_is_at_most_three_in_n() -> None:
    assert at_most(0, 1000) == pytest.approx(0.003, abs=1e-5)  # 1 - 0.05 ** (1 / 1000) = 0.0029912
    assert at_most(4, 4) == 1.0


def test_two_series_with_other_scatter() -> None:
    """Means 3 and 20, variances 2.5 of 5 and 100 of 3: t = 17 / sqrt(0.5 + 33.33) = 2.923 with 2.06 degrees of freedom.

    With 2 degrees p is 1 - 2.923 / sqrt(2.923^2 + 2) = 0.0998, a little more. One variance for both would say 0.008.
    """
    found = means([1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 20.0, 30.0])
    assert (found.difference, found.test) == (17.0, "Welch's t-test")
    assert found.p_value is not None
    assert 0.09 < found.p_value < 0.0998
    assert not found.significant
    assert found.low is not None
    assert found.low < 0
    assert means([1.0], [2.0]).p_value is None
    assert means([1.0, 1.0], [1.0, 1.0]).p_value is None
    # (1.95996 + 0.84162)^2 (1 + 1) / 1 = 15.7 minutes of each
    assert means([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]).needed == 16


def test_the_same_rows_answered_by_both() -> None:
    """Of 20 rows 2 and 10 are split: 2 (1 + 12 + 66) / 4096 = 0.03857."""
    found = matched(2, 10, 20)
    assert found.difference == pytest.approx(0.4)
    assert found.p_value == pytest.approx(158 / 4096)
    assert found.low == pytest.approx(0.4 - 1.95996 * (12 - 64 / 20) ** 0.5 / 20, abs=1e-5)
    assert matched(0, 0, 50).p_value == 1.0
    assert matched(1, 0, 10).significant is False
    # v = 0.6, d = 0.4: (1.95996 x 0.774597 + 0.84162 x 0.663325)^2 / 0.16 = 27.0
    assert matched(2, 10, 20).needed == 27


def test_errors_of_a_number_on_the_same_rows() -> None:
    """Differences 1, 2, 3, 4, 5: mean 3, s = 1.5811, t = 4.2426 with 4 degrees, p = 0.0132."""
    found = paired([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.difference, found.test) == (3.0, "paired t-test")
    assert found.p_value == pytest.approx(0.0132, abs=1e-4)
    assert found.needed == 3  # (2.80158 x 1.5811 / 3)^2 = 2.18
    assert paired([2.0, 2.0]).p_value == 0.0
    assert paired([1.0]).p_value is None
