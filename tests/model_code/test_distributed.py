"""Processes that train together learn what one process learns, decide together, and fail together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from model_code.test_training import arguments, train_here, write_table
from safetensors.torch import save_file
from torch import nn

import distributed
import fitting
import learning
import network
import train
from distributed import Group, Lost, Place

ROOT = Path(__file__).parents[2]
BATCHES = 10  # of an epoch in `fit`


def fit(group: Group, folder: Path, should_stop: Any, name: str = "tabm") -> fitting.Fitted:
    generator = torch.Generator().manual_seed(5)
    numbers, codes = torch.randn(301, 4, generator=generator), torch.empty(301, 0, dtype=torch.int64)
    label = (numbers.sum(dim=1) + torch.randn(301, generator=generator) > 0).long()
    own = group.share(301)
    return fitting.fit(
        network.Tensors(numbers[own], codes[own], label[own]),
        network.Tensors(numbers, codes, label),
        network.Shape([[-1.0, 0.0, 1.0]] * 4, [False] * 4, 0, 0, 2),
        learning.settled({"network": name, "epochs": 4, "batch_size": 32, "hidden_size": 16, "folds": 1}, 301, 4),
        classes=True,
        target_scale=1.0,
        checkpoints=folder,
        fingerprint="same",
        should_stop=should_stop,
        log=lambda _line: None,
        group=group,
    )


class Asked:
    """Whether to stop: from the given question on; `say` decides what is said then."""

    def __init__(self, after: int, say: Any = lambda: True) -> None:
        self.left, self.say = after, say

    def __call__(self) -> bool:
        self.left -= 1
        return bool(self.left < 0 and self.say())


def process(base: Path, ports: list[int]) -> None:
    """What each of two processes does, one after the other: train a job, stop, resume, lose the other twice."""
    place = Place.from_environment()
    mine = base / f"process-{place.rank}"
    found: dict[str, Any] = {}

    def join(describe: Any = str) -> Group:
        os.environ["MASTER_PORT"] = str(ports.pop(0))
        return Group(place, describe)

    os.environ["MASTER_PORT"] = str(ports.pop(0))
    torch.set_num_threads(1)
    # One model folder for both: a second writer would be seen in the metrics.
    train.run(train.parse(arguments(base, model_dir=base / "together", checkpoint_dir=mine / "job")))
    with join() as group:
        save_file(fit(group, mine / "whole", lambda: False).weights, mine / "whole.safetensors")
    try:
        with join() as group:
            # Only the second machine hears of it.
            fit(group, mine / "parts", Asked(BATCHES + 3) if place.rank else lambda: False)
    except distributed.Interrupted as error:
        found["stopped"] = str(error)
    torch.manual_seed(99)
    with join() as group:
        resumed = fit(group, mine / "parts", lambda: False)
        save_file(resumed.weights, mine / "parts.safetensors")
        found["resumed_from"] = resumed.resumed_from_epoch
    found["checkpoints"] = sorted(path.name for path in mine.iterdir() if path.is_dir() and any(path.iterdir()))

    def break_down() -> None:
        raise ValueError("the disk is full")

    for reason, last in (("told", break_down), ("silent", lambda: os._exit(9))):
        try:
            with join(lambda error: f"It failed: {error}.") as group:
                fit(group, mine / reason, Asked(2, last) if place.rank else lambda: False)
        except (Lost, ValueError) as error:
            found[reason] = str(error)
            (mine / "found.json").write_text(json.dumps(found))
            torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes have done all that `process` says."""
    base = tmp_path_factory.mktemp("two")
    write_table(base / "data/data.csv", rows=501, noise=1.0)
    from laptop.training_process import free_port  # here, because the two processes import this module as well

    ports: set[int] = set()
    while len(ports) < 6:
        ports.add(free_port())
    for rank in range(2):
        (base / f"process-{rank}").mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import *; process(Path({str(base)!r}), {sorted(ports)})"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "model_code"), str(ROOT / "tests")]),
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "GROUP_PATIENCE_SECONDS": "60",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [one.communicate(timeout=120) for one in processes]
    assert [one.returncode for one in processes] == [0, 9], ended
    (base / "said.json").write_text(json.dumps([out for out, _ in ended]))
    return base


def found(base: Path, rank: int) -> dict[str, Any]:
    return json.loads((base / f"process-{rank}/found.json").read_text())


def test_two_processes_measure_what_one_does_and_one_of_them_writes(two: Path) -> None:
    """Sums over a batch's rows are rounded in another order, which a few epochs do not blow up beyond 1e-4."""
    alone = train_here(two)["test"]
    together = json.loads((two / "together/metrics.json").read_text())["test"]
    assert together.pop("rows") == alone.pop("rows") == 76
    assert together == pytest.approx(alone, abs=1e-4)
    said = json.loads((two / "said.json").read_text())
    assert said[0].count("epoch=6 ") == 1
    assert said[1] == ""


def test_all_stop_when_one_is_asked_to_and_resume_from_the_first_ones_checkpoint_bit_for_bit(two: Path) -> None:
    first, second = found(two, 0), found(two, 1)
    # The question before the 14th batch is answered yes, and heard by all with that batch's gradients.
    assert first["stopped"] == second["stopped"] == "Stopped as asked in epoch 2 after 4 of 10 batches."
    assert first["resumed_from"] == second["resumed_from"] == 1
    assert first["checkpoints"] == ["job", "parts", "whole"]
    assert second["checkpoints"] == []
    weights = {
        (two / f"process-{rank}/{part}.safetensors").read_bytes() for rank in (0, 1) for part in ("whole", "parts")
    }
    assert len(weights) == 1


def test_a_failure_is_told_to_the_others_and_a_silent_end_is_noticed(two: Path) -> None:
    assert found(two, 1)["told"] == "the disk is full"
    assert found(two, 0)["told"] == "It failed: the disk is full."
    assert found(two, 0)["silent"].startswith("Another of the 2 processes that train together has ended or gone silent")


def test_a_shared_dropout_mask_is_the_one_that_pytorch_draws() -> None:
    rows, x = torch.tensor([True, False, True, True]), torch.rand(4, 3, 5)
    ours, theirs = network.Dropout(0.4), nn.Dropout(0.4)
    torch.manual_seed(3)
    expected = theirs(x)
    torch.manual_seed(3)
    ours.inside = rows
    assert torch.equal(ours(x[rows]), expected[rows])


@pytest.mark.parametrize("name", ["mlp", "tabm"])
def test_every_dropout_of_a_network_is_shared(name: str) -> None:
    settings = learning.settled({"network": name, "hidden_size": 4}, 100, 2)
    made = network.build(network.Shape([[0.0, 1.0]] * 2, [False] * 2, 0, 0, 2), settings)
    dropouts = [module for module in made.modules() if isinstance(module, nn.Dropout)]
    assert dropouts
    assert all(isinstance(module, network.Dropout) for module in dropouts)


def test_a_dropout_mask_is_shared_where_rows_are_the_second_dimension() -> None:
    rows, x = torch.tensor([True, False, True, True]), torch.rand(3, 4, 5)
    ours, theirs = network.Dropout(0.4, rows=1), nn.Dropout(0.4)
    torch.manual_seed(3)
    expected = theirs(x)
    torch.manual_seed(3)
    ours.inside = rows
    assert torch.equal(ours(x[:, rows]), expected[:, rows])
