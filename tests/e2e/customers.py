"""A small dataset whose label follows from its columns."""

from __future__ import annotations

import json

import numpy as np

SHORT = json.dumps({"hyperparameters": {"network": "mlp", "epochs": 3}})


def customers(rows: int = 400, seed: int = 1, slipped: bool = False) -> str:
    """Numbers, a category and missing values; the label follows from two of them. Slipped labels follow from none."""
    rng = np.random.default_rng(seed)
    age, income = rng.integers(18, 80, rows), rng.normal(2000, 600, rows)
    plan = rng.choice(["basic", "plus", "pro"], rows)
    stays = (income / 600 + (plan == "pro") * 2 - age / 40 + rng.normal(0, 0.3, rows)) > 2.5
    if slipped:
        stays = rng.permutation(stays)
    lines = ["age,income,plan,stays"]
    for i in range(rows):
        shown_income = "" if i % 17 == 0 else f"{income[i]:.2f}"
        lines.append(f"{age[i]},{shown_income},{plan[i]},{'yes' if stays[i] else 'no'}")
    return "\n".join(lines) + "\n"
