"""What is learnt from a table of which size, how folds and calibration work, and whose network it is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_code.test_training import Interruptions, train_here, write_table

import distributed
import learning
import metrics
import network
from dataset import Dataset, Rows
from preprocess import Numbers


@pytest.mark.parametrize(
    ("rows", "columns", "members", "folds"),
    [(100, 5, 8, 5), (3000, 20, 8, 5), (3001, 20, 16, 1), (20_000, 30, 16, 1), (500_000, 30, 8, 1), (10**7, 20, 4, 1)],
)
def test_a_tables_size_decides_how_much_is_learnt(rows: int, columns: int, members: int, folds: int) -> None:
    settings = learning.settled({}, rows, columns)
    assert (settings.network, settings.members, settings.folds) == ("tabm", members, folds)
    assert 2 <= settings.epochs <= 100


@pytest.mark.parametrize(("rows", "columns"), [(20_000, 30), (20_000, 5), (10_000, 30), (3000, 30), (500, 30)])
def test_no_table_of_up_to_20000_rows_and_30_columns_takes_more_than_the_time_allows(rows: int, columns: int) -> None:
    settings = learning.settled({}, rows, columns)
    width = columns * settings.embedding_size * settings.hidden_size + settings.hidden_size**2
    passes = settings.epochs * rows * max(1, settings.folds - 1)
    assert passes * settings.members * width <= 4.1e11


def test_thousands_of_columns_get_a_narrow_embedding_and_no_trees() -> None:
    settings = learning.settled({}, 60, 4000)
    assert (settings.embedding_size, settings.trees) == (1, 0)


def test_what_is_asked_for_is_taken() -> None:
    assert learning.settled({"epochs": 7, "folds": 1, "seed": 3}, 100, 5).epochs == 7
    assert learning.settled({"network": "mlp"}, 100, 5).trees == 0


def test_each_row_is_left_out_once_and_each_fold_has_its_share_of_each_class() -> None:
    label = np.array([0] * 80 + [1] * 20)
    folds = learning.held_out(label, 5, seed=1)
    assert sorted(np.concatenate(folds).tolist()) == list(range(100))
    assert [int(label[rows].sum()) for rows in folds] == [4] * 5


def test_probabilities_that_are_too_sure_are_tempered_and_good_ones_left_alone() -> None:
    random = np.random.default_rng(0)
    truth = 1 / (1 + np.exp(-random.normal(size=3000)))
    label = (random.random(3000) < truth).astype(np.int64)
    good = np.column_stack((1 - truth, truth))
    assert learning.fitted_temperature(label, good) == 1
    # Half the temperature, so twice the log-odds.
    sure = metrics.calibrated(good, 0.5)
    assert learning.fitted_temperature(label, sure) == pytest.approx(2, abs=0.25)


def test_a_small_table_is_learnt_in_folds_and_judged_on_rows_left_out(tmp_path: Path) -> None:
    write_table(tmp_path / "data/data.csv", rows=120)
    found = train_here(tmp_path, network="tabm", epochs=4, hidden_size=16, trees=5)
    schema = json.loads((tmp_path / "model/schema.json").read_text())
    assert schema["network"]["folds"] == 5
    assert found["validation"]["rows"] == 102  # all that are not for the test
    assert found["training"]["epochs_run"] == 20


@pytest.mark.parametrize("batches", [(3,), (30, 31), (44,)])
def test_folds_that_were_interrupted_end_as_if_nothing_had_happened(batches: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def rows(count: int) -> Rows:
        values = random.normal(size=(count, 2))
        return Rows([Numbers(values[:, 0]), Numbers(values[:, 1])], (values.sum(axis=1) > 0).astype(np.int64))

    data = Dataset(["a", "b"], "label", [0, 1], rows(100), rows(20), rows(20), 0)

    def learn(folder: Path, should_stop: Any) -> learning.Learned:
        return learning.learn(
            data,
            {"epochs": 3, "hidden_size": 8, "members": 2, "trees": 3},
            torch.device("cpu"),
            checkpoints=folder,
            fingerprint="same",
            should_stop=should_stop,
            log=lambda _line: None,
        )

    expected = learn(tmp_path / "whole", lambda: False)
    interruptions = Interruptions(*batches)
    for _ in batches:
        with pytest.raises(distributed.Interrupted):
            learn(tmp_path / "parts", interruptions)
        torch.manual_seed(999)  # a new process would not have the old one's random state
    found = learn(tmp_path / "parts", interruptions)
    assert found.validation == expected.validation
    assert found.epochs_run == expected.epochs_run == 15
    for mine, other in zip(found.weights, expected.weights, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in mine.items())


@pytest.mark.parametrize("kind", ["only an id", "only a constant", "a class of two rows"])
def test_tables_that_teach_little_are_learnt_all_the_same(kind: str, tmp_path: Path) -> None:
    header, rows = "x,label", [f"u{i},{'ab'[i % 2]}" for i in range(60)]
    if kind == "only a constant":
        rows = [f"7,{'ab'[i % 2]}" for i in range(60)]
    if kind == "a class of two rows":
        rows = [f"{i % 13},{'ab'[i % 2]}" for i in range(60)] + ["1,c", "2,c"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/data.csv").write_text("\n".join([header, *rows]) + "\n")
    task = "multiclass" if kind == "a class of two rows" else "binary"
    found = train_here(tmp_path, task, network="tabm", label_column=1, epochs=2, hidden_size=8, trees=3)
    assert np.isfinite(found["test"]["log_loss"])
    assert ("the score is chance" in str(found["warnings"])) == (kind == "only an id")


def test_our_network_is_the_tabm_package_with_the_same_weights() -> None:
    """The package by TabM's authors, its piecewise-linear embeddings in the form of the paper."""
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings
    from tabm import TabM

    torch.manual_seed(0)
    knots = [[-1.0, -0.2, 0.5, 1.0], [-2.0, 0.0, 3.0, 4.0]]
    settings = learning.settled({"hidden_size": 6, "embedding_size": 3, "members": 4, "folds": 1}, 100, 2)
    ours = network.build(network.Shape(knots, [False] * 2, 0, 0, 2), settings).eval()
    bins = [torch.tensor(of) for of in knots]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = TabM(
            n_num_features=2,
            num_embeddings=PiecewiseLinearEmbeddings(bins, 3, activation=False, version="B"),
            d_out=2, n_blocks=2, d_block=6, k=4, dropout=0.0, arch_type="tabm", start_scaling_init="normal",
        ).eval()  # fmt: skip
    assert isinstance(ours, network.TabM)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
        embeddings: Any = theirs.num_module
        embeddings.linear0.weight.copy_(ours.linear)
        embeddings.linear0.bias.copy_(ours.shift)
        # There the last piece stands last and the others before it; here all have as many pieces.
        embeddings.linear.weight.copy_(ours.pieces)
        for block, layer in enumerate(theirs.backbone.blocks):
            layer[0].weight.copy_(getattr(ours, f"weight_{block}").T)
            layer[0].r.copy_(getattr(ours, f"r_{block}"))
            layer[0].s.copy_(getattr(ours, f"s_{block}"))
            layer[0].bias.copy_(getattr(ours, f"bias_{block}"))
        theirs.output.weight.copy_(ours.head)
        theirs.output.bias.copy_(ours.head_bias[:, 0])
    numbers = torch.rand(20, 2) * 2 - 1  # between the outermost knots, beyond which theirs goes on
    with torch.inference_mode():
        x, _ = network.bent(numbers)
        # Theirs has one number for the line and the pieces, ours bends the one for the line.
        expected = theirs.output(theirs.backbone(_embedded(theirs, numbers, x)[:, None].expand(-1, 4, -1)))
        found = ours(numbers, torch.empty(20, 0, dtype=torch.int64)).transpose(0, 1)
    assert torch.allclose(found, expected, atol=1e-4)


def _embedded(theirs: Any, numbers: torch.Tensor, bent: torch.Tensor) -> torch.Tensor:
    embeddings = theirs.num_module
    return (embeddings(numbers) - embeddings.linear0(numbers) + embeddings.linear0(bent)).flatten(1)  # type: ignore[no-any-return]
