"""What a model artifact says of itself: read strictly, and compared with an endpoint's answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlplatform.facts import ModelCard, ModelMetrics, Prediction, Task, UnreadableCard

FILES = ("metrics.json", "sample.json")
REPORT_FILE = "report.json"  # for people alone: without it there is a shorter page, and the same decision
_TOLERANCE = 1e-3  # another processor, or another batch size, adds up in another order


def parse_card(files: Mapping[str, bytes]) -> ModelCard | UnreadableCard:
    """`files` are those of FILES and REPORT_FILE that the artifact has."""
    missing = [name for name in FILES if name not in files]
    if missing:
        return UnreadableCard(f"it has no {' and no '.join(missing)}")
    try:
        metrics = _metrics(json.loads(files["metrics.json"]))
        sample = json.loads(files["sample.json"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return UnreadableCard(f"its metrics.json or sample.json can't be read ({type(error).__name__}: {error})")
    if not isinstance(sample, dict) or not {"request", "response"} <= sample.keys():
        return UnreadableCard("its sample.json lacks the request or the response")
    return ModelCard(metrics, files["metrics.json"], files["sample.json"], files.get(REPORT_FILE, b""))


def compare_prediction(sample_json: bytes, status: int, body: bytes) -> Prediction:
    """Whether an endpoint answered the sample's request as the training job did."""
    expected = json.loads(sample_json)["response"]
    text = body.decode(errors="replace")
    if status != 200:
        return Prediction(False, f"it answered with status {status}: {text[:300]}")
    try:
        answer = json.loads(text)
    except ValueError:
        return Prediction(False, f"it answered something that is not JSON: {text[:300]}")
    for key in ("predictions", "probabilities", "classes"):
        if key in expected and not _close(expected[key], answer.get(key) if isinstance(answer, dict) else None):
            came = answer.get(key) if isinstance(answer, dict) else answer
            return Prediction(
                False, f"the {key} of the sample should be {_short(expected[key])} but are {_short(came)}"
            )
    return Prediction(True, "the sample's prediction came out as in training")


def model_version(body: bytes) -> str | None:
    """Which model an answer says it is of; None where it does not."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    version = answer.get("model_version") if isinstance(answer, dict) else None
    return version if isinstance(version, str) else None


def _metrics(document: Any) -> ModelMetrics:
    if document.get("format") != 1:
        raise ValueError(f"its format is {document.get('format')!r}, not 1")
    objective = document["objective"]
    if objective["direction"] not in {"maximize", "minimize"}:
        raise ValueError(f"its objective's direction is {objective['direction']!r}")
    return ModelMetrics(
        task=Task(document["task"]),
        objective=str(objective["name"]),
        maximize=objective["direction"] == "maximize",
        test=_numbers(document["test"]),
        live=_numbers(document["live"]) if document.get("live") is not None else None,
        live_error=document.get("live_error"),
        warnings=tuple(map(warning_sentence, document.get("warnings") or ())),
        doubts=tuple(warning_sentence(one) for one in document.get("warnings") or () if _doubtful(one)),
        choice=str(document.get("choice") or ""),
    )


def warning_sentence(warning: Any) -> str:
    """A warning is an object that holds a sentence as its message, or, of other programs, the sentence itself."""
    return str(warning.get("message", warning)) if isinstance(warning, Mapping) else str(warning)


def _doubtful(warning: Any) -> bool:
    """A warning that does not say what kind it is of is taken seriously."""
    return "leak" in str(warning.get("kind", "leak")) if isinstance(warning, Mapping) else True


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if isinstance(value, int | float)}


def _close(expected: Any, answer: Any) -> bool:
    if isinstance(expected, list) and isinstance(answer, list):
        return len(expected) == len(answer) and all(map(_close, expected, answer))
    numbers = (int, float)
    if isinstance(expected, numbers) and isinstance(answer, numbers) and not isinstance(expected, bool):
        return math.isclose(expected, answer, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(expected == answer)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
