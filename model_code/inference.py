"""Serving: SageMaker's PyTorch inference handlers over one pure function, `answer`, in NumPy, without PyTorch.

`model_fn` and `transform_fn` are what the SageMaker inference toolkit looks for in the module that SAGEMAKER_PROGRAM
names (https://sagemaker.readthedocs.io/en/stable/frameworks/pytorch/using_pytorch.html#serve-a-pytorch-model).
"""

from __future__ import annotations

import csv
import http
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import dates
import metrics
import numerals
import tensors
import trees
from numerals import Spelling
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

FORMAT = 2
WEIGHTS_FILE = "model.safetensors"
SCHEMA_FILE = "schema.json"
JSON = "application/json"
CSV = "text/csv"
_UNNAMED = re.compile(r"column_\d+")
_MOST_NAMED = 12  # columns in a message


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


Weights = dict[str, NDArray[np.float32]]
Floats = NDArray[np.float32]


class Mlp:
    """The reference network, see network.Mlp, one for each fold."""

    def __init__(self, folds: Sequence[Weights], schema: dict[str, Any], encoder: Encoder) -> None:
        self.bend = np.float32(schema["bend"])
        self.indicators = np.array([i for i, e in enumerate(encoder.numbers) if e.missing], dtype=np.int64)
        self.number_inputs = len(encoder.numbers) + len(self.indicators)
        # Transposed once, so that each request multiplies rows by contiguous columns.
        self.folds = [
            [
                (np.ascontiguousarray(weights[f"{layer}.weight"].T), weights[f"{layer}.bias"])
                for layer in ("first", "second", "last")
            ]
            for weights in folds
        ]
        if any(layers[0][0].shape[0] != self.number_inputs + encoder.codes for layers in self.folds):
            raise ModelFileError("The model's weights do not fit its schema.")

    def scores(self, inputs: Inputs) -> Floats:
        """Folds x rows x outputs: the last layer, before softmax; dropout is for training only."""
        numbers, missing = _bent(inputs.numbers, self.bend)
        if len(self.indicators):
            flags = np.zeros((len(numbers), len(self.indicators)), dtype=np.float32)
            if missing is not None:
                flags[:] = missing[:, self.indicators]
            numbers = np.hstack((numbers, flags))
        found = []
        for layers in self.folds:
            weights, bias = layers[0]
            if inputs.codes.shape[1]:
                hidden = numbers @ weights[: self.number_inputs] + bias
                # A one-hot input times the weights is the row of the weights that it points at.
                for codes in inputs.codes.T:
                    hidden += weights[codes + self.number_inputs]
            else:
                hidden = numbers @ weights + bias
            for weights, bias in layers[1:]:
                np.maximum(hidden, 0, out=hidden)
                hidden = hidden @ weights + bias
            found.append(hidden)
        return np.stack(found)


class TabM:
    """Many networks in one, see network.TabM; those of all folds side by side, so that one row takes few steps.

    Between two knots an embedding is a line, so that a number's is found by the place of its knot: the vector there,
    and the number times the slope from there on.
    """

    ROWS = 1024  # at a time, so that a large request does not take memory in proportion

    def __init__(self, folds: Sequence[Weights], schema: dict[str, Any], encoder: Encoder) -> None:
        knots = encoder.knots()
        columns, categorical = len(knots), len(encoder.categorical)
        bins = max((len(of) for of in knots), default=1) - 1
        embedding = schema["embedding_size"]
        self.bend = np.float32(schema["bend"])
        for weights in folds:
            fits = weights["pieces"].shape == (columns, bins, embedding)
            fits &= len(weights["weight_0"]) == (columns + categorical) * embedding
            if not fits or weights["table"].shape != (encoder.codes, embedding):
                raise ModelFileError("The model's weights do not fit its schema.")
        # Place 0 is before the first knot, place i after the i-th; after the last a column's embedding no longer bends.
        self.knots = np.full((columns, bins + 1), np.inf, dtype=np.float32)
        slopes = np.zeros((columns, bins + 2), dtype=np.float32)
        shifts = np.zeros((columns, bins + 2), dtype=np.float32)
        # An embedding here is those of all folds, one after the other.
        pieces = np.concatenate([weights["pieces"] for weights in folds], axis=2)
        directions = np.zeros((columns, bins + 2, pieces.shape[2]), dtype=np.float32)
        bases = np.zeros((columns, bins + 2, pieces.shape[2]), dtype=np.float32)
        for column, of in enumerate(knots):
            edges = np.array(of, dtype=np.float32)
            self.knots[column, : len(edges)] = edges
            slopes[column, 1 : len(edges)] = 1 / np.diff(edges)
            shifts[column, 1 : len(edges)] = -edges[:-1] / np.diff(edges)
            directions[column, 1 : len(edges)] = pieces[column, : len(edges) - 1]
            bases[column, 2 : len(edges) + 1] = np.cumsum(pieces[column, : len(edges) - 1], axis=0)
        shift, self.linear, absent, self.table = (
            np.concatenate([weights[name] for weights in folds], axis=1)
            for name in ("shift", "linear", "absent", "table")
        )
        bases += shift[:, None]
        self.absent = absent + shift
        self.starts = np.arange(columns) * (bins + 2)
        self.slopes, self.shifts = slopes.reshape(-1), shifts.reshape(-1)
        self.directions, self.bases = directions.reshape(-1, shift.shape[1]), bases.reshape(-1, shift.shape[1])

        def stacked(name: str) -> Floats:
            return np.stack([weights[name] for weights in folds])

        # Folds x inputs x outputs; then folds x members x 1 row x inputs or outputs.
        self.blocks = [
            (stacked(f"weight_{block}"), *(stacked(f"{name}_{block}")[:, :, None] for name in ("r", "s", "bias")))
            for block in range(schema["blocks"])
        ]
        self.head, self.head_bias = stacked("head"), stacked("head_bias")

    def scores(self, inputs: Inputs) -> Floats:
        """Members of all folds x rows x outputs: the last layer, before softmax; dropout is for training only."""
        rows = len(inputs.numbers)
        if rows <= self.ROWS:
            return self._scores(inputs)
        parts = [
            self._scores(Inputs(inputs.numbers[start : start + self.ROWS], inputs.codes[start : start + self.ROWS]))
            for start in range(0, rows, self.ROWS)
        ]
        return np.concatenate(parts, axis=1)

    def _scores(self, inputs: Inputs) -> Floats:
        folds, members = self.head.shape[:2]
        rows = len(inputs.numbers)
        # Folds x members x rows x inputs; the first block's input is every member's.
        x: Any = self._embed(inputs).reshape(folds, 1, rows, -1)
        for weight, r, s, bias in self.blocks:
            x = (x * r).reshape(folds, members * rows, -1) @ weight
            x = x.reshape(folds, members, rows, -1)
            x *= s
            x += bias
            np.maximum(x, 0, out=x)
        x = x @ self.head + self.head_bias
        scores: Floats = x.reshape(folds * members, rows, -1)
        return scores

    def _embed(self, inputs: Inputs) -> Floats:
        """Folds x rows x columns x embedding."""
        parts = []
        numbers = inputs.numbers
        if numbers.shape[1]:
            bent, missing = _bent(numbers, self.bend)
            if len(numbers) <= 16:
                places = (numbers[:, :, None] >= self.knots).sum(axis=2)
            else:
                places = np.empty(numbers.shape, dtype=np.int64)
                for column, knots in enumerate(self.knots):
                    places[:, column] = np.searchsorted(knots, numbers[:, column], side="right")
            if missing is not None:
                places[missing] = 0
            places += self.starts
            along = numbers * self.slopes[places] + self.shifts[places]
            if missing is not None:
                along[missing] = 0
            embedded = self.directions[places]
            embedded *= along[:, :, None]
            embedded += self.bases[places]
            embedded += bent[:, :, None] * self.linear
            if missing is not None:
                rows, columns = missing.nonzero()
                embedded[rows, columns] = self.absent[columns]
            parts.append(embedded)
        if inputs.codes.shape[1]:
            parts.append(self.table[inputs.codes])
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        folds = len(self.head)
        found: Floats = whole.reshape(*whole.shape[:2], folds, -1).transpose(2, 0, 1, 3)
        return found


def _bent(numbers: Floats, bend: np.float32) -> tuple[Floats, NDArray[np.bool_] | None]:
    """As network.bent: bent numbers, 0 where missing, and where that is, if anywhere."""
    missing = None
    # One sum tells whether anything is missing; asking every cell costs more than the rest for a single row.
    if not np.isfinite(numbers.sum()):
        missing = np.isnan(numbers)
        numbers = np.where(missing, np.float32(0), numbers)
    bent: Floats = numbers / np.sqrt(1 + (numbers / bend) ** 2)
    return bent, missing


NETWORKS: dict[str, type[Mlp] | type[TabM]] = {"mlp": Mlp, "tabm": TabM}


@dataclass(frozen=True)
class Networks:
    """The mean of the members of one network, or of several that learnt from other rows each; and of trees."""

    network: Mlp | TabM
    target_mean: float
    target_scale: float
    temperature: float
    boosted: trees.Boosted | None = None
    trees_weight: float = 0.0

    @classmethod
    def load(cls, schema: dict[str, Any], weights: Weights, encoder: Encoder) -> Networks:
        """Raises ModelFileError when the weights do not fit."""
        network = schema["network"]
        folds = [_part(weights, str(fold)) for fold in range(network["folds"])]
        target = schema.get("target") or {"mean": 0.0, "scale": 1.0}
        boosted, weight = None, 0.0
        if "trees" in schema:
            boosted = trees.Boosted.load({"model": schema["trees"]}, _part(weights, "trees"), encoder)
            weight = schema["trees"]["weight"]
        served = NETWORKS[network["network"]](folds, network, encoder)
        return cls(served, target["mean"], target["scale"], schema.get("temperature", 1.0), boosted, weight)

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes: the mean of all members of all folds, and of trees, calibrated."""
        scores = self.network.scores(inputs).astype(np.float64)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        found: NDArray[np.float64] = scores.mean(axis=0)
        if self.boosted:
            found = (1 - self.trees_weight) * found + self.trees_weight * self.boosted.probabilities(inputs)
        return metrics.calibrated(found, self.temperature)

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""
        found: NDArray[np.float64] = self.network.scores(inputs)[:, :, 0].mean(axis=0, dtype=np.float64)
        if self.boosted:
            found = (1 - self.trees_weight) * found + self.trees_weight * self.boosted.numbers(inputs)
        return found * self.target_scale + self.target_mean


def _part(weights: Weights, name: str) -> Weights:
    return {rest: of for whole, of in weights.items() for part, _, rest in [whole.partition("/")] if part == name}


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
    spellings: dict[str, Spelling]  # of the columns that training data did not write plainly
    dotted: bool  # whether "1.234" is 1234 in some of them

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes."""
        return self.predictor.probabilities(inputs)

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""
        return self.predictor.numbers(inputs)


# Which predictor an artifact holds: its schema's model.kind.
_KINDS: dict[str, Callable[[dict[str, Any], dict[str, NDArray[Any]], Encoder], Predictor]] = {
    "network": Networks.load,
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
        # Where semicolons separate fields, commas may be decimal points.
        usual = Spelling(",", "") if schema.get("delimiter") == ";" else None
        spellings = {e.name: spelling for _, e in encoder.numeric if (spelling := e.spelling or usual)}
        return Model(
            schema=schema,
            encoder=encoder,
            names=names,
            places={name: place for place, name in enumerate(names)},
            predictor=_KINDS[kind](schema, weights, encoder),
            task=schema["task"],
            classes=schema["classes"],
            version=schema["model_version"],
            spellings=spellings,
            dotted=any(spelling.group == "." for spelling in spellings.values()),
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
    kind = content_type
    if kind not in (JSON, CSV):
        kind, _, parameters = content_type.partition(";")
        kind, body = kind.strip().lower(), _as_utf8(body, parameters)
    if kind in ("", "application/octet-stream"):  # no type was said
        kind = JSON if body.lstrip()[:1] == b"{" else CSV
    if kind == JSON:
        return _read_json(model, body)
    if kind == CSV:
        return _read_csv(model, body)
    raise BadRequest(f"Send {JSON} or {CSV}, not {content_type}.", 415)


def _as_utf8(body: bytes, parameters: str) -> bytes:
    """The body in UTF-8, whichever `charset=` the content type's parameters say."""
    for parameter in parameters.split(";"):
        name, _, charset = parameter.partition("=")
        charset = charset.strip().strip('"')
        if name.strip().lower() == "charset" and charset.lower() not in ("utf-8", "utf8", ""):
            try:
                return body.decode(charset).encode()
            except LookupError:
                raise BadRequest(f"The charset {charset[:40]!r} is not known; send UTF-8.", 415) from None
            except UnicodeError as error:
                raise BadRequest(f"The body is not text in {charset}: {error}.") from None
    return body


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
                why = " (the label is what it predicts: leave it out)" if name == model.schema.get("label") else ""
                raise BadRequest(
                    f"Row {number} has the column {name[:40]!r}, which the model does not take{why}. It takes "
                    f"{_listed(model.names)}."
                )
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
    order = _header(model, rows[0]) if rows else None
    if order is not None:
        width, rows = len(rows[0]), rows[1:]
        if order != list(range(width)):
            _check_widths(model, rows, width)
            rows = [[None if place is None else row[place] for place in order] for row in rows]
    if not rows:
        raise BadRequest("The body has no rows.")
    return _encode(model, rows)


def _header(model: Model, row: list[str]) -> list[int | None] | None:
    """Where each column of the model stands, by a first row that is a header; None where it is a row of values.

    A row of which half are names of columns is a header, in whatever letters: where all columns are text, one that does
    not match would be scored as values like any other. What taught the model nothing, such as an id, may be left out,
    and stands nowhere. Raises BadRequest for a header of other columns.
    """
    cells = _as_trained(model, [str(cell).strip() for cell in row])
    if set(cells) == set(model.names) and len(cells) == len(model.names):
        return [cells.index(name) for name in model.names]
    folded = {name.casefold(): name for name in model.names}
    if len(folded) < len(model.names):  # names that differ by their letters' case alone
        folded = {name: name for name in model.names}
    found = [folded.get(cell if cell in folded else cell.casefold()) for cell in cells]
    known = [name for name in found if name is not None]
    if not known or 2 * len(known) < len(cells):
        return None
    twice = sorted({name for name in known if known.count(name) > 1})
    unknown = [cell for cell, name in zip(cells, found, strict=True) if name is None]
    used = model.encoder.used
    missing = [name for place, name in enumerate(model.names) if name not in known and place in used]
    if not (twice or unknown or missing):
        return [found.index(name) if name in known else None for name in model.names]
    label = model.schema.get("label")
    wrong = [
        f"has {_listed(unknown)}, which the model does not take"
        + (" (the label is what it predicts: leave it out)" if label in unknown else "")
        if unknown
        else "",
        f"lacks {_listed(missing)}" if missing else "",
        f"has {_listed(twice)} more than once" if twice else "",
    ]
    said = " and ".join(part for part in wrong if part)
    raise BadRequest(f"The header {said}. The model takes {_listed(model.names)}, in any order, or no header at all.")


def _as_trained(model: Model, cells: list[str]) -> list[str]:
    """A header's cells by the names that training gave: an unnamed one got its place, a second of one name a number."""
    named = set(cells)
    unnamed = iter([name for name in model.names if _UNNAMED.fullmatch(name) and name not in named])
    seen: dict[str, int] = {}
    found = []
    for cell in cells:
        seen[cell] = seen.get(cell, 0) + 1
        again = f"{cell}_{seen[cell]}"
        if not cell:
            found.append(next(unnamed, cell))
        else:
            found.append(again if seen[cell] > 1 and again in model.places and again not in named else cell)
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown


def _check_widths(model: Model, rows: Sequence[list[Any]], header: int | None = None) -> None:
    """`header`: how many columns it has, where there is one that counts."""
    expected = len(model.names) if header is None else header
    takes = "the header has" if header is not None else "the model takes"
    for number, row in enumerate(rows, 1):
        if len(row) != expected:
            columns = "1 column" if len(row) == 1 else f"{len(row)} columns"
            named = "" if header is not None else f": {_listed(model.names)}"
            raise BadRequest(f"Row {number} has {columns}; {takes} {expected}{named}.")


def _encode(model: Model, rows: list[list[Any]]) -> Inputs:
    encoder = model.encoder
    _check_widths(model, rows)
    if encoder.numeric_alone:
        return Inputs(encoder.encode_numbers(_numbers(model, rows)), np.empty((len(rows), 0), dtype=np.int64))
    values = np.empty((len(rows), len(encoder.numbers)))
    if encoder.numeric:
        places = [place for place, _ in encoder.numeric]
        values[:, : len(places)] = _numbers(model, [[row[place] for place in places] for row in rows], places)
    start = len(encoder.numeric)
    for place, date in encoder.dates:
        parts = dates.parts(dates.days([row[place] for row in rows], date.form))
        values[:, start : start + len(date.places)] = parts[:, date.places]
        start += len(date.places)
    if not encoder.categorical:
        return Inputs(encoder.encode_numbers(values), np.empty((len(rows), 0), dtype=np.int64))
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
    if not model.dotted:
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
                _number(cell, number, model.names[places[i] if places else i], model.spellings)
                for i, cell in enumerate(row)
            ]
            for number, row in enumerate(rows, 1)
        ],
        dtype=np.float64,
    )  # fmt: skip


def _number(cell: Any, row: int, column: str, spellings: dict[str, Spelling]) -> float:
    if cell is None:
        return np.nan
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in MISSING_TOKENS or text in numerals.DASHES:
            return np.nan
        spelled = numerals.number(text, spellings[column]) if column in spellings else None
        if spelled is not None:
            return spelled
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
    """Answers one request. Raises BaseInferenceToolkitError with a 4xx status for what the caller got wrong.

    The toolkit turns that into a response with the status, and everything else into a 500
    (https://github.com/aws/sagemaker-inference-toolkit, transformer.py). Where there is no toolkit, raises BadRequest.
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
