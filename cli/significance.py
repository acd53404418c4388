"""Whether two models differ by more than chance, by how much, and how much more has to be seen to tell.

Tests are two-sided, at 5 %; what has to be seen is reckoned for a power of 80 %, which is usual. A p-value tells how
often two equal models would differ as much as seen, or more. It holds for one look at a number of requests that was
settled beforehand: who looks every hour, and stops at the first difference, finds one where there is none.

Sources: NIST/SEMATECH e-Handbook of Statistical Methods (the handbook, by section); Agresti, Categorical Data Analysis,
3rd edition; Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd edition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

from scipy import stats

LEVEL = 0.05
_TWO_SIDED = NormalDist().inv_cdf(1 - LEVEL / 2)
_POWER = NormalDist().inv_cdf(0.8)
_FEW = 5.0  # expected in a cell: the usual bound for what is only approximately normal (the handbook, 7.3.3)


@dataclass(frozen=True)
class Finding:
    """What a comparison came to; a difference is the challenger's less the live model's."""

    difference: float
    p_value: float | None  # None where there is too little to test
    low: float | None = None  # of the 95 % confidence interval of the difference
    high: float | None = None
    needed: int | None = None  # how many in all would tell a difference of this size; None where there is none
    test: str = ""

    @property
    def significant(self) -> bool:
        return self.p_value is not None and self.p_value < LEVEL


def proportions(live: tuple[int, int], challenger: tuple[int, int]) -> Finding:
    """Of two shares, (how many, of how many), such as failed requests of all requests.

    z = (p2 - p1) / sqrt(p (1 - p) (1/n1 + 1/n2)) with the pooled p (the handbook, 7.3.3); Fisher's exact test where
    fewer than 5 are expected somewhere. The interval is Wald's, without pooling (Agresti, 3.1.2).
    """
    (bad1, n1), (bad2, n2) = live, challenger
    if not n1 or not n2:
        return Finding(0.0, None)
    p1, p2 = bad1 / n1, bad2 / n2
    pooled = (bad1 + bad2) / (n1 + n2)
    spread = math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    if min(n1, n2) * min(pooled, 1 - pooled) < _FEW:
        p_value = float(stats.fisher_exact([[bad1, n1 - bad1], [bad2, n2 - bad2]]).pvalue)
        test = "Fisher's exact test"
    else:
        z = (p2 - p1) / math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        p_value, test = 2 * NormalDist().cdf(-abs(z)), "two-proportion z-test"
    return Finding(
        p2 - p1,
        p_value,
        p2 - p1 - _TWO_SIDED * spread,
        p2 - p1 + _TWO_SIDED * spread,
        proportions_needed(p1, p2, n2 / (n1 + n2)),
        test,
    )


def proportions_needed(p1: float, p2: float, share: float) -> int | None:
    """How many requests in all, of which the challenger gets a share, tell two shares apart; None where they are one.

    N = (z sqrt(p (1 - p) (1/(1 - s) + 1/s)) + z' sqrt(p1 (1 - p1)/(1 - s) + p2 (1 - p2)/s))^2 / (p2 - p1)^2, with
    p = (1 - s) p1 + s p2 (Fleiss, Levin and Paik, 4.4: unequal sample sizes, without their continuity correction).
    """
    if p1 == p2 or not 0 < share < 1:
        return None
    p, rest = (1 - share) * p1 + share * p2, 1 - share
    under_none = _TWO_SIDED * math.sqrt(p * (1 - p) * (1 / rest + 1 / share))
    under_some = _POWER * math.sqrt(p1 * (1 - p1) / rest + p2 * (1 - p2) / share)
    return math.ceil(((under_none + under_some) / (p2 - p1)) ** 2)


def at_most(bad: int, of: int) -> float:
    """The upper 95 % bound of a share: Clopper and Pearson's, one-sided; for none of n it is about 3/n."""
    return 1.0 if bad >= of else float(stats.beta.ppf(1 - LEVEL, bad + 1, of - bad))


def means(live: Sequence[float], challenger: Sequence[float]) -> Finding:
    """Of two series of means, such as the latency of each minute: Welch's t-test (the handbook, 7.3.1.2).

    CloudWatch keeps no variance of requests, so that the means of minutes are what is compared, as batch means are in
    simulation: they are nearly normal and hardly depend on one another. `needed` counts minutes of either.
    """
    if min(len(live), len(challenger)) < 2:
        return Finding(0.0, None)
    difference = fmean(challenger) - fmean(live)
    scatter = variance(live), variance(challenger)
    if not any(scatter):
        return Finding(difference, None if difference == 0 else 0.0, difference, difference, None, "no scatter")
    found = stats.ttest_ind(challenger, live, equal_var=False)
    interval = found.confidence_interval(1 - LEVEL)
    # n = (z + z')^2 (s1^2 + s2^2) / d^2 for each of two groups of one size (the handbook, 7.2.2.2, for two)
    needed = math.ceil((_TWO_SIDED + _POWER) ** 2 * sum(scatter) / difference**2) if difference else None
    return Finding(difference, float(found.pvalue), float(interval.low), float(interval.high), needed, "Welch's t-test")


def matched(only_live: int, only_challenger: int, rows: int) -> Finding:
    """Of the same rows, answered by both: how many only one of them has right. McNemar's test, in its exact form.

    Of equal models either is as likely to be the one that is right: b is binomial among b + c with 1/2 (Agresti,
    11.1.2). The interval is Wald's for matched pairs: ((b + c) - (c - b)^2 / n)^1/2 / n (11.1.1).
    """
    split = only_live + only_challenger
    if not rows:
        return Finding(0.0, None)
    difference = (only_challenger - only_live) / rows
    if not split:
        return Finding(0.0, 1.0, 0.0, 0.0, None, "McNemar's exact test")
    p_value = float(stats.binomtest(only_challenger, split, 0.5).pvalue)
    spread = math.sqrt(split - (only_challenger - only_live) ** 2 / rows) / rows
    return Finding(
        difference,
        p_value,
        difference - _TWO_SIDED * spread,
        difference + _TWO_SIDED * spread,
        matched_needed(split / rows, difference),
        "McNemar's exact test",
    )


def matched_needed(split: float, difference: float) -> int | None:
    """How many rows tell a difference d where a share v of them is split: n = (z sqrt(v) + z' sqrt(v - d^2))^2 / d^2
    (Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43, 1987)."""
    if not difference:
        return None
    wide = _TWO_SIDED * math.sqrt(split) + _POWER * math.sqrt(max(split - difference**2, 0.0))
    return math.ceil((wide / difference) ** 2)


def paired(differences: Sequence[float]) -> Finding:
    """Of the same rows, answered by both: the challenger's error less the live model's. Student's paired t-test.

    t = mean / (s / sqrt(n)) with n - 1 degrees of freedom (the handbook, 7.3.1.1); n = ((z + z') s / d)^2 (7.2.2.2).
    """
    if len(differences) < 2:
        return Finding(0.0, None)
    difference, scatter = fmean(differences), math.sqrt(variance(differences))
    if not scatter:
        return Finding(difference, None if difference == 0 else 0.0, difference, difference, None, "no scatter")
    found = stats.ttest_1samp(differences, 0.0)
    interval = found.confidence_interval(1 - LEVEL)
    needed = math.ceil(((_TWO_SIDED + _POWER) * scatter / difference) ** 2) if difference else None
    return Finding(difference, float(found.pvalue), float(interval.low), float(interval.high), needed, "paired t-test")
