"""How fast and how well the reference dataset is trained: our job, from process start to artifact, beside the loop that
people usually write (the csv module, a DataLoader over rows, the same network, as many epochs)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from cli import reference_dataset

ROOT = Path(__file__).parents[1]
ROUNDS = 3

USUAL_LOOP = """
import csv, sys
import numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
folder, epochs = sys.argv[1], int(sys.argv[2])
def read(split):
    with open(f"{folder}/{split}.csv") as file:
        rows = [[float(cell) for cell in row] for row in csv.reader(file)]
    table = torch.tensor(rows)
    return TensorDataset(table[:, 1:], table[:, 0].long())
torch.manual_seed(42)
train = DataLoader(read("train"), batch_size=64, shuffle=True)
validation = DataLoader(read("validation"), batch_size=64)
model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2),
                      nn.Linear(64, 2))
optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss()
for epoch in range(epochs):
    model.train()
    for rows, labels in train:
        optimizer.zero_grad()
        loss = loss_of(model(rows), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        sum(loss_of(model(rows), labels).item() for rows, labels in validation)
test = read("test")
with torch.no_grad():
    scores = model(test.tensors[0]).softmax(1)[:, 1].numpy()
labels = test.tensors[1].numpy()
order = scores.argsort()
ranks = np.empty(len(order)); ranks[order] = np.arange(1, len(order) + 1)
positives = labels.sum()
area = (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))
print(area)
"""


def measure() -> list[Figure]:
    """Both in turns, each in a fresh process; medians."""
    ours_seconds, usual_seconds, serving = [], [], []
    area = usual_area = 0.0
    epochs = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        reference_dataset.write(folder / "data")
        for turn in range(ROUNDS):
            base = folder / str(turn)
            started = time.perf_counter()
            subprocess.run(
                [
                    sys.executable, str(ROOT / "model_code/train.py"),
                    "--label_column", "0", "--header", "false", "--task", "binary", "--network", "mlp",
                    "--dataset_dir", str(folder / "data"), "--model_dir", str(base / "model"),
                    "--checkpoint_dir", str(base / "checkpoints"), "--live_model_dir", str(base / "none"),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            ours_seconds.append(time.perf_counter() - started)
            report = json.loads((base / "model/metrics.json").read_text())
            area, epochs = report["test"]["roc_auc"], report["training"]["epochs_run"]
            serving.append(_microseconds_per_row(base / "model"))
            started = time.perf_counter()
            usual = subprocess.run(
                [sys.executable, "-c", USUAL_LOOP, str(folder / "data"), str(epochs)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            usual_seconds.append(time.perf_counter() - started)
            usual_area = float(usual.stdout)
    ours, theirs = statistics.median(ours_seconds), statistics.median(usual_seconds)
    return [
        Figure("reference training, process start to artifact", ours, "s", "<= 8", f"{epochs} epochs, early stopping"),
        Figure("reference training, test ROC AUC", area, "", ">= 0.99"),
        Figure("the usual loop, as many epochs", theirs, "s", "", f"{theirs / ours:.1f} times as long"),
        Figure("the usual loop, test ROC AUC", usual_area, ""),
        Figure("answering one row of JSON, without a server", statistics.median(serving), "us", "<= 60"),
    ]


def _microseconds_per_row(model: Path) -> float:
    code = (
        "import sys, json, time, pathlib; sys.path.insert(0, sys.argv[1] + '/code'); import inference;"
        "folder = pathlib.Path(sys.argv[1]); model = inference.load(folder);"
        "row = json.loads((folder / 'sample.json').read_text())['request']['features'][:1];"
        "body = json.dumps({'features': row}).encode();"
        "ask = lambda n: [inference.answer(model, body, 'application/json', 'application/json') for _ in range(n)];"
        "ask(1000); start = time.perf_counter(); ask(20000); print((time.perf_counter() - start) / 20000 * 1e6)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(model)], check=True, stdout=subprocess.PIPE, text=True)
    return float(run.stdout)
