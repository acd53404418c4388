import numpy as np
import pytest

import metrics


def two_classes(scores: list[float]) -> np.ndarray:
    second = np.array(scores)
    return np.column_stack((1 - second, second))


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    # Positives 0.35 and 0.8 against negatives 0.1 and 0.4: right are 0.35>0.1, 0.8>0.1 and 0.8>0.4, 3 of 4.
    assert metrics.roc_auc(np.array([0, 0, 1, 1]), two_classes([0.1, 0.4, 0.35, 0.8])) == 0.75


def test_tied_scores_count_half() -> None:
    # Pairs: 0.5 against 0.5 (a half) and 0.5 against 0.2 (one), 1.5 of 2.
    assert metrics.roc_auc(np.array([1, 0, 0]), two_classes([0.5, 0.5, 0.2])) == 0.75
    assert metrics.roc_auc(np.array([1, 0, 1, 0]), two_classes([0.3, 0.3, 0.3, 0.3])) == 0.5


def test_scores_that_differ_by_rounding_alone_are_tied() -> None:
    assert metrics.roc_auc(np.array([1, 0, 1, 0]), two_classes([0.3, 0.3 + 1e-9, 0.3, 0.3])) == 0.5


def test_certain_scores_keep_their_order() -> None:
    probabilities = np.array([[1 - 1e-12, 1e-12], [1 - 1e-9, 1e-9], [1e-12, 1 - 1e-12], [1e-9, 1 - 1e-9]])
    assert metrics.roc_auc(np.array([0, 1, 1, 0]), probabilities) == 0.75


def test_the_area_of_several_classes_is_the_mean_of_each_against_the_rest() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6], [0.3, 0.5, 0.2]])
    # Class 0 (0.6 and 0.3 against 0.5 and 0.2): 3 of 4. Class 1 (0.4 against 0.3, 0.2 and 0.5): 2 of 3. Class 2: all.
    expected = (3 / 4 + 2 / 3 + 1) / 3
    assert metrics.roc_auc(np.array([0, 1, 2, 0]), probabilities) == pytest.approx(expected)


def test_without_both_classes_there_is_no_area() -> None:
    assert metrics.roc_auc(np.array([1, 1]), two_classes([0.2, 0.9])) is None


def test_accuracy_is_the_share_of_rows_whose_likeliest_class_is_right() -> None:
    assert metrics.accuracy(np.array([0, 1, 1, 0]), two_classes([0.1, 0.9, 0.2, 0.4])) == 0.75


def test_log_loss_is_the_mean_negative_logarithm_of_the_right_class() -> None:
    # -(ln 0.5 + ln 0.25) / 2 = 1.5 ln 2
    assert metrics.log_loss(np.array([1, 0]), two_classes([0.5, 0.75])) == pytest.approx(1.0397207708)


def test_a_certain_and_wrong_prediction_costs_much_but_not_everything() -> None:
    assert metrics.log_loss(np.array([0]), two_classes([1.0])) == pytest.approx(34.538776)


def test_the_brier_score_is_the_mean_squared_distance_from_the_truth() -> None:
    # 0.2 and 0.6 away, so 0.04 and 0.36, on average.
    assert metrics.brier(np.array([1, 0]), two_classes([0.8, 0.6])) == pytest.approx(0.2)
    # 0.5, 0.3 and 0.2 away: 0.25 and 0.09 and 0.04 in all.
    assert metrics.brier(np.array([0]), np.array([[0.5, 0.3, 0.2]])) == pytest.approx(0.38)


def test_the_calibration_error_is_how_far_sureness_is_from_being_right() -> None:
    # Two bins of two rows: sure 0.6 and right half the time, sure 0.9 and always right: (0.1 + 0.1) / 2.
    probabilities = two_classes([0.6, 0.4, 0.9, 0.9])
    assert metrics.calibration_error(np.array([1, 1, 1, 1]), probabilities, bins=2) == pytest.approx(0.1)


def test_a_temperature_above_one_makes_probabilities_less_sure() -> None:
    # Log-odds of ln 9 halved: odds of 3.
    assert metrics.calibrated(two_classes([0.9]), 2.0) == pytest.approx(two_classes([0.75]))


def test_errors_of_numbers_are_in_the_labels_unit() -> None:
    truth, predicted = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 4.0, 3.0, 4.0])
    found = metrics.of_numbers(truth, predicted)
    # Errors 0, 2, 0, 2; the truth's squared distances from its mean 3: 4 + 1 + 0 + 9.
    assert found == {"rows": 4, "rmse": pytest.approx(2**0.5), "mae": 1.0, "r2": pytest.approx(1 - 8 / 14)}


def test_predicting_the_mean_explains_nothing() -> None:
    assert metrics.r2(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0
    assert metrics.r2(np.array([2.0, 2.0]), np.array([2.0, 3.0])) == 0
    assert metrics.r2(np.array([2.0, 2.0]), np.array([2.0, 2.0])) == 1
