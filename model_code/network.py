"""The networks, and what they answer. Data lies in tensors on the device and is sliced there, never per row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from preprocess import BEND

SECONDS_BETWEEN_CHECKPOINTS = 60.0
AVERAGED_EPOCHS = 2


@dataclass(frozen=True)
class Shape:
    """What the data lets a network be: its numeric inputs' knots, its categories, its answers."""

    knots: Sequence[Sequence[float]]  # of each numeric input
    missing: Sequence[bool]  # whether training rows lacked it
    codes: int  # rows of the table of categories
    categorical: int  # columns of codes
    outputs: int


class Dropout(nn.Dropout):
    """As nn.Dropout, number for number; the processes of a group draw a batch's mask alike, and each takes its rows.

    Without that, what two processes learn would differ from what one does. `rows` is the dimension of the rows.
    """

    inside: Tensor | None = None  # which rows of the group's batch this process has; None: all

    def __init__(self, p: float, rows: int = 0) -> None:
        super().__init__(p)
        self.rows = rows

    def forward(self, input: Tensor) -> Tensor:
        """Any shape with rows in their dimension."""
        if self.inside is None or not self.training or not self.p:
            return super().forward(input)
        shape = [*input.shape]
        shape[self.rows] = len(self.inside)
        kept = torch.empty(shape, dtype=torch.bool, device=input.device).bernoulli_(1 - self.p)
        return input * kept[(slice(None),) * self.rows + (self.inside,)] * (1 / (1 - self.p))


class Mlp(nn.Module):
    """The reference network: two hidden layers, the second half as wide as the first, on numbers and one-hot codes."""

    indicators: Tensor

    def __init__(self, shape: Shape, hidden: int, dropout: float) -> None:
        super().__init__()
        half = max(1, hidden // 2)
        indicators = torch.tensor([i for i, missing in enumerate(shape.missing) if missing], dtype=torch.int64)
        self.register_buffer("indicators", indicators, persistent=False)
        self.number_inputs = len(shape.knots) + len(self.indicators)
        self.inputs = self.number_inputs + shape.codes
        self.first = nn.Linear(self.inputs, hidden)
        self.second = nn.Linear(hidden, half)
        self.last = nn.Linear(half, shape.outputs)
        self.dropout = Dropout(dropout)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """1 x rows x outputs: one score per class, or the standardised number."""
        x, missing = bent(numbers)
        if len(self.indicators):
            x = torch.cat((x, missing[:, self.indicators].to(x.dtype)), dim=1)
        if codes.shape[1]:
            ones = x.new_zeros(len(x), self.inputs)
            ones[:, : self.number_inputs] = x
            x = ones.scatter_(1, codes + self.number_inputs, 1.0)
        x = self.dropout(torch.relu(self.first(x)))
        x = self.dropout(torch.relu(self.second(x)))
        return self.last(x)[None]  # type: ignore[no-any-return]


def bent(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Spreads from the median, bent so that none is beyond BEND (Holzmueller et al., https://arxiv.org/abs/2407.04491),
    with 0 where missing; and where that is."""
    missing = numbers.isnan()
    numbers = numbers.masked_fill(missing, 0.0)
    return numbers / (1 + (numbers / BEND) ** 2).sqrt(), missing


class TabM(nn.Module):
    """Many two-layer networks that share their matrices and differ in vectors: TabM (Gorishniy et al., ICLR 2025,
    https://arxiv.org/abs/2410.24210), on piecewise-linear embeddings of numbers (https://arxiv.org/abs/2203.05556,
    in the form of TabM's paper) and learnt vectors for categories.

    A member's layer is (x * r) @ weight * s + bias with r, s and bias of its own. The mean of the members' answers is
    the answer. The `tabm` package has the same in more generality; importing it takes a second of a job's start, since
    it imports scikit-learn, and a container would have to fetch it. A test holds this one to it.
    """

    bin_slopes: Tensor
    bin_shifts: Tensor

    def __init__(self, shape: Shape, embedding: int, hidden: int, blocks: int, members: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, rows=1)
        columns = len(shape.knots)
        bins = max((len(knots) for knots in shape.knots), default=1) - 1
        slopes, shifts = torch.zeros(columns, bins), torch.zeros(columns, bins)
        for column, knots in enumerate(shape.knots):
            edges = torch.tensor(knots)
            slopes[column, : len(knots) - 1] = 1 / edges.diff()
            shifts[column, : len(knots) - 1] = -edges[:-1] / edges.diff()
        self.register_buffer("bin_slopes", slopes, persistent=False)
        self.register_buffer("bin_shifts", shifts, persistent=False)
        # At first an embedding is linear; what the knots add is learnt.
        self.pieces = nn.Parameter(torch.zeros(columns, bins, embedding))
        bound = embedding**-0.5
        self.linear = nn.Parameter(torch.empty(columns, embedding).uniform_(-bound, bound))
        self.shift = nn.Parameter(torch.empty(columns, embedding).uniform_(-bound, bound))
        self.absent = nn.Parameter(torch.zeros(columns, embedding))
        self.table = nn.Parameter(torch.empty(shape.codes, embedding).uniform_(-bound, bound))
        inputs = (columns + shape.categorical) * embedding
        self.inputs = inputs
        sizes = [inputs, *[hidden] * blocks]
        self.blocks = blocks
        for block, (before, after) in enumerate(itertools.pairwise(sizes)):
            bound = before**-0.5
            weight = torch.empty(before, after).uniform_(-bound, bound)
            bias = torch.empty(after).uniform_(-bound, bound).repeat(members, 1)
            if block:
                r = torch.ones(members, before)
            else:  # members differ at first by how they weigh whole columns
                r = torch.randn(members, columns + shape.categorical).repeat_interleave(embedding, dim=1)
            self.register_parameter(f"weight_{block}", nn.Parameter(weight))
            self.register_parameter(f"r_{block}", nn.Parameter(r))
            self.register_parameter(f"s_{block}", nn.Parameter(torch.ones(members, after)))
            self.register_parameter(f"bias_{block}", nn.Parameter(bias))
        bound = sizes[-1] ** -0.5
        self.head = nn.Parameter(torch.empty(members, sizes[-1], shape.outputs).uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.empty(members, 1, shape.outputs).uniform_(-bound, bound))

    def embed(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Rows x inputs: the columns' embeddings side by side."""
        x, missing = bent(numbers)
        parts = []
        if numbers.shape[1]:
            there = numbers.masked_fill(missing, -torch.inf).T[:, :, None]
            places = torch.addcmul(self.bin_shifts[:, None], there.clamp_min(-1e30), self.bin_slopes[:, None]).clamp_(
                0, 1
            )
            embedded = torch.bmm(places, self.pieces).transpose(0, 1)
            embedded = embedded + torch.addcmul(self.shift, x[:, :, None], self.linear)
            if missing.any():
                embedded = embedded + missing[:, :, None] * self.absent
            parts.append(embedded.reshape(len(numbers), -1))
        if codes.shape[1]:
            parts.append(self.table[codes].reshape(len(codes), -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Members x rows x outputs: one score per class, or the standardised number."""
        x = self.embed(numbers, codes)[None]
        for block in range(self.blocks):
            weight, r, s, bias = (getattr(self, f"{name}_{block}") for name in ("weight", "r", "s", "bias"))
            x = torch.addcmul(bias[:, None], (x * r[:, None]) @ weight, s[:, None])
            x = self.dropout(torch.relu(x))
        return torch.baddbmm(self.head_bias, x, self.head)


@dataclass(frozen=True)
class Settings:
    """The hyperparameters; what nobody asks for, `learning.settled` decides by the table's size."""

    network: str
    epochs: int  # at most
    batch_size: int
    learning_rate: float
    hidden_size: int
    dropout: float
    weight_decay: float
    patience: int  # epochs without a better validation loss before training ends
    folds: int = 1  # networks that each leave out another part of the rows
    embedding_size: int = 0  # of a column; this and the next two are TabM's alone
    blocks: int = 0
    members: int = 0
    trees: int = 0  # rounds of boosting at most, beside the network; 0: none
    seed: int = 42


def build(shape: Shape, settings: Settings) -> Mlp | TabM:
    """The network that the settings name, with its first weights from PyTorch's random state."""
    if settings.network == "mlp":
        return Mlp(shape, settings.hidden_size, settings.dropout)
    return TabM(
        shape, settings.embedding_size, settings.hidden_size, settings.blocks, settings.members, settings.dropout
    )


@dataclass(frozen=True)
class Tensors:
    """One split on the device."""

    numbers: Tensor
    codes: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


def predict(network: nn.Module, split: Tensors, classes: bool) -> Tensor:
    """Rows x classes of probabilities, or a standardised number per row: the mean over the members."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(split), 8192):
            scores = network(split.numbers[start : start + 8192], split.codes[start : start + 8192])
            found.append(scores.softmax(dim=2).mean(dim=0) if classes else scores[:, :, 0].mean(dim=0))
    return torch.cat(found)
