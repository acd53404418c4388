"""What a model's report.json shows, as sections of its card: plots, what the model relies on, its data. Pure.

Each function draws one part of the report (model_code/report.py has its form), and raises what Python raises where the
part is not as it should be. How much is drawn is bounded here, whatever the artifact holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mlplatform.charts import Axis, Plot, spark
from mlplatform.model_figures import METRICS, compact, escaped, number, percent, plain, signed, whole_percent
from mlplatform.words import counted

_MOST_BINS = 50
_MOST_POINTS = 300
_MOST_CLASSES = 13
_MOST_COLUMNS = 500
_SMALL_CONFUSION = 5  # classes; more need the whole width
_MOST_BARS = 20
_FOLDED_COLUMNS = 40
_STEADY_ROWS = 10  # fewer make a dot of a calibration plot, but not a line
_SQUARE = 280.0  # of the plots, in their own units


def _chart(title: str, note: str, svg: str, aside: Sequence[tuple[str, str]] = (), legend: str = "") -> str:
    """A section with a plot; `aside` has figures under it. All HTML."""
    figures = "".join(f"<span>{name} <b>{value}</b></span>" for name, value in aside)
    figures = f'<div class="aside">{figures}</div>' if figures else ""
    return f'<section><h2>{title}</h2><div class="note">{note}</div>{svg}{legend}{figures}</section>'


def calibration(report: Mapping[str, Any], test: Mapping[str, float]) -> str:
    """What was said against what happened, with 95 % intervals (Wilson, 1927) where there are few rows."""
    found = report["calibration"]
    bins = [(int(b["rows"]), float(b["predicted"]), float(b["observed"])) for b in found["bins"][:_MOST_BINS]]
    total = sum(rows for rows, _, _ in bins)
    classes = report["label"]["classes"]
    binary = found["of"] == "second class" and len(classes) == 2
    what = f"“{escaped(classes[1]['name'], 40)}”" if binary else "the predicted class"
    plot = Plot(Axis(0, 1, "said probability", whole_percent), Axis(0, 1, "share that it was", whole_percent), _SQUARE)
    drawn = [plot.line([(0, 0), (1, 1)], "--soft", 'stroke-dasharray="3 5" opacity=".7"')]
    for rows, predicted, observed in bins:
        low, high = _wilson(observed, rows)
        x = plot.x(predicted)
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(low):.1f}" y2="{plot.y(high):.1f}" stroke="var(--c0)" '
            'stroke-width="1.5" opacity=".35"/>'
        )
    steady = [(p, o) for rows, p, o in bins if rows >= _STEADY_ROWS]
    if len(steady) > 1:
        drawn.append(plot.line(steady, "--c0", 'opacity=".55"'))
    for rows, predicted, observed in bins:
        radius = 3 + 8 * math.sqrt(rows / total)
        drawn.append(
            f'<circle cx="{plot.x(predicted):.1f}" cy="{plot.y(observed):.1f}" r="{radius:.1f}" fill="var(--c0)" '
            f'stroke="var(--card)" stroke-width="1.5"><title>said {percent(predicted)}, was {percent(observed)} of '
            f"{counted(rows, 'row')}</title></circle>"
        )
    return _chart(
        "Can its probabilities be taken at their word?",
        f"How likely {what} was said to be, and how often it was so. On the dashed line they can; below it the model "
        "is too sure. A larger dot has more rows; bars show what chance alone may do.",
        plot.svg("Calibration: predicted probability against observed share", "".join(drawn)),
        [(METRICS[name][0], number(test[name])) for name in ("calibration_error", "brier") if name in test],
    )


def _wilson(share: float, rows: int) -> tuple[float, float]:
    z = 1.96
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return middle - half, middle + half


def roc(report: Mapping[str, Any], test: Mapping[str, float]) -> str:
    points = [(float(f), float(t)) for f, t in report["roc"]["points"][:_MOST_POINTS]]
    if not points:
        return ""
    name = escaped(report["label"]["classes"][1]["name"], 40)
    plot = Plot(
        Axis(0, 1, "false alarms among the others", whole_percent),
        Axis(0, 1, "found", whole_percent),
        _SQUARE,
    )
    drawn = (
        plot.area(points, "--c0")
        + plot.line([(0, 0), (1, 1)], "--soft", 'stroke-dasharray="3 5" opacity=".7"')
        + plot.line(points, "--c0", width=2.5)
    )
    return _chart(
        "What more finds cost in false alarms",
        f"Each point is a threshold: which share of “{name}” it finds, and which share of the others it takes for it. "
        "The dashed line is guessing.",
        plot.svg("ROC curve", drawn),
        [("Area under the curve", number(test.get("roc_auc")))],
    )


def small_confusion(report: Mapping[str, Any]) -> str:
    return _confusion(report) if len(report["confusion"]["counts"]) <= _SMALL_CONFUSION else ""


def large_confusion(report: Mapping[str, Any]) -> str:
    return _confusion(report) if len(report["confusion"]["counts"]) > _SMALL_CONFUSION else ""


def _confusion(report: Mapping[str, Any]) -> str:
    found = report["confusion"]
    counts = [[int(count) for count in row[:_MOST_CLASSES]] for row in found["counts"][:_MOST_CLASSES]]
    shown = [str(name) for name in found["classes"]]
    if found.get("others"):
        shown.append(f"{found['others']} others")
    head = "".join(f'<th title="{escape(name)}">{escaped(name, 40)}</th>' for name in shown)
    rows = []
    many = len(counts) > _SMALL_CONFUSION
    for place, (name, row) in enumerate(zip(shown, counts, strict=True)):
        total = sum(row) or 1
        cells = []
        for column, count in enumerate(row):
            share = count / total
            kind = "right" if column == place else "wrong"
            strong = " strong" if share > 0.55 else ""
            said = f"<span>{count or ''}</span>" + ("" if many or not count else f"<small>{share:.0%}</small>")
            cells.append(f'<td class="{kind}{strong}" style="--a:{share:.2f}">{said}</td>')
        rows.append(f'<tr><th class="actual" title="{escape(name)}">{escaped(name, 40)}</th>{"".join(cells)}</tr>')
    all_rows = sum(map(sum, counts))
    right = sum(row[place] for place, row in enumerate(counts))
    return _chart(
        "Which class is taken for which",
        "A row is what it was, a column what was predicted, on the test rows. Blue is right, red is wrong; the "
        "stronger, the larger its share of the row.",
        f'<div class="scroll"><table class="confusion{" many" if many else ""}"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
        [("Right", f"{right:,} of {all_rows:,}"), ("Wrong", f"{all_rows - right:,}")],
    )


def predicted_and_actual(report: Mapping[str, Any]) -> str:
    found = report["residuals"]
    low, high, size = float(found["low"]), float(found["high"]), int(found["size"])
    logarithmic = bool(found["logarithmic"])
    name = str(report["label"]["name"])[:60]
    across, up = (Axis(low, high, f"{way} {name}", compact, logarithmic) for way in ("predicted", "actual"))
    plot = Plot(across, up, _SQUARE)

    def edge(place: int) -> float:
        return low * (high / low) ** (place / size) if logarithmic else low + (high - low) * place / size

    cells = [(int(x), int(y), int(n)) for x, y, n in found["cells"][: size * size]]
    most = max(n for _, _, n in cells)
    drawn = "".join(
        plot.box(edge(x), edge(x + 1), edge(y), edge(y + 1), "--c0", 0.15 + 0.85 * math.sqrt(n / most))
        for x, y, n in cells
    )
    drawn += plot.line([(low, low), (high, high)], "--ink", 'stroke-dasharray="3 5" opacity=".6"')
    half, most_off = (float(value) for value in found["absolute_quantiles"])
    scale = " Both axes are logarithmic." if logarithmic else ""
    return _chart(
        "Predicted and actual",
        "Test rows, counted in squares: the stronger the colour, the more. On the dashed line a prediction is exact. "
        f"The outermost half per cent lies on the border.{scale}",
        plot.svg("Predicted against actual values", drawn),
        [("Half are off by less than", number(half)), ("nine in ten by less than", number(most_off))],
    )


def residuals(report: Mapping[str, Any]) -> str:
    found = report["residuals"]
    name = str(report["label"]["name"])[:60]
    plot, drawn = _histogram(found["histogram"], f"actual less predicted {name}", "test rows")
    x = plot.x(0)
    drawn += (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(plot.up.high):.1f}" y2="{plot.y(0):.1f}" stroke="var(--ink)" '
        'stroke-width="1.5" stroke-dasharray="3 5" opacity=".7"/>'
    )
    return _chart(
        "How far off it is",
        "Right of the dashed line it was more than predicted, left of it less. A heap that does not stand on the line "
        "is a bias.",
        plot.svg("Histogram of the differences between actual and predicted values", drawn),
        [("Bias: actual less predicted, on average", number(found["mean"]))],
    )


def _histogram(found: Mapping[str, Any], across: str, up: str) -> tuple[Plot, str]:
    counts = [int(count) for count in found["counts"][:_MOST_BINS]]
    low, high = float(found["low"]), float(found["high"])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = (high - low) / len(counts)
    plot = Plot(Axis(low, high, across, compact), Axis(0, max(counts) * 1.05, up, compact), _SQUARE)
    bars = "".join(
        plot.box(low + (n + 0.04) * step, low + (n + 0.96) * step, 0, count, "--c0", 0.85)
        for n, count in enumerate(counts)
        if count
    )
    return plot, bars


def curve(report: Mapping[str, Any]) -> str:
    """Of one network, or of one for each fold: epochs go on over the folds, and each begins at its first one here."""
    runs: dict[int, list[tuple[float, float, float]]] = {}
    for epoch, train, validation, *fold in report["training"]["curve"]:
        run = runs.setdefault(int(fold[0]) if fold else 0, [])
        if None not in (train, validation):
            run.append((float(epoch), float(train), float(validation)))
    lines = [run for run in runs.values() if len(run) > 1][:_MOST_CLASSES]
    if not lines:
        return ""
    lines = [[(epoch - run[0][0] + 1, train, loss) for epoch, train, loss in run] for run in lines]
    values = [loss for run in lines for _, *losses in run for loss in losses]
    low, high = min(values), max(values)
    margin = (high - low or 1.0) * 0.06
    last = max(run[-1][0] for run in lines)
    plot = Plot(
        Axis(1, last, "epoch", compact, whole=True), Axis(low - margin, high + margin, "loss", compact), _SQUARE
    )
    many = len(lines) > 1
    drawn, dots, best = "", "", []
    for run in lines:
        thin = run[:: max(1, len(run) // _MOST_POINTS)]
        drawn += plot.line([(epoch, train) for epoch, train, _ in thin], "--c5", 'opacity=".6"' if many else "")
        drawn += plot.line([(epoch, loss) for epoch, _, loss in thin], "--c0", width=1.8 if many else 2.5)
        epoch, _, loss = min(run, key=lambda one: one[2])
        best.append(epoch)
        dots += (
            f'<circle cx="{plot.x(epoch):.1f}" cy="{plot.y(loss):.1f}" r="5" fill="var(--good)" stroke="var(--card)" '
            'stroke-width="2"/>'
        )
    if not many:
        x = plot.x(best[0])
        drawn += (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(plot.up.high):.1f}" y2="{plot.y(plot.up.low):.1f}" '
            'stroke="var(--good)" stroke-width="1.5" stroke-dasharray="3 5"/>'
        )
    kept = f"epoch {best[0]:,.0f}" if not many else f"epochs {', '.join(f'{epoch:,.0f}' for epoch in best)}"
    aside = [("Epochs", f"{sum(run[-1][0] for run in lines):,.0f}"), ("Kept, with the lowest validation loss", kept)]
    note = "The loss after each epoch. Where validation turns up while training falls on, it learns by heart."
    if many:
        note += f" {len(lines)} networks, each judged on rows that it was not trained on; the model is their mean."
    legend = (
        '<div class="legend"><span><i class="line" style="color:var(--c5)"></i>training</span>'
        '<span><i class="line" style="color:var(--c0)"></i>validation</span>'
        '<span><i style="background:var(--good);border-radius:50%"></i>kept</span></div>'
    )
    return _chart(
        "How training went", note, plot.svg("Training and validation loss by epoch", drawn + dots), aside, legend
    )


def label(report: Mapping[str, Any]) -> str:
    label = report["label"]
    name = escaped(label["name"], 60)
    if "classes" not in label:
        plot, drawn = _histogram(label["histogram"], str(label["name"])[:60], "training rows")
        quantiles = [plain(value) for value in label["quantiles"]]
        return _chart(
            f"What “{name}” looks like",
            "In the training rows. The outermost half per cent at each end is in the first and the last bar.",
            plot.svg("Histogram of the label", drawn),
            [("Median", quantiles[3]), ("Nine in ten from", f"{quantiles[1]} to {quantiles[5]}")],
        )
    classes = [*label["classes"][:_MOST_CLASSES]]
    others = label.get("other_classes") or {}
    if others.get("classes"):
        classes.append(
            {"name": f"{others['classes']} others", **{s: others[s] for s in ("train", "validation", "test")}}
        )
    total = sum(int(one["train"]) for one in classes) or 1
    most = max(int(one["train"]) for one in classes) or 1
    rows = "".join(
        f"<tr><td>{escaped(one['name'], 60)}</td>"
        f'<td class="long">{_track(int(one["train"]) / most)}</td><td>{percent(int(one["train"]) / total)}</td>'
        f'<td>{int(one["train"]):,}</td><td class="minor">{int(one["validation"]):,}</td>'
        f'<td class="minor">{int(one["test"]):,}</td></tr>'
        for one in classes
    )
    return (
        f'<section><h2>What “{name}” looks like</h2><div class="note">Rows of each class, and its share of the '
        'training rows.</div><div class="scroll"><table class="bars"><thead><tr><th></th><th></th><th></th>'
        "<th>training</th>"
        f"<th>validation</th><th>test</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _track(share: float, low: float = 0, high: float = 0) -> str:
    """A bar of a share of its place, and a whisker from `low` to `high` where there is one."""
    whisker = f'<u style="left:{_clip(low):.1%};width:{_clip(high) - _clip(low):.1%}"></u>' if high > low else ""
    return f'<div class="track"><i style="width:{_clip(share):.1%}"></i>{whisker}</div>'


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))


def importance(report: Mapping[str, Any]) -> str:
    found = report["importance"]
    noise = abs(float(found.get("baseline") or 0)) * 1e-6  # a column that the model does not use may differ by that

    def clean(value: Any) -> float:
        return 0.0 if abs(value) < noise else float(value)

    columns = [(str(one["name"]), clean(one["drop"]), clean(one["spread"])) for one in found["columns"]]
    if not columns:
        return ""
    shown = columns[:_MOST_BARS]
    reach = max(1e-12, *(drop + spread for _, drop, spread in shown))
    measure = METRICS.get(str(found["metric"]), (str(found["metric"]), None))[0].lower()
    rows = "".join(
        f"<tr><td>{escaped(name)}</td>"
        f'<td class="long">{_track(drop / reach, (drop - spread) / reach, (drop + spread) / reach)}</td>'
        f'<td>{signed(drop, "")}</td><td class="faint">± {number(spread)}</td></tr>'
        for name, drop, spread in shown
    )
    rest = columns[_MOST_BARS:]
    tail = f'<p class="verdict">{counted(len(rest), "other column")} mattered less.</p>' if rest else ""
    if found.get("not_measured"):
        tail += (
            f'<p class="verdict">{counted(int(found["not_measured"]), "column")} not measured, for want of time.'
            f"{_followed(found.get('followed') or [])}</p>"
        )
    return (
        "<section><h2>What it relies on</h2>"
        f'<div class="note">How much the {escaped(measure)} rises, from {number(found.get("baseline"))}, when a '
        f"column’s values are dealt out to other rows at random: {int(found['repeats'])} times, on "
        f"{counted(int(found['rows']), 'row')} of the {escaped(found['split'])} split. The bar is the mean, the line "
        "through its end one standard deviation. Columns that say the same can stand in for one another, and then "
        "neither looks important.</div>"
        f'<table class="bars"><tbody>{rows}</tbody></table>{tail}</section>'
    )


def _followed(followed: Sequence[Mapping[str, Any]]) -> str:
    """Of what was not measured: how closely the predictions follow each column by itself."""
    listed = [f"{escaped(one['name'], 60)} {percent(float(one['share']))}" for one in followed[:_MOST_BARS]]
    if not listed:
        return ""
    return (
        " How much of the predictions’ variance lies between tenths, or categories, of a column alone: "
        f"{', '.join(listed)}."
    )


def columns(report: Mapping[str, Any]) -> str:
    """A row per column: what it holds, and how it is spread."""
    columns = list(report["columns"][:_MOST_COLUMNS])
    if not columns:
        return ""
    rows = report["rows"]
    profiled = int(report["profiled_rows"])
    train, validation, test = (int(rows[split]) for split in ("train", "validation", "test"))
    note = [f"{counted(train, 'row')} to train on, {validation:,} to choose the best epoch, {test:,} to judge."]
    folds = len({int(one[3]) for one in report["training"]["curve"] if len(one) > 3})
    if folds > 1:
        note = [f"{train + validation:,} rows to train on, each fold of {folds} left out once; {test:,} to judge."]
    if rows.get("without_label"):
        note.append(f"{counted(int(rows['without_label']), 'row')} without a label left out.")
    if profiled < train:
        note.append(f"The profile is of {profiled:,} training rows, taken at random.")
    else:
        note.append("The profile is of the training rows.")
    many = len(columns) > _FOLDED_COLUMNS
    if many:
        known = report["importance"]
        ranks = [str(one["name"]) for one in [*known["columns"], *(known.get("followed") or [])]]
        places = {name: place for place, name in enumerate(ranks)}
        columns.sort(key=lambda one: places.get(str(one["name"]), len(places)))
        note.append("What matters most comes first.")
    lines = [_column(one, profiled) for one in columns]
    shown, folded = (lines[:_FOLDED_COLUMNS], lines[_FOLDED_COLUMNS:]) if many else (lines, [])
    left_out = int(report.get("columns_left_out") or 0)
    if left_out:
        note.append(f"{counted(left_out, 'more column')} {'is' if left_out == 1 else 'are'} not shown.")
    more = (
        f"<details><summary>The other {counted(len(folded), 'column')}</summary>{_profile_table(folded)}</details>"
        if folded
        else ""
    )
    return (
        f"<section><h2>What it was trained on: {counted(len(columns) + left_out, 'column')}</h2>"
        f'<div class="note">{" ".join(note)}</div>{_profile_table(shown)}{more}</section>'
    )


def _profile_table(lines: Sequence[str]) -> str:
    return (
        '<div class="scroll"><table class="profile"><thead><tr><th></th><th class="text kind">kind</th><th>missing</th>'
        '<th>distinct</th><th class="text">spread</th><th class="text"></th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _column(one: Mapping[str, Any], rows: int) -> str:
    missing, distinct = float(one["missing"]), int(one["distinct"])
    present = rows * (1 - missing)
    chips = ""
    if distinct == 0:
        chips = '<span class="chip">empty</span>'
    elif distinct == 1:
        chips = '<span class="chip">constant</span>'
    if one["kind"] == "category":
        top = [(str(name), int(count)) for name, count in one["top"][:_MOST_BINS]]
        if distinct > 20 and distinct > 0.9 * present:
            chips = '<span class="chip">nearly every value differs</span>'
        drawn = spark([count for _, count in top], "--c1", 0.4 * present)
        said = ", ".join(
            f"<b>{escaped(name, 40)}</b> {percent(count / present if present else None)}" for name, count in top
        )
        if one.get("others"):
            others = f"{percent(int(one['others']) / present if present else None)} others"
            said = f"{said}, {others}" if said else "no value is shared by five rows"
    else:
        dated = one["kind"] == "date"
        quantiles = [escaped(str(value), 10) if dated else plain(value) for value in one.get("quantiles", [])]
        drawn = spark([int(count) for count in one.get("histogram", {}).get("counts", [])][:_MOST_BINS])
        said = ""
        if distinct == 1 and quantiles:
            said = f"always <b>{quantiles[0]}</b>"
        elif len(quantiles) == 7:
            said = (
                f"median <b>{quantiles[3]}</b>, half from {quantiles[2]} to {quantiles[4]}, all from {quantiles[0]} to "
                f"{quantiles[6]}"
            )
    style = f"lacking{' up' if missing > 0.5 else ''}" if missing else "minor"
    return (
        f'<tr><td>{escaped(one["name"])}{chips}</td><td class="kind minor">{escaped(one["kind"], 20)}</td>'
        f'<td class="{style}">{percent(missing) if missing else "–"}</td><td class="minor">{distinct:,}</td>'
        f'<td class="text">{drawn}</td>'
        f'<td class="values">{said}</td></tr>'
    )
