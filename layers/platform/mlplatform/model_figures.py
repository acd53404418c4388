"""How a model's figures are written for people: digits that count, shares in per cent, names cut and escaped. Pure."""

from __future__ import annotations

import math
from html import escape

METRICS = {  # what a reader calls it, and whether more is better
    "roc_auc": ("ROC AUC", True),
    "accuracy": ("Accuracy", True),
    "log_loss": ("Log loss", False),
    "brier": ("Brier score", False),
    "calibration_error": ("Calibration error (ECE)", False),
    "rmse": ("Root mean squared error", False),
    "mae": ("Mean absolute error", False),
    "r2": ("Explained variance (R²)", True),
}
_SHARES = {"accuracy"}  # shown in per cent


def escaped(value: object, most: int = 120) -> str:
    """Escaped, and cut: the artifact may say anything."""
    text = str(value)
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")


def number(value: float | None) -> str:
    """Four places below one, four digits that count from there on; a dash for what there is not."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e12 or size < 0.001:
        return f"{value:.2g}".replace("-", "−")
    places = 4 if size < 1 else max(0, 3 - math.floor(math.log10(size)))
    return f"{value:,.{places}f}".replace("-", "−")


def plain(value: float | None) -> str:
    """A value as it stood in the data: whole where it is whole, and years without a comma."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e12:
        return f"{value:.0f}".replace("-", "−") if abs(value) < 10_000 else f"{value:,.0f}".replace("-", "−")
    return number(value) if abs(value) >= 1 else f"{value:.3g}".replace("-", "−")


def compact(value: float) -> str:
    """A tick: 1.5k, 20M."""
    size = abs(value)
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            unit = 1e3 if letter == "k" else limit
            return f"{value / unit:.4g}{letter}".replace("-", "−") if size < 1e15 else f"{value:.1e}"
    return f"{value:.6g}".replace("-", "−")


def whole_percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def percent(share: float | None) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{share * 100:.1f} %".replace("-", "−")


def score(value: float | None, name: str) -> str:
    return percent(value) if name in _SHARES else number(value)


def signed(change: float, name: str) -> str:
    if name in _SHARES:
        text = f"{abs(change) * 100:.1f} points"
    else:
        text = number(abs(change))
    return text if not change else f"{'+' if change > 0 else '−'}{text}"
