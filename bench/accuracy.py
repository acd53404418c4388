"""How good the default model is: our job beside scikit-learn's HistGradientBoosting, XGBoost and a linear model, each
as it comes, on the same rows.

The tables are scikit-learn's bundled ones and its generators, with what real tables have: categories, holes, imbalance,
wrong labels, skewed targets, steps. Each is written as CSV and learnt by model_code/train.py in a process of its own;
its answers are those of the artifact, through the code that serves it. All learn from the same four fifths; ours takes
its validation rows out of them. What counts is the area under the ROC curve, or the root mean squared error.

`SEEDS=3 python -m bench accuracy` takes another number of seeds, `TABLES=breast_cancer,friedman1` only those tables.
"""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Shown

from bench.figures import Figure
from mlplatform import prices

ROOT = Path(__file__).parents[1]
INSTANCE, REGION, CORES = "ml.m5.xlarge", "us-east-1", 2  # its 4 processors are 2 cores
FIRST_SEED = 100  # the families were looked at while the model was made, with other seeds than these
RESAMPLES = 200  # of the test rows, for the standard error of a difference
OURS, HGB, XGBOOST, LINEAR = "ours", "HistGradientBoosting", "XGBoost", "linear"
MODELS = (OURS, HGB, XGBOOST, LINEAR)


@dataclass(frozen=True)
class Table:
    """Columns of numbers (NaN is missing) or texts, and a label of class positions or numbers."""

    columns: list[Any]
    label: Any
    regression: bool = False


# --- the tables -------------------------------------------------------------------------------------------------------


def _columns(rows: Any) -> list[Any]:
    return list(np.asarray(rows, dtype=np.float64).T)


def _bundled(name: str, regression: bool = False) -> Callable[[int], Table]:
    def make(_seed: int) -> Table:
        from sklearn import datasets

        rows, label = getattr(datasets, f"load_{name}")(return_X_y=True)
        return Table(_columns(rows), label, regression)

    return make


def _classes(**options: Any) -> Callable[[int], Table]:
    def make(seed: int) -> Table:
        from sklearn.datasets import make_classification

        rows, label = make_classification(random_state=seed, **{"n_samples": 2000, **options})
        return Table(_columns(rows), label)

    return make


def _friedman(which: int, noise: float) -> Callable[[int], Table]:
    def make(seed: int) -> Table:
        from sklearn import datasets

        rows, label = getattr(datasets, f"make_friedman{which}")(n_samples=1500, noise=noise, random_state=seed)
        return Table(_columns(rows), label, regression=True)

    return make


def _shape(name: str) -> Callable[[int], Table]:
    def make(seed: int) -> Table:
        from sklearn import datasets

        rows, label = getattr(datasets, f"make_{name}")(n_samples=1200, noise=0.25, random_state=seed)
        useless = np.random.default_rng(seed).normal(size=(len(rows), 6))
        return Table(_columns(np.hstack((rows, useless))), label)

    return make


def _steps(regression: bool) -> Callable[[int], Table]:
    """A random tree of 40 leaves over 10 columns: the trees' own ground."""

    def make(seed: int) -> Table:
        from sklearn.tree import DecisionTreeRegressor

        random = np.random.default_rng(seed)
        anywhere = random.normal(size=(160, 10))
        tree = DecisionTreeRegressor(max_leaf_nodes=40, random_state=seed).fit(anywhere, random.normal(size=160))
        rows = random.normal(size=(2500, 10))
        height = tree.predict(rows)
        height = height / height.std() + random.normal(0, 0.3, len(rows))
        return Table(_columns(rows), height if regression else (height > np.median(height)).astype(int), regression)

    return make


def _mixed(kind: str) -> Callable[[int], Table]:
    """Numbers with holes, a column of five categories and one of many; as shops and insurers have them."""

    def make(seed: int) -> Table:
        random = np.random.default_rng(seed)
        rows, categories, missing = 3500, 200, 0.1
        numbers = random.normal(size=(rows, 6))
        few = random.integers(0, 5, rows)
        many = np.minimum(random.exponential(categories / 4, rows).astype(int), categories - 1)
        height = numbers[:, 0] + np.abs(numbers[:, 1]) + 0.7 * numbers[:, 2] * numbers[:, 3]
        height += random.normal(size=5)[few] * (numbers[:, 4] > 0) + random.normal(size=categories)[many]
        height += random.normal(0, 0.7, rows)
        numbers[random.random(numbers.shape) < missing] = np.nan
        texts = [
            np.array([f"{letter}{of}" for of in codes], dtype=object) for letter, codes in (("f", few), ("m", many))
        ]
        columns = [*_columns(numbers), *texts]
        if kind == "classes":
            return Table(columns, (height > np.quantile(height, 0.7)).astype(int))
        return Table(columns, np.exp(height / 2) if kind == "skewed" else height, regression=True)

    return make


def _generated(name: str, regression: bool = False, useless: int = 0, **options: Any) -> Callable[[int], Table]:
    """Another of scikit-learn's generators, as it is."""

    def make(seed: int) -> Table:
        from sklearn import datasets

        rows, label = getattr(datasets, f"make_{name}")(random_state=seed, **options)[:2]
        rows = np.hstack((rows, np.random.default_rng(seed).normal(size=(len(rows), useless))))
        return Table(_columns(rows), label if regression else np.unique(label, return_inverse=True)[1], regression)

    return make


def _counts(seed: int) -> Table:
    """How often something happens: small whole numbers, by rates that multiply, as in insurance."""
    random = np.random.default_rng(seed)
    rows = 4000
    numbers = random.normal(size=(rows, 5))
    regions, models = random.integers(0, 12, rows), random.integers(0, 60, rows)
    rate = np.exp(0.4 * numbers[:, 0] - 0.3 * numbers[:, 1] * (regions < 4) + random.normal(0, 0.4, 60)[models])
    texts = [np.array([f"{kind}{of}" for of in codes], dtype=object) for kind, codes in (("r", regions), ("m", models))]
    return Table([*_columns(numbers), *texts], random.poisson(rate), regression=True)


TABLES: dict[str, Callable[[int], Table]] = {
    "breast_cancer": _bundled("breast_cancer"),
    "wine": _bundled("wine"),
    "iris": _bundled("iris"),
    "digits": _bundled("digits"),
    "diabetes": _bundled("diabetes", regression=True),
    "classes": _classes(n_features=20, n_informative=8, n_redundant=4),
    "classes 300": _classes(n_samples=300, n_features=20, n_informative=6),
    "five classes": _classes(n_samples=4000, n_features=20, n_informative=10, n_classes=5),
    "one in twenty": _classes(n_samples=4000, n_features=20, n_informative=8, weights=[0.95]),
    "wrong labels": _classes(n_features=20, n_informative=8, flip_y=0.2),
    "friedman1": _friedman(1, 1.0),
    "friedman2": _friedman(2, 20.0),
    "friedman3": _friedman(3, 0.1),
    "moons": _shape("moons"),
    "circles": _shape("circles"),
    "steps": _steps(regression=False),
    "steps number": _steps(regression=True),
    "mixed": _mixed("classes"),
    "mixed number": _mixed("number"),
    "mixed skewed": _mixed("skewed"),
    "hastie": _generated("hastie_10_2", n_samples=2000),
    "shells": _generated("gaussian_quantiles", n_samples=2000, n_features=10, n_classes=3),
    "blobs": _generated("blobs", n_samples=2000, n_features=8, centers=6, cluster_std=6.0),
    "sparse": _generated("sparse_uncorrelated", regression=True, n_samples=1500),
    "swiss roll": _generated("swiss_roll", regression=True, useless=5, n_samples=1500, noise=1.0),
    "counts": _counts,
}
# Families that nobody had looked at, with any seed, before the model was finished: they came into this file afterwards.
UNSEEN = ("hastie", "shells", "blobs", "sparse", "swiss roll", "counts")
BUNDLED = ("breast_cancer", "wine", "iris", "digits", "diabetes")


# --- the models -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Test rows x classes of probabilities, or numbers; and the processor's seconds until the model was there."""

    predicted: Any
    seconds: float


def _ours(table: Table, learns: Any, judges: Any, seed: int) -> Answer:
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        (base / "data").mkdir()
        for name, rows in (("train", learns), ("test", judges)):
            (base / f"data/{name}.csv").write_text(_csv(table, rows))
        task = "regression" if table.regression else "binary" if table.label.max() == 1 else "multiclass"
        began = _children_seconds()
        run = subprocess.run(
            [
                sys.executable, str(ROOT / "model_code/train.py"),
                "--label_column", str(len(table.columns)), "--task", task, "--seed", str(seed),
                "--dataset_dir", str(base / "data"), "--model_dir", str(base / "model"),
                "--checkpoint_dir", str(base / "checkpoints"), "--live_model_dir", str(base / "none"),
            ],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if run.returncode:
            raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
        seconds = _children_seconds() - began
        sys.path.insert(0, str(ROOT / "model_code"))
        import inference

        model = inference.load(base / "model")
        body = _csv(table, judges, label=False).encode()
        status, content, _ = inference.answer(model, body, "text/csv", "application/json")
        if status != 200:
            raise RuntimeError(content.decode())
        answer = json.loads(content)
        return Answer(np.array(answer["predictions" if table.regression else "probabilities"]), seconds)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _csv(table: Table, rows: Any, *, label: bool = True) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*(f"column_{place}" for place in range(len(table.columns))), *(["label"] if label else [])])
    for row in rows.tolist():
        cells = [column[row] for column in table.columns]
        line = [cell if isinstance(cell, str) else "" if np.isnan(cell) else repr(float(cell)) for cell in cells]
        writer.writerow([*line, *([table.label[row]] if label else [])])
    return out.getvalue()


def _peer(name: str, table: Table, learns: Any, judges: Any, seed: int) -> Answer:
    rows, categorical = _as_numbers(table)
    began = time.process_time()
    model = _peer_model(name, table.regression, categorical, seed)
    model.fit(rows[learns], table.label[learns])
    seconds = time.process_time() - began
    predicted = model.predict(rows[judges]) if table.regression else model.predict_proba(rows[judges])
    return Answer(predicted, seconds)


def _as_numbers(table: Table) -> tuple[Any, list[int]]:
    """Texts as their places in the alphabet; which columns those are."""
    columns, categorical = [], []
    for place, column in enumerate(table.columns):
        if column.dtype == object:
            categorical.append(place)
            columns.append(np.unique(column.astype(str), return_inverse=True)[1].astype(np.float64))
        else:
            columns.append(column)
    return np.column_stack(columns), categorical


def _peer_model(name: str, regression: bool, categorical: list[int], seed: int) -> Any:
    """The peers' defaults. HistGradientBoosting is told which columns are categories, the linear model gets them
    one-hot, holes filled and numbers standardised."""
    from sklearn import ensemble, linear_model
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if name == HGB:
        kind = ensemble.HistGradientBoostingRegressor if regression else ensemble.HistGradientBoostingClassifier
        return kind(categorical_features=categorical or None, random_state=seed)
    if name == XGBOOST:
        import xgboost

        kind = xgboost.XGBRegressor if regression else xgboost.XGBClassifier
        return kind(random_state=seed, n_jobs=CORES)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), categorical), remainder=numbers, sparse_threshold=0
    )
    return make_pipeline(
        encoder, linear_model.Ridge() if regression else linear_model.LogisticRegression(max_iter=1000)
    )


# --- the judgement ----------------------------------------------------------------------------------------------------


def _score(label: Any, predicted: Any) -> float:
    """The area, or the negative error: more is better."""
    if predicted.ndim == 1:
        return -float(np.sqrt(np.mean((label - predicted) ** 2)))
    sys.path.insert(0, str(ROOT / "model_code"))
    import metrics

    area = metrics.roc_auc(label, predicted)
    return float("nan") if area is None else area


@dataclass(frozen=True)
class Round:
    """One table and seed."""

    table: str
    regression: bool
    scores: dict[str, float]
    seconds: dict[str, float]
    behind: float  # the best of the two kinds of trees less ours
    standard_error: float  # of that

    @property
    def won_or_tied(self) -> bool:
        return self.behind <= self.standard_error

    @property
    def rank(self) -> dict[str, float]:
        """1 for the best; equals share theirs."""
        of = {name: round(score, 4) for name, score in self.scores.items()}
        return {
            name: 1 + sum(other > mine for other in of.values()) + (sum(o == mine for o in of.values()) - 1) / 2
            for name, mine in of.items()
        }


def _round(name: str, seed: int) -> Round:
    from sklearn.model_selection import train_test_split

    table = TABLES[name](seed)
    learns, judges = train_test_split(
        np.arange(len(table.label)),
        test_size=0.2,
        random_state=seed,
        stratify=None if table.regression else table.label,
    )
    answers = {OURS: _ours(table, learns, judges, seed)}
    answers |= {peer: _peer(peer, table, learns, judges, seed) for peer in MODELS[1:]}
    truth = table.label[judges]
    scores = {model: _score(truth, answer.predicted) for model, answer in answers.items()}
    best = max((HGB, XGBOOST), key=lambda model: scores[model])
    random = np.random.default_rng(seed)
    differences = []
    for _ in range(RESAMPLES):
        some = random.integers(0, len(truth), len(truth))
        differences.append(
            _score(truth[some], answers[best].predicted[some]) - _score(truth[some], answers[OURS].predicted[some])
        )
    return Round(
        name,
        table.regression,
        scores,
        {model: answer.seconds for model, answer in answers.items()},
        scores[best] - scores[OURS],
        float(np.nanstd(differences)),
    )


def measure() -> list[Figure]:
    """Every table and seed; a line for each as it is done."""
    seeds = int(os.environ.get("SEEDS", "2"))
    names = [name for name in os.environ.get("TABLES", "").split(",") if name] or list(TABLES)
    rounds = []
    shown = Shown(title="area under the curve, or error", title_justify="left", box=None)
    for column in ("table", "seed", *MODELS, "win or tie", "our seconds"):
        shown.add_column(column)
    console = Console()
    for name in names:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            one = _round(name, seed)
            rounds.append(one)
            verdict = "yes" if one.won_or_tied else "no"
            values = [f"{abs(one.scores[model]):.4g}" for model in MODELS]
            shown.add_row(name, str(seed), *values, verdict, f"{one.seconds[OURS]:.0f}")
            console.print(f"{name} {seed}: {' '.join(values)} {verdict}", style="dim")
    console.print(shown)
    return _figures(rounds)


def _figures(rounds: list[Round]) -> list[Figure]:
    ranks = {model: float(np.mean([one.rank[model] for one in rounds])) for model in MODELS}
    hourly = float(prices.usd_per_hour(INSTANCE, "training", REGION))
    figures = [Figure("ours: mean rank", ranks[OURS], "", f"<= {min(ranks[HGB], ranks[XGBOOST]):.3f}", "the best is 1")]
    figures += [Figure(f"{model}: mean rank", ranks[model], "") for model in MODELS[1:]]
    share = float(np.mean([one.won_or_tied for one in rounds]))
    figures.append(
        Figure("wins or ties", 100 * share, "%", ">= 60", "against the better of both trees, within a standard error")
    )
    if unseen := [one for one in rounds if one.table in UNSEEN]:
        won = 100 * float(np.mean([one.won_or_tied for one in unseen]))
        note = ", ".join(f"{model} {np.mean([one.rank[model] for one in unseen]):.2f}" for model in MODELS[1:])
        figures.append(
            Figure("unseen families: mean rank", float(np.mean([one.rank[OURS] for one in unseen])), "", "", note)
        )
        figures.append(Figure("unseen families: wins or ties", won, "%"))
    areas = [one.behind * 100 for one in rounds if one.table in BUNDLED and not one.regression]
    errors = [100 * one.behind / -max(one.scores[HGB], one.scores[XGBOOST]) for one in rounds if one.regression]
    bundled = [
        100 * one.behind / -max(one.scores[HGB], one.scores[XGBOOST])
        for one in rounds
        if one.regression and one.table in BUNDLED
    ]
    if areas:
        figures.append(Figure("bundled tables: most behind in area", max(areas), "points", "<= 2"))
    if bundled:
        figures.append(Figure("bundled tables: most behind in error", max(bundled), "%", "<= 5"))
    everywhere = [one.behind * 100 for one in rounds if not one.regression]
    if everywhere:
        figures.append(Figure("all tables: most behind in area", max(everywhere), "points"))
    if errors:
        figures.append(Figure("all tables: most behind in error", max(errors), "%"))
    for model in MODELS:
        seconds = float(np.mean([one.seconds[model] for one in rounds]))
        # A whole job has the container's start besides, the same for all.
        cost = seconds / CORES / 3600 * hourly
        note = f"{cost:.6f} USD on {INSTANCE}, on both of its cores; without the start of the container"
        figures.append(Figure(f"{model}: processor seconds a model", seconds, "s", "", note))
    figures.append(Figure("ours: most processor seconds", max(one.seconds[OURS] for one in rounds), "s", "<= 120"))
    return figures
