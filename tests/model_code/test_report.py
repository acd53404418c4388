"""What a model's card shows, by tables small enough to work out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import report
from dataset import Dataset, Rows
from preprocess import Column, Numbers, Texts


def numbers(*values: float) -> Numbers:
    return Numbers(np.array(values, dtype=np.float64))


def texts(*values: str) -> Texts:
    """Missing where empty."""
    categories = sorted(set(values) - {""})
    return Texts(np.array([categories.index(one) if one else -1 for one in values]), categories)


def table(rows: int = 400, *, classes: bool = True, seed: int = 0) -> Dataset:
    """Two columns of which the label is the sign of the first, or twice the first; the second is noise."""

    def split(seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        first, second = rng.normal(0, 1, rows), rng.normal(0, 1, rows)
        return Rows([Numbers(first), Numbers(second)], (first > 0).astype(np.int64) if classes else 2 * first)

    names = ["matters", "noise"]
    return Dataset(names, "label", ["no", "yes"] if classes else None, split(seed), split(seed + 1), split(seed + 2), 3)


def values_of(column: Column) -> Any:
    assert isinstance(column, Numbers)
    return column.values


def twice(columns: Sequence[Column]) -> report.Floats:
    """A model of a number that uses the first column alone."""
    return np.asarray(2 * values_of(columns[0]))


def sign(columns: Sequence[Column]) -> report.Floats:
    """A model of classes that uses the first column alone, and is 90 % sure."""
    yes = np.where(values_of(columns[0]) > 0, 0.9, 0.1)
    return np.stack((1 - yes, yes), axis=1)


# ---- calibration ----


def test_calibration_of_two_classes_is_about_the_second_one() -> None:
    # the step 0.1..0.2 has 0.1 and 0.2/2: said 0.15 and 0.15, one of two happened; the last step said 0.9, happened
    probabilities = np.array([[0.85, 0.15], [0.85, 0.15], [0.1, 0.9], [0.1, 0.9]])
    found = report.calibration(np.array([0, 1, 1, 1]), probabilities)
    assert found["bins"] == [
        {"rows": 2, "predicted": 0.15, "observed": 0.5},
        {"rows": 2, "predicted": 0.9, "observed": 1.0},
    ]
    assert found["of"] == "second class"


def test_calibration_of_many_classes_is_about_the_predicted_one() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    found = report.calibration(np.array([0, 0]), probabilities)
    assert found["of"] == "predicted class"
    assert found["bins"] == [{"rows": 2, "predicted": 0.7, "observed": 0.5}]


def test_certainty_falls_into_the_last_step() -> None:
    found = report.calibration(np.array([1]), np.array([[0.0, 1.0]]))
    assert found["bins"] == [{"rows": 1, "predicted": 1.0, "observed": 1.0}]


# ---- confusion, ROC, residuals ----


def test_confusion_counts_actual_by_row_and_predicted_by_column() -> None:
    found = report.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), ["a", "b", "c"])
    assert found == {"classes": ["a", "b", "c"], "others": 0, "counts": [[1, 1, 0], [0, 1, 0], [1, 0, 0]]}


def test_more_classes_than_fit_share_the_last_row_and_column() -> None:
    labels = np.concatenate((np.repeat(np.arange(11), 2), [11, 12, 12 - 1]))  # 11 of them twice; 11 twice, 12 once
    found = report.confusion(labels, labels, [f"c{n}" for n in range(13)])
    assert found["classes"] == [f"c{n}" for n in range(11)]
    assert found["others"] == 2
    counts = np.array(found["counts"])
    assert counts.shape == (12, 12)
    assert counts[11, 11] == 3
    assert counts.sum() == np.trace(counts) == 25


def test_the_roc_goes_from_nobody_to_everybody_and_ties_make_a_slope() -> None:
    points = report.roc(np.array([True, True, False, False]), np.array([0.9, 0.5, 0.5, 0.1]))
    assert points == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]


def test_one_class_alone_has_no_roc() -> None:
    assert report.roc(np.array([True, True]), np.array([0.9, 0.5])) == []


def test_a_long_roc_is_thinned_and_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.3
    points = report.roc(positive, positive + rng.normal(0, 1, 5000))
    assert len(points) <= 81
    assert (points[0], points[-1]) == ([0, 0], [1, 1])
    false, true = np.array(points).T
    assert np.trapezoid(true, false) == pytest.approx(0.76, abs=0.02)  # normal scores one deviation apart


def test_residuals_are_counted_in_a_grid_and_every_row_once() -> None:
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    found = report.residuals(truth, truth + 1)
    assert found["mean"] == -1
    assert found["absolute_quantiles"] == [1, 1]
    assert not found["logarithmic"]
    assert sum(count for _, _, count in found["cells"]) == 4
    assert all(x > y for x, y, _ in found["cells"][:-1])  # predicted (across) above actual (up)


def test_a_label_over_many_powers_of_ten_gets_a_logarithmic_grid() -> None:
    truth = np.geomspace(1, 1e6, 200)
    found = report.residuals(truth, truth)
    assert found["logarithmic"]
    assert {x - y for x, y, _ in found["cells"]} == {0}
    assert len(found["cells"]) == 24


# ---- importance ----


@pytest.mark.parametrize(("classes", "predict", "metric"), [(True, sign, "log_loss"), (False, twice, "rmse")])
def test_a_column_that_the_model_does_not_use_has_no_importance(classes: bool, predict: Any, metric: str) -> None:
    found = report.importance(table(classes=classes), predict, seconds=60)
    assert (found["metric"], found["split"], found["not_measured"]) == (metric, "test", 0)
    first, second = found["columns"]
    assert first["name"] == "matters"
    assert second == {"name": "noise", "drop": 0, "spread": 0}


def test_importance_is_how_much_the_error_grows() -> None:
    # a model of y = 2 x is exact; with x dealt out the error is 2 (x - x'), and its root mean square sqrt(2) * 2 * s
    data = table(rows=2000, classes=False)
    deviation = float(values_of(data.test.columns[0]).std())
    [first, _] = report.importance(data, twice, seconds=60)["columns"]
    assert first["drop"] == pytest.approx(2 * 2**0.5 * deviation, rel=0.05)
    assert 0 < first["spread"] < 0.1


def test_importance_of_a_sure_classifier_is_what_half_of_wrong_answers_cost() -> None:
    # dealt out, the sign is right in half of the cases: the log loss goes from -ln 0.9 to -(ln 0.9 + ln 0.1) / 2
    found = report.importance(table(rows=2000), sign, seconds=60)
    assert found["baseline"] == pytest.approx(-np.log(0.9), rel=1e-4)
    assert found["columns"][0]["drop"] == pytest.approx((np.log(0.9) - np.log(0.1)) / 2, rel=0.05)


def test_when_the_time_is_up_what_predictions_go_along_with_has_been_measured() -> None:
    data = table(rows=2000, classes=False)
    wide = [Numbers(np.random.default_rng(n).normal(0, 1, 2000)) for n in range(300)]
    names = [f"c{n}" for n in range(300)] + ["matters"]
    data = Dataset(names, "label", None, *(Rows([*wide, s.columns[0]], s.label) for s in (data.train,) * 3), 0)
    ticks = iter(range(1000))
    found = report.importance(data, lambda columns: twice(columns[-1:]), seconds=3, clock=lambda: float(next(ticks)))
    assert found["columns"][0]["name"] == "matters"
    assert 0 < len(found["columns"]) < 301
    assert found["not_measured"] == 301 - len(found["columns"])
    assert found["rows"] == 125
    assert len(found["followed"]) == 20
    assert all(0 <= one["share"] < 0.2 for one in found["followed"])  # noise


def test_predictions_follow_a_column_as_far_as_its_groups_tell_them_apart() -> None:
    # two groups of four with means 1 and 3 and a deviation of 1 within: of the squares 16, 8 lie between them;
    # less chance, 1 - (8 / 6) / (16 / 7) = 5/12. Eight names of one row each tell nothing.
    predicted = np.array([0, 2, 0, 2, 2, 4, 2, 4], dtype=np.float64)
    groups, names = texts(*"aaaabbbb"), texts(*"abcdefgh")
    assert report.association([groups, names], predicted) == pytest.approx([5 / 12, 0])


def test_few_test_rows_leave_importance_to_the_validation_rows() -> None:
    data = table(classes=False)
    few = Rows([numbers(1, 2), numbers(0, 0)], np.array([2.0, 4.0]))
    found = report.importance(Dataset(["a", "b"], "y", None, data.train, data.validation, few, 0), twice, seconds=9)
    assert (found["split"], found["rows"]) == ("validation", 400)


# ---- profiles ----


def test_a_column_of_numbers_is_quantiles_and_counts() -> None:
    found = report.profile(numbers(*range(101), np.nan, np.nan, np.nan))
    assert found["missing"] == pytest.approx(3 / 104, abs=1e-6)
    assert found["distinct"] == 101
    assert found["quantiles"] == [0, 5, 25, 50, 75, 95, 100]
    assert sum(found["histogram"]["counts"]) == 101
    assert (found["histogram"]["low"], found["histogram"]["high"]) == (0.5, 99.5)


def test_a_few_whole_numbers_get_a_step_each() -> None:
    found = report.profile(numbers(1, 1, 2, 4))
    assert found["histogram"] == {"low": 0.5, "high": 4.5, "counts": [2, 1, 0, 1]}


@pytest.mark.parametrize(
    ("column", "distinct", "counts"),
    [
        (numbers(7, 7, 7), 1, [3]),
        (numbers(-1.7e308, 1.7e308, 0.5), 3, [3]),
        (numbers(*[1.5] * 995, *range(5)), 6, None),
        (numbers(0, 1e-320), 2, None),
    ],
)
def test_odd_numbers_have_a_profile_too(column: Numbers, distinct: int, counts: list[int] | None) -> None:
    found = report.profile(column)
    assert found["distinct"] == distinct
    assert sum(found["histogram"]["counts"]) == len(column.values)
    assert counts is None or found["histogram"]["counts"] == counts
    json.dumps(found, allow_nan=False)


def test_an_empty_column_has_no_quantiles() -> None:
    assert report.profile(numbers(np.nan, np.inf)) == {"kind": "number", "missing": 1, "distinct": 0}


def test_a_category_is_named_only_where_five_rows_share_it() -> None:
    found = report.profile(texts(*["red"] * 6, *["blue"] * 4, "ann@example.org", ""))
    assert found == {"kind": "category", "missing": 0.083333, "distinct": 3, "top": [["red", 6]], "others": 5}


def test_dates_are_told_by_their_days_and_not_as_categories() -> None:
    found = report.profile(texts("2025-01-31", "2025-02-28", "2025-02-28T12:30", "", "2026-01-01"))
    assert (found["kind"], found["missing"], found["distinct"]) == ("date", 0.2, 4)
    assert (found["quantiles"][0], found["quantiles"][-1]) == ("2025-01-31", "2026-01-01")
    assert sum(found["histogram"]["counts"]) == 4


# ---- the whole ----


@pytest.mark.parametrize(("classes", "predict"), [(True, sign), (False, twice)])
def test_the_report_is_json_and_counts_every_row(classes: bool, predict: Any) -> None:
    found = report.build(table(classes=classes), predict, curve=[[1, 0.5, float("inf"), 0]])
    again = json.loads(report.dump(found))
    assert again["rows"] == {"train": 400, "validation": 400, "test": 400, "without_label": 3}
    assert again["training"] == {"curve": [[1, 0.5, None, 0]]}
    assert again["packages"]["numpy"] == np.__version__
    if classes:
        assert sum(one["train"] for one in again["label"]["classes"]) == 400
        assert sum(map(sum, again["confusion"]["counts"])) == 400
        assert sum(one["rows"] for one in again["calibration"]["bins"]) == 400
    else:
        assert sum(again["residuals"]["histogram"]["counts"]) == 400


def test_no_row_and_no_value_that_few_share_is_in_the_report() -> None:
    rng = np.random.default_rng(0)
    split = Rows([texts(*[f"person-{n}" for n in range(300)]), Numbers(rng.random(300))], rng.integers(0, 2, 300))
    data = Dataset(["who", "x"], "label", ["no", "yes"], split, split, split, 0)
    said = report.dump(report.build(data, lambda columns: sign([columns[1]])))
    assert "person-" not in said


def test_a_report_of_thousands_of_columns_with_long_names_stays_small() -> None:
    rng = np.random.default_rng(0)
    columns: list[Column] = [texts(*[f"{'é' * 200}{n % 8}" for n in range(60)])] * 1500 + [Numbers(rng.random(60))]
    split = Rows(columns, rng.integers(0, 2, 60))
    names = [f"{'ü' * 300}{n}" for n in range(1501)]
    data = Dataset(names, "label", ["no", "yes"], split, split, split, 0)
    found = report.build(data, lambda columns: sign([columns[-1]]), seconds=0.1)
    text = report.dump(found)
    assert len(text.encode()) <= report.LARGEST_BYTES
    kept = json.loads(text)
    assert len(kept["columns"]) + kept["columns_left_out"] == 1501


# ---- the curve ----


def epoch(n: int) -> str:
    return f"epoch={n} train_loss=0.{n} validation_loss=0.{n}5 validation_accuracy=0.5 learning_rate=0.002"


def test_the_curve_is_read_from_what_training_prints_and_everything_is_still_printed(tmp_path: Path) -> None:
    printed: list[str] = []
    curve = report.Curve(printed.append, tmp_path)
    for line in ("Starting.", epoch(1), epoch(2)):
        curve(line)
    assert curve.points() == [[1, 0.1, 0.15, 0], [2, 0.2, 0.25, 0]]
    assert printed == ["Starting.", epoch(1), epoch(2)]


def test_a_resumed_run_has_its_whole_curve_and_a_fresh_one_nothing_of_the_last(tmp_path: Path) -> None:
    first = report.Curve(lambda _: None, tmp_path)
    for n in (1, 2, 3):
        first(epoch(n))
    resumed = report.Curve(lambda _: None, tmp_path)
    resumed(epoch(3))  # its checkpoint was of the second epoch
    assert [point[0] for point in resumed.points()] == [1, 2, 3]
    fresh = report.Curve(lambda _: None, tmp_path)
    fresh(epoch(1))
    assert [point[0] for point in fresh.points()] == [1]


def test_epochs_of_folds_are_told_apart_also_after_an_interruption(tmp_path: Path) -> None:
    first = report.Curve(lambda _: None, tmp_path)
    for line in ("Fold 1 of 2: 9 rows.", epoch(1), epoch(2), "Fold 2 of 2: 9 rows.", epoch(3)):
        first(line)
    resumed = report.Curve(lambda _: None, tmp_path)
    for line in ("Fold 1 of 2: 9 rows.", "Fold 2 of 2: 9 rows.", epoch(4)):
        resumed(line)
    assert [(int(point[0]), point[3]) for point in resumed.points()] == [(1, 0), (2, 0), (3, 1), (4, 1)]


def test_a_slow_model_is_asked_for_few_rows_at_a_time() -> None:
    asked: list[int] = []
    time = 0.0

    def slow(columns: Sequence[Column]) -> report.Floats:
        nonlocal time
        asked.append(len(values_of(columns[0])))
        time += asked[-1] / 1000  # a millisecond a row
        return twice(columns)

    report.importance(table(rows=2000, classes=False), slow, seconds=4, clock=lambda: time)
    # 100 rows and 200 that might take longer; 125 as they are; then each column by itself, dealt out five times
    assert asked == [100, 125, 625, 625]
    assert time == pytest.approx(1.475)


def test_a_curve_that_cannot_be_read_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / report.Curve.FILE).write_text("[[1]]")
    curve = report.Curve(lambda _: None, tmp_path)
    curve(epoch(5))
    assert curve.points() == [[5, 0.5, 0.55, 0]]
