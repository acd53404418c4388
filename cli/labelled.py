"""Rows whose label is known by now, asked of both models of an A/B test: which of them is right more often."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cli import significance
from cli.connection import CommandError, Connection
from cli.predict import invoke
from cli.significance import Finding
from cli.variants import rounded
from mlplatform import names
from mlplatform.delimited import decode, parse, sniff
from mlplatform.errors import DataRejected
from mlplatform.facts import CHALLENGER

_ROWS_A_REQUEST = 500


@dataclass(frozen=True)
class Labelled:
    """Rows as an endpoint takes them, and what is right for each."""

    header: tuple[str, ...]  # without the label; empty where the file has none
    rows: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]
    label: str  # the column's name, or its position


@dataclass(frozen=True)
class Answers:
    """What one model says to each row."""

    predictions: tuple[str | float, ...]
    classes: bool  # or numbers


def compare(
    connection: Connection,
    dataset: str,
    file: Path,
    label: str | None,
    trained: Mapping[str, str],
    spoken: tuple[str, str],
) -> Iterator[str]:
    """Sentences. `trained` are the properties of the live model's package, `spoken` the names of the two models.

    Raises CommandError.
    """
    labelled = read(file, label, trained)
    live, challenger = (ask(connection, dataset, variant, labelled) for variant in (names.VARIANT, CHALLENGER))
    yield f"{len(labelled.rows):,} rows of {file.name}, of which the column {labelled.label} is right, asked of both."
    yield from (by_class if live.classes else by_error)(labelled.labels, live, challenger, spoken)


def read(file: Path, label: str | None, trained: Mapping[str, str]) -> Labelled:
    """A table as a drop has it; rows without a label are left out. Raises CommandError."""
    if not file.is_file():
        raise CommandError(f"There is no file {file}.")
    try:
        text = decode(file.name, file.read_bytes(), complete=True)
        rows = [tuple(row) for row in parse(text, sniff(text)).rows if row]
    except DataRejected as error:
        raise CommandError(str(error)) from error
    with_header = trained.get("hp_header", "true") != "false"
    header = rows[0] if with_header and rows else ()
    columns, place = len(rows[0]) if rows else 0, int(trained.get("hp_label_column", -1))
    if label is None and not -columns <= place < columns:
        raise CommandError(
            f"{file.name} has {columns} columns{_named(header)}, and the training data had its label in column "
            f"{place + 1}: the label seems to be missing here. Add it, or name another column with --label."
        )
    at = _position(str(place) if label is None else label, header, columns, file)
    body = [row for row in rows[1 if with_header else 0 :] if len(row) > at and row[at].strip()]
    if not body:
        raise CommandError(f"{file.name} has no row with a label.")
    return Labelled(
        _without(header, at),
        tuple(_without(row, at) for row in body),
        tuple(row[at].strip() for row in body),
        header[at] if header else str(at),
    )


def _named(header: Sequence[str]) -> str:
    return f" ({', '.join(one.strip() for one in header)})" if header else ""


def _position(label: str, header: Sequence[str], columns: int, file: Path) -> int:
    """A column by its name, or by its position counted from 0, negative from the end."""
    names_ = [one.strip() for one in header]
    if label in names_:
        return names_.index(label)
    try:
        at = int(label)
    except ValueError:
        at = columns
    if not -columns <= at < columns:
        there = f"; it has {', '.join(names_)}" if names_ else ""
        raise CommandError(f"{file.name} has no column {label}{there}. Name the label's with --label.")
    return at % columns


def _without(row: Sequence[str], at: int) -> tuple[str, ...]:
    return tuple(value for place, value in enumerate(row) if place != at)


def ask(connection: Connection, dataset: str, variant: str, labelled: Labelled) -> Answers:
    """Raises CommandError with the model's own sentence where it refuses a row."""
    found: list[str | float] = []
    classes = False
    for start in range(0, len(labelled.rows), _ROWS_A_REQUEST):
        part = labelled.rows[start : start + _ROWS_A_REQUEST]
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([labelled.header, *part] if labelled.header else part)
        answer = json.loads(
            invoke(connection, dataset, text.getvalue().encode(), "text/csv", "application/json", variant)
        )
        if len(answer["predictions"]) != len(part):
            raise CommandError(f"{variant} answered {len(answer['predictions'])} of {len(part)} rows.")
        found += answer["predictions"]
        classes = "probabilities" in answer
    return Answers(tuple(found), classes)


# ---- which one is right ----


def by_class(labels: Sequence[str], live: Answers, challenger: Answers, spoken: tuple[str, str]) -> Iterator[str]:
    """How often each is right, and McNemar's test on the rows that only one of them has right."""
    right = [
        [same(said, label) for said, label in zip(one.predictions, labels, strict=True)] for one in (live, challenger)
    ]
    only_live = sum(a and not b for a, b in zip(*right, strict=True))
    only_challenger = sum(b and not a for a, b in zip(*right, strict=True))
    rows = len(labels)
    found = significance.matched(only_live, only_challenger, rows)
    for name, one in zip(spoken, right, strict=True):
        yield f"{name} has {sum(one):,} right ({sum(one) / rows * 100:.1f} %)."
    odds = _odds(only_live, only_challenger)
    yield f"{only_live:,} rows only {spoken[0]} has right, {only_challenger:,} only {spoken[1]}{odds}."
    better = found.difference > 0
    yield _verdict(
        found,
        spoken[1],
        better=better,
        size=f"{abs(found.difference) * 1000:.0f} more of 1,000 such rows {'right' if better else 'wrong'}",
        interval="{:.0f} to {:.0f}".format(*_sizes(found, 1000)),
        rows=rows,
    )


def _odds(only_live: int, only_challenger: int) -> str:
    """The effect's size: Agresti, Categorical Data Analysis, 11.2.1, the conditional odds ratio of matched pairs."""
    fewer, more = sorted((only_live, only_challenger))
    return f", {more / fewer:.2g} to 1" if fewer else ""


def _sizes(found: Finding, times: float) -> list[float]:
    """The interval of a difference that is not 0, whichever of the two is ahead."""
    return sorted(abs(one or 0) * times for one in (found.low, found.high))


def by_error(labels: Sequence[str], live: Answers, challenger: Answers, spoken: tuple[str, str]) -> Iterator[str]:
    """How far off each is on average, and a paired t-test on the rows' differences."""
    wanted = [_number(label, row) for row, label in enumerate(labels, start=1)]
    errors = [
        [abs(float(said) - right) for said, right in zip(one.predictions, wanted, strict=True)]
        for one in (live, challenger)
    ]
    for name, one in zip(spoken, errors, strict=True):
        rmse = math.sqrt(fmean(error**2 for error in one))
        yield f"{name} is off by {fmean(one):.4g} on average (root mean square {rmse:.4g})."
    found = significance.paired([b - a for a, b in zip(*errors, strict=True)])
    yield _verdict(
        found,
        spoken[1],
        better=found.difference < 0,
        size=f"{'nearer' if found.difference < 0 else 'farther off'} by {abs(found.difference):.3g} on average",
        interval="{:.3g} to {:.3g}".format(*_sizes(found, 1)),
        rows=len(labels),
    )


def _verdict(found: Finding, challenger: str, *, better: bool, size: str, interval: str, rows: int) -> str:
    if not found.difference:
        return f"On these rows {challenger} is neither better nor worse."
    told = f"{found.test}, p {'< 0.001' if (found.p_value or 0) < 0.001 else f'= {found.p_value:.2g}'}"
    if found.significant:
        return f"{challenger} is {'better' if better else 'worse'}: {size} ({interval}, 95 % interval; {told})."
    more = "a few more rows should tell"
    if found.needed is not None and found.needed > rows:
        more = f"about {rounded(found.needed - rows):,} more rows would tell a difference of this size"
    return f"Whether {challenger} is better is undecided: {size}, which may be chance ({told}); {more}."


def same(said: str | float, label: str) -> bool:
    """Whether a prediction is the label: as text, or as the same number, since 1 and 1.0 are one class."""
    return str(said) == label or _is_number(said, label)


def _is_number(said: str | float, label: str) -> bool:
    try:
        return float(said) == float(label)
    except ValueError:
        return False


def _number(label: str, row: int) -> float:
    try:
        return float(label)
    except ValueError as error:
        raise CommandError(f"The label of row {row} is {label!r}, and not a number.") from error
