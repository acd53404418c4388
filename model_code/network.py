"""The network and its training loop. Data lies in tensors on the device and is sliced there, never per row."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import checkpoint
from distributed import ALONE, Group, Interrupted
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


@dataclass(frozen=True)
class Fitted:
    """The best epoch's weights, and how training went."""

    weights: dict[str, Tensor]
    epochs_run: int
    best_epoch: int
    resumed_from_epoch: int | None


@dataclass
class _Progress:
    """What is known of a run at a batch border, besides tensors. JSON holds it exactly."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches finished of the next epoch
    best_epoch: int = 0
    best_loss: float = float("inf")
    stale_epochs: int = 0


def fit(
    train: Tensors,
    validation: Tensors,
    shape: Shape,
    settings: Settings,
    *,
    classes: bool,
    target_scale: float,
    earlier_epochs: int = 0,
    checkpoints: Path,
    fingerprint: str,
    should_stop: Callable[[], bool],
    log: Callable[[str], None],
    group: Group = ALONE,
    precision: torch.dtype = torch.float32,
) -> Fitted:
    """Trains until the validation loss stops falling, from the checkpoint if there is one that fits.

    The state is saved after each epoch, every minute in longer ones, and when `should_stop` says so, between two
    batches; a run that was interrupted and resumed ends with the same weights, bit for bit, as one that was not, on the
    same kind of machine. The minutes matter because SIGTERM goes to the container's first process, which need not pass
    it on.

    A group of processes trains one network. `train` holds this process's share of the rows (`Group.share`), and the
    batches are those of a single process: each process takes its own rows of a batch, and the gradients are added up.
    The first process alone has `validation` and `checkpoints`, judges each epoch, and tells the others, so that all
    come to the same decisions. `earlier_epochs`, of the folds before this one, are counted in what is printed. With
    another `precision`, such as bfloat16, matrices are multiplied in it while learning; weights, losses and judgements
    stay in float32.

    Raises Interrupted, and distributed.Lost when another process fails.
    """
    device = train.numbers.device
    torch.manual_seed(settings.seed)
    network = build(shape, settings).to(device)
    dropouts = [module for module in network.modules() if isinstance(module, Dropout)]
    rows, size = group.total(len(train)), settings.batch_size
    batches = math.ceil(rows / size)
    optimizer = AdamW(network, settings.learning_rate, settings.weight_decay, AVERAGED_EPOCHS * batches)
    halve_after = max(1, settings.patience // 3) + 1  # epochs without a better validation loss
    progress = _Progress()
    best = _copy(network)
    order: Tensor | None = None
    loss_sum = torch.zeros((), device=device, dtype=torch.float64)
    resumed_from = None
    saved_at = time.monotonic()

    saved = checkpoint.load(checkpoints, fingerprint, group)
    if isinstance(saved, str):
        log(saved)
    elif saved:
        network.load_state_dict(_group(saved.tensors, "network"))
        best = _group(saved.tensors, "best", device)
        optimizer.load(saved.tensors, saved.facts["optimizer"])
        torch.set_rng_state(saved.tensors["random.cpu"])
        if device.type == "cuda" and "random.cuda" in saved.tensors:
            torch.cuda.set_rng_state(saved.tensors["random.cuda"])
        if "epoch.order" in saved.tensors:
            order = saved.tensors["epoch.order"]
            loss_sum = saved.tensors["epoch.loss_sum"].to(device)
        progress = _Progress(**saved.facts["progress"])
        resumed_from = progress.epoch
        log(f"Resuming after epoch {progress.epoch}, batch {progress.batch}.")

    def save() -> None:
        nonlocal saved_at
        saved_at = time.monotonic()
        if not group.place.first:
            return
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
        tensors |= optimizer.tensors()
        tensors["random.cpu"] = torch.get_rng_state()
        if device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        if order is not None:
            tensors |= {"epoch.order": order, "epoch.loss_sum": loss_sum}
        facts = {"progress": asdict(progress), "optimizer": optimizer.facts()}
        checkpoint.save(checkpoints, checkpoint.Checkpoint(tensors, facts), fingerprint)

    stop = False
    while progress.epoch < settings.epochs and progress.stale_epochs < settings.patience:
        network.train()
        if order is None:
            order = torch.randperm(rows)
            loss_sum = torch.zeros((), device=device, dtype=torch.float64)
        mine = order % group.size == group.rank
        ends = [*mine.cumsum(0)[size - 1 :: size].tolist(), len(train)]  # of this process's rows of each batch
        # The whole epoch is put in order once; a batch is then a view of it.
        own = (order[mine] // group.size).to(device)
        numbers, codes, label = train.numbers[own], train.codes[own], train.label[own]
        for batch in range(progress.batch, batches):
            if stop or (group.size == 1 and should_stop()):
                progress.batch = batch
                save()
                raise Interrupted(f"Stopped as asked in epoch {progress.epoch + 1} after {batch} of {batches} batches.")
            if time.monotonic() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                progress.batch = batch
                save()
            inside = mine[batch * size : (batch + 1) * size]
            for dropout in dropouts:
                dropout.inside = None if group.size == 1 else inside.to(device)
            chosen = slice(ends[batch - 1] if batch else 0, ends[batch])
            wanted = label[chosen]
            with torch.autocast(device.type, precision) if precision != torch.float32 else nullcontext():
                scores = network(numbers[chosen], codes[chosen]).float()
            share = len(wanted) / len(inside)
            loss = _loss(scores, wanted, classes) * share if share else scores.sum()
            loss.backward()
            loss, stop = group.sum_gradients(optimizer.gradients, loss.detach(), group.size > 1 and should_stop())
            optimizer.step()
            loss_sum += loss * len(inside)
        order = None
        progress.batch = 0
        progress.epoch += 1
        train_loss = float(loss_sum) / rows
        with optimizer.averaged():
            validation_loss, quality = group.told(_judge(network, validation, classes) if group.place.first else None)
            if not math.isfinite(validation_loss):
                validation_loss = float("inf")
            if validation_loss < progress.best_loss:
                progress.best_loss, progress.best_epoch, progress.stale_epochs = validation_loss, progress.epoch, 0
                best = _copy(network)
            else:
                progress.stale_epochs += 1
        named = f"validation_accuracy={quality:.6f}" if classes else f"validation_rmse={quality * target_scale:.6g}"
        log(
            f"epoch={earlier_epochs + progress.epoch} train_loss={train_loss:.6f} "
            f"validation_loss={validation_loss:.6f} {named} learning_rate={optimizer.learning_rate:g}"
        )
        if progress.stale_epochs and progress.stale_epochs % halve_after == 0:
            optimizer.learning_rate /= 2
        save()
    return Fitted(best, progress.epoch, progress.best_epoch, resumed_from)


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16, which needs no scaling of losses, on GPUs that compute in it: NVIDIA's from Ampere on (g5, g6, p4)."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32


def _loss(scores: Tensor, wanted: Tensor, classes: bool) -> Tensor:
    """The mean of the members' own losses: each learns by itself. `scores` is members x rows x outputs."""
    members = len(scores)
    if classes:
        return nn.functional.cross_entropy(scores.flatten(0, 1), wanted.repeat(members))
    return nn.functional.mse_loss(scores[:, :, 0], wanted.expand(members, -1))


def predict(network: nn.Module, split: Tensors, classes: bool) -> Tensor:
    """Rows x classes of probabilities, or a standardised number per row: the mean over the members."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(split), 8192):
            scores = network(split.numbers[start : start + 8192], split.codes[start : start + 8192])
            found.append(scores.softmax(dim=2).mean(dim=0) if classes else scores[:, :, 0].mean(dim=0))
    return torch.cat(found)


def _judge(network: nn.Module, split: Tensors, classes: bool) -> tuple[float, float]:
    """Mean loss, and accuracy or (for numbers) root mean squared error of the standardised label."""
    found = predict(network, split, classes)
    if classes:
        right = (found.argmax(dim=1) == split.label).double().mean()
        return float(nn.functional.nll_loss(found.clamp_min(1e-12).log(), split.label)), float(right)
    loss = float(nn.functional.mse_loss(found, split.label))
    return loss, math.sqrt(loss)


class AdamW:
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101), over all parameters as one vector, and
    their running average over about the last `window` steps, which generalises better than any one step's.

    The same numbers as torch.optim.AdamW up to rounding. That one imports PyTorch's compiler when it is first used,
    which takes a second, a third of a short job, and goes over the parameters one by one.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float, window: int = 1) -> None:
        parameters = list(network.parameters())
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.gradients = torch.zeros_like(self.values)
        self.means = torch.zeros_like(self.values)
        self.squares = torch.zeros_like(self.values)
        self.average = self.values.clone()
        self.window = max(1, window)
        self.steps = 0
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        start = 0
        for parameter in parameters:
            place = slice(start, start + parameter.numel())
            parameter.data = self.values[place].view_as(parameter)
            parameter.grad = self.gradients[place].view_as(parameter)
            start = place.stop

    @torch.no_grad()
    def step(self) -> None:
        """Moves the parameters against the gradients, which are zero afterwards."""
        self.steps += 1
        first, second = self.BETAS
        self.means.lerp_(self.gradients, 1 - first)
        self.squares.mul_(second).addcmul_(self.gradients, self.gradients, value=1 - second)
        size = (self.squares / (1 - second**self.steps)).sqrt_().add_(self.EPSILON)
        self.values.mul_(1 - self.learning_rate * self.weight_decay)
        self.values.addcdiv_(self.means, size, value=-self.learning_rate / (1 - first**self.steps))
        self.gradients.zero_()
        # The window grows with the steps, so that early ones, which were far off, are soon forgotten.
        self.average.lerp_(self.values, 1 / min(self.window, 1 + self.steps / 4))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network's parameters are the average."""
        now = self.values.clone()
        self.values.copy_(self.average)
        yield
        self.values.copy_(now)

    def tensors(self) -> dict[str, Tensor]:
        """With `facts`, its state."""
        return {
            "optimizer.means": self.means,
            "optimizer.squares": self.squares,
            "optimizer.average": self.average,
        }

    def facts(self) -> dict[str, float]:
        return {"steps": self.steps, "learning_rate": self.learning_rate}

    def load(self, tensors: dict[str, Tensor], facts: dict[str, float]) -> None:
        """Takes up a state."""
        self.means.copy_(tensors["optimizer.means"])
        self.squares.copy_(tensors["optimizer.squares"])
        self.average.copy_(tensors["optimizer.average"])
        self.steps = int(facts["steps"])
        self.learning_rate = facts["learning_rate"]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _group(tensors: dict[str, Tensor], group: str, device: torch.device | None = None) -> dict[str, Tensor]:
    chosen = {name[len(group) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{group}.")}
    return {name: tensor.to(device) for name, tensor in chosen.items()} if device else chosen
