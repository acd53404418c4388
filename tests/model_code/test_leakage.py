"""What a person is warned of before trusting a score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import leakage
from dataset import Rows
from preprocess import Column, Encoder, Numbers, Texts, fit_all


def warned(label: Any, classes: int, **columns: Column) -> list[leakage.Warned]:
    encoder = Encoder(fit_all(list(columns), list(columns.values())))
    return leakage.warnings(Rows(list(columns.values()), label), "bought", classes, encoder)


RANDOM = np.random.default_rng(0)
NOISE = Numbers(RANDOM.normal(size=400))
LABEL = RANDOM.integers(0, 2, 400)


@pytest.mark.parametrize(
    "leak",
    [
        Numbers(LABEL * 10.0 + RANDOM.random(400)),
        Texts(LABEL, ["no", "yes"]),
        Numbers(np.where(LABEL == 1, np.nan, RANDOM.random(400))),  # whether it is missing tells
    ],
)
def test_a_column_that_alone_tells_the_label_is_named(leak: Column) -> None:
    (warning,) = warned(LABEL, 2, noise=NOISE, paid=leak)
    sentence = warning["message"]
    assert warning["kind"] == "leak"
    assert sentence.startswith("The column 'paid' alone tells ")
    assert sentence.endswith(
        "% of what there is to know of the label 'bought'; leave it out if it is not known yet when the model is asked."
    )


def test_a_good_column_is_not_suspected() -> None:
    good = Numbers(LABEL + RANDOM.normal(0, 0.4, 400))
    assert warned(LABEL, 2, noise=NOISE, good=good) == []


def test_a_number_that_a_column_repeats_is_told_apart_from_one_that_it_helps_to_tell() -> None:
    price = RANDOM.random(2000)
    repeated, near = Numbers(price * 1.2 + 3), Numbers(price + RANDOM.normal(0, 0.1, 2000))
    assert len(warned(price, 0, with_tax=repeated)) == 1
    assert warned(price, 0, near=near) == []


def test_a_column_of_many_categories_is_not_taken_for_knowledge() -> None:
    codes = RANDOM.integers(0, 150, 400)
    assert warned(LABEL, 2, noise=NOISE, street=Texts(codes, [f"street {i}" for i in range(150)])) == []


def test_an_id_alone_is_said_to_be_chance() -> None:
    ids = Texts(np.arange(400), [f"u{i}" for i in range(400)])
    message = "The only column to learn from, 'user', differs in nearly every row, as ids do; the score is chance."
    assert warned(LABEL, 2, user=ids) == [{"kind": "chance", "message": message}]
