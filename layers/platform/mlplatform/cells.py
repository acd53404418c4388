"""What single cells of a table hold, as far as a planner has to know: nothing, a number, or text. Pure."""

from __future__ import annotations

import math
import re

# Compared in lower case; the same as the training job's (model_code/preprocess.py), which a test sees to.
MISSING = frozenset({"", "na", "n/a", "?", "nan", "null", "none", "-nan", "#n/a"})


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def as_number(cell: str, delimiter: str) -> float | None:
    """The finite number that a cell holds; with a decimal comma too where semicolons separate fields because of it.

    Money, percentages and thousands are numbers as well. Which of dot and comma is decimal is told by the column, which
    the training job sees whole (model_code/numerals.py); here it is enough to know that it is a number.
    """
    try:
        number = float(cell.replace(",", ".", 1) if delimiter == "semicolon" else cell)
    except ValueError:
        return _written(cell.strip())
    return number if math.isfinite(number) and "_" not in cell else None


def _written(text: str) -> float | None:
    currency = "[A-Z]{0,3}[$€£¥₡₦₩₪₫₮₱₴₸₹₺₼₽₾₿฿]|[A-Z]{3}|kr|zł|Kč|Ft|Fr[.]?"
    space, aside = "[ \u00a0\u2009\u202f]?", "['\u2019 \u00a0\u2009\u202f]"
    digits = rf"[0-9]{{1,3}}(?:{aside}[0-9]{{3}})+(?:[.,][0-9]*)?|[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]*)?"
    digits += r"|[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]*)?|[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+"
    found = re.fullmatch(rf"\(?[-+\u2212]?(?:{currency})?{space}[-+\u2212]?({digits}){space}(?:%|{currency})?\)?", text)
    if not found:
        return None
    plain = re.sub(aside, "", found[1])
    decimal = max(plain.rfind("."), plain.rfind(","))
    fraction = plain[decimal + 1 :] if decimal >= 0 else ""
    separators = {mark for mark in ".," if mark in plain}
    # Three digits behind marks of one kind are thousands.
    if len(separators) == 1 and len(fraction) == 3 and decimal > 0:
        fraction = ""
        decimal = -1
    whole = re.sub("[.,]", "", plain[:decimal] if decimal >= 0 else plain)
    return float(f"{whole or 0}.{fraction or 0}")


def short(text: str) -> str:
    """A value fit for a sentence: on one line and of readable length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else f"{flat[:57]}..."
