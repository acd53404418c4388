"""Serving: SageMaker's PyTorch inference handlers over one pure function, `answer`, in NumPy, without PyTorch.

`model_fn` and `transform_fn` are what the SageMaker inference toolkit looks for in the module that SAGEMAKER_PROGRAM
names (https://sagemaker.readthedocs.io/en/stable/frameworks/pytorch/using_pytorch.html#serve-a-pytorch-model).
"""

from __future__ import annotations

import csv
import http
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import tensors
import trees
from preprocess import MISSING_CODE, MISSING_TOKENS, UNKNOWN_CODE, Encoder, Inputs

_loads: Callable[[str | bytes], Any]
_dumps: Callable[[Any], bytes]
try:
    import orjson
except ImportError:  # the containers may lack it; the answers are the same, only slower
    _loads = json.loads

    def _dumps(value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
else:
    _loads = orjson.loads
    _dumps = orjson.dumps

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
SCHEMA_FILE = "schema.json"
JSON = "application/json"
CSV = "text/csv"


class ModelFileError(Exception):
    """The artifact is not one that this code can serve."""


class BadRequest(Exception):
    """The request can't be answered; the message says which row and column, counted from 1."""

    def __init__(self, message: str, status_code: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code


class Predictor(Protocol):
    """What answers for encoded rows; which kind an artifact holds is its schema's `model.kind`, see `load`."""

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes."""

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""


@dataclass(frozen=True)
class Network:
    """The network of network.py, in NumPy."""

    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]]  # weights (inputs x outputs) and biases
    number_inputs: int
    target_mean: float
    target_scale: float

    @classmethod
    def load(cls, schema: dict[str, Any], weights: dict[str, NDArray[Any]], encoder: Encoder) -> Network:
        """Raises ModelFileError when the weights do not fit."""
        # Transposed once, so that each request multiplies rows by contiguous columns.
        layers = [
            (np.ascontiguousarray(weights[f"{layer}.weight"].T), weights[f"{layer}.bias"])
            for layer in ("first", "second", "last")
        ]
        if layers[0][0].shape[0] != encoder.inputs:
            raise ModelFileError("The model's weights do not fit its schema.")
        target = schema.get("target") or {"mean": 0.0, "scale": 1.0}
        return cls(layers, encoder.number_inputs, target["mean"], target["scale"])

    def scores(self, inputs: Inputs) -> NDArray[np.float32]:
        """The network's last layer, before softmax; dropout is for training only."""
        weights, bias = self.layers[0]
        if inputs.codes.shape[1]:
            hidden = inputs.numbers @ weights[: self.number_inputs] + bias
            # A one-hot input times the weights is the row of the weights that it points at.
            for codes in inputs.codes.T:
                hidden += weights[codes]
        else:
            hidden = inputs.numbers @ weights + bias
        for weights, bias in self.layers[1:]:
            np.maximum(hidden, 0, out=hidden)
            hidden = hidden @ weights + bias
        return hidden

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes."""
        return trees.softmax(self.scores(inputs).astype(np.float64))

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""
        return self.scores(inputs)[:, 0].astype(np.float64) * self.target_scale + self.target_mean


@dataclass(frozen=True)
class Model:
    """A loaded artifact."""

    schema: dict[str, Any]
    encoder: Encoder
    names: list[str]
    places: dict[str, int]
    predictor: Predictor
    task: str
    classes: list[Any] | None
    version: str

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes."""
        return self.predictor.probabilities(inputs)

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""
        return self.predictor.numbers(inputs)


# Which predictor an artifact holds: its schema's model.kind.
_KINDS: dict[str, Callable[[dict[str, Any], dict[str, NDArray[Any]], Encoder], Predictor]] = {
    "network": Network.load,
    trees.KIND: trees.Boosted.load,
}


def load(folder: Path) -> Model:
    """Reads an unpacked artifact.

    Raises ModelFileError when it is of another format or its parts do not fit together.
    """
    try:
        schema = json.loads((folder / SCHEMA_FILE).read_text(encoding="utf-8"))
        if schema.get("format") != FORMAT:
            raise ModelFileError(f"The model has format {schema.get('format')!r}; this code reads format {FORMAT}.")
        weights = tensors.read(folder / WEIGHTS_FILE)
        encoder = Encoder.from_schema(schema["columns"])
        names = [column["name"] for column in schema["columns"]]
        kind = schema.get("model", {}).get("kind", "network")
        if kind not in _KINDS:
            raise ModelFileError(f"The model is of kind {kind!r}; this code serves {' and '.join(_KINDS)}.")
        return Model(
            schema=schema,
            encoder=encoder,
            names=names,
            places={name: place for place, name in enumerate(names)},
            predictor=_KINDS[kind](schema, weights, encoder),
            task=schema["task"],
            classes=schema["classes"],
            version=schema["model_version"],
        )
    except ModelFileError:
        raise
    except Exception as error:
        raise ModelFileError(f"The model can't be read: {error}.") from error


def answer(model: Model, body: bytes, content_type: str = JSON, accept: str = JSON) -> tuple[int, bytes, str]:
    """One request to one response: HTTP status, body, content type. Never raises for what the caller sent."""
    try:
        wanted = _wanted(accept)
        inputs = _read(model, body, content_type)
        if model.task == "regression":
            return _write(model, wanted, model.numbers(inputs), None)
        probabilities = model.probabilities(inputs)
        return _write(model, wanted, probabilities.argmax(axis=1), probabilities)
    except BadRequest as error:
        # Half a surrogate pair, which JSON allows a caller to send, can't be written as UTF-8.
        message = str(error).encode(errors="replace").decode()
        return error.status_code, _dumps({"error": message}), JSON


def _wanted(accept: str) -> str:
    if accept in (JSON, CSV):
        return accept
    for part in accept.lower().split(","):
        kind = part.split(";")[0].strip()
        if kind in (JSON, CSV):
            return kind
        if kind in ("", "*/*", "application/*"):
            return JSON
        if kind == "text/*":
            return CSV
    raise BadRequest(f"The answer can be {JSON} or {CSV}, not {accept}.", 406)


def _read(model: Model, body: bytes, content_type: str) -> Inputs:
    kind = content_type if content_type in (JSON, CSV) else content_type.split(";", 1)[0].strip().lower()
    if kind in ("", "application/octet-stream"):  # no type was said
        kind = JSON if body.lstrip()[:1] == b"{" else CSV
    if kind == JSON:
        return _read_json(model, body)
    if kind == CSV:
        return _read_csv(model, body)
    raise BadRequest(f"Send {JSON} or {CSV}, not {content_type}.", 415)


def _read_json(model: Model, body: bytes) -> Inputs:
    try:
        request = _loads(body)
    except ValueError:
        try:
            request = json.loads(body)  # takes NaN, which Python clients send for a missing value
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(request, dict):
        raise BadRequest('The body must be an object with "features" or "records".')
    if "features" in request:
        rows = request["features"]
        _check_rows(rows, "features", list, "a list of values")
    elif "records" in request:
        rows = request["records"]
        _check_rows(rows, "records", dict, "an object of column names and values")
        rows = _records(model, rows)
    else:
        raise BadRequest('The body must have "features" (rows of values) or "records" (objects by column name).')
    return _encode(model, rows)


def _check_rows(rows: Any, key: str, kind: type, description: str) -> None:
    if not isinstance(rows, list) or not rows:
        raise BadRequest(f'"{key}" must be a list with at least one row.')
    for number, row in enumerate(rows, 1):
        if not isinstance(row, kind):
            raise BadRequest(f'Row {number} of "{key}" must be {description}.')


def _records(model: Model, records: list[dict[str, Any]]) -> list[list[Any]]:
    """A column that a record leaves out is missing there."""
    for number, record in enumerate(records, 1):
        for name in record:
            if name not in model.places:
                raise BadRequest(f"Row {number} has the column {name!r}, which the model does not know.")
    return [[record.get(name) for name in model.names] for record in records]


def _read_csv(model: Model, body: bytes) -> Inputs:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8 text: {error}.") from None
    first_line = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = ","
    trained = model.schema.get("delimiter", ",")
    # The training data's own delimiter is taken as well, when the first line is full of it.
    if trained != "," and first_line.count(trained) >= max(1, len(model.names) - 1):
        delimiter = trained
    try:
        rows: list[list[Any]] = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise BadRequest(f"The body is not CSV: {error}.") from None
    # A blank line is a missing value where there is one column, and nothing otherwise.
    rows = [row or [""] for row in rows] if len(model.names) == 1 else [row for row in rows if row]
    if rows:
        header = [str(cell).strip() for cell in rows[0]]
        if set(header) == set(model.names) and len(header) == len(model.names):
            order = [header.index(name) for name in model.names]
            rows = rows[1:]
            if order != sorted(order):
                _check_widths(model, rows)
                rows = [[row[place] for place in order] for row in rows]
    if not rows:
        raise BadRequest("The body has no rows.")
    return _encode(model, rows)


def _check_widths(model: Model, rows: Sequence[list[Any]]) -> None:
    expected = len(model.names)
    for number, row in enumerate(rows, 1):
        if len(row) != expected:
            raise BadRequest(f"Row {number} has {len(row)} columns; the model takes {expected}.")


def _encode(model: Model, rows: list[list[Any]]) -> Inputs:
    encoder = model.encoder
    _check_widths(model, rows)
    if not encoder.categorical:
        return Inputs(encoder.encode_numbers(_numbers(model, rows)), np.empty((len(rows), 0), dtype=np.int64))
    values = np.empty((len(rows), len(encoder.numeric)))
    if encoder.numeric:
        places = [place for place, _ in encoder.numeric]
        values[:] = _numbers(model, [[row[place] for place in places] for row in rows], places)
    codes = np.array(
        [
            [
                _code(row[place], lookup, offset, number, encoding.name)
                for (place, encoding), lookup, offset in zip(
                    encoder.categorical, encoder.lookups, encoder.offsets, strict=True
                )
            ]
            for number, row in enumerate(rows, 1)
        ],
        dtype=np.int64,
    )
    return Inputs(encoder.encode_numbers(values), codes)


def _numbers(model: Model, rows: list[list[Any]], places: list[int] | None = None) -> NDArray[np.float64]:
    try:
        # None becomes NaN and "1.5" becomes 1.5 here; only what else may be missing or wrong needs the slow way.
        values = np.array(rows, dtype=np.float64)
        if values.ndim == 2:  # a list in every cell would make it three
            return values
    except (ValueError, TypeError, OverflowError):
        pass
    return np.array(
        [
            [
                _number(cell, number, model.names[places[i] if places else i])
                for i, cell in enumerate(row)
            ]
            for number, row in enumerate(rows, 1)
        ],
        dtype=np.float64,
    )  # fmt: skip


def _number(cell: Any, row: int, column: str) -> float:
    if cell is None:
        return np.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in MISSING_TOKENS:
            return np.nan
        try:
            return float(text)
        except ValueError:
            pass
    elif isinstance(cell, (int, float)):
        try:
            return float(cell)
        except OverflowError:
            return np.nan
    shown = json.dumps(cell, ensure_ascii=False, default=str)
    raise BadRequest(f"Row {row}, column {column!r} must be a number, not {shown[:60]}.")


def _code(cell: Any, lookup: dict[str, int], offset: int, row: int, column: str) -> int:
    if isinstance(cell, str):
        text = cell.strip()
        code = lookup.get(text)
        if code is None:
            code = MISSING_CODE if text.lower() in MISSING_TOKENS else UNKNOWN_CODE
        return code + offset
    if cell is None or cell != cell:  # noqa: PLR0124  (NaN is the one value that differs from itself)
        return MISSING_CODE + offset
    if isinstance(cell, bool):
        spellings: tuple[str, ...] = ("true", "True", "TRUE") if cell else ("false", "False", "FALSE")
    elif isinstance(cell, (int, float)):
        spellings = (str(cell), repr(float(cell)) if abs(cell) < 1e15 else str(cell))
    else:
        raise BadRequest(f"Row {row}, column {column!r} must be one value, not a {type(cell).__name__}.")
    for text in spellings:
        if text in lookup:
            return lookup[text] + offset
    return UNKNOWN_CODE + offset


def _write(
    model: Model, wanted: str, results: NDArray[Any], probabilities: NDArray[np.float64] | None
) -> tuple[int, bytes, str]:
    if probabilities is None or model.classes is None:
        predictions: list[Any] = results.tolist()
        rows: list[list[float]] | None = None
    else:
        classes = model.classes
        predictions = [classes[place] for place in results.tolist()]
        rows = probabilities.tolist()
    if wanted == CSV:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows(
            [[p, *r] for p, r in zip(predictions, rows, strict=True)] if rows else [[p] for p in predictions]
        )
        return 200, out.getvalue().encode(), CSV
    response: dict[str, Any] = {"predictions": predictions}
    if rows is not None:
        response["probabilities"] = rows
        response["classes"] = model.classes
    response["model_version"] = model.version
    return 200, _dumps(response), JSON


# ---- What the SageMaker inference toolkit calls ----------------------------------------------------------------------


def model_fn(model_dir: str) -> Model:
    """Loads the artifact that SageMaker has unpacked."""
    return load(Path(model_dir))


def transform_fn(model: Model, body: bytes | str, content_type: str | None, accept: str | None) -> tuple[bytes, str]:
    """Answers one request; what the caller got wrong is raised as the toolkit's error with a 4xx status.

    The toolkit turns its own BaseInferenceToolkitError into a response with that status, and everything else into a
    500 (https://github.com/aws/sagemaker-inference-toolkit, transformer.py).
    """
    raw = body.encode() if isinstance(body, str) else bytes(body)
    status, response, kind = answer(model, raw, content_type or "", accept or "")
    if status != 200:
        try:
            from sagemaker_inference.errors import BaseInferenceToolkitError
        except ImportError:  # another host than the toolkit
            raise BadRequest(response.decode(), status) from None
        raise BaseInferenceToolkitError(status, response.decode(), http.HTTPStatus(status).phrase)
    return response, kind
