"""The network and its training loop. Data lies in tensors on the device and is sliced there, never per row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import checkpoint
from distributed import ALONE, Group

SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Network(nn.Module):
    """Two hidden layers, the second half as wide as the first, over numbers and one-hot codes."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        half = max(1, hidden // 2)
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, half)
        self.last = nn.Linear(half, outputs)
        self.dropout = nn.Dropout(dropout)
        self.inputs = inputs

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Rows x outputs: one score per class, or the standardised number."""
        x = numbers
        if codes.shape[1]:
            ones = numbers.new_zeros(len(numbers), self.inputs)
            ones[:, : numbers.shape[1]] = numbers
            x = ones.scatter_(1, codes, 1.0)
        x = self.dropout(torch.relu(self.first(x)))
        x = self.dropout(torch.relu(self.second(x)))
        return self.last(x)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Settings:
    """The hyperparameters."""

    epochs: int = 60
    batch_size: int = 0  # 0: by the number of rows
    learning_rate: float = 0.002
    hidden_size: int = 128
    dropout: float = 0.2
    weight_decay: float = 1e-4
    patience: int = 10  # epochs without a better validation loss before training ends
    seed: int = 42


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


class Interrupted(Exception):
    """Asked to stop; the state has been saved."""


@dataclass
class _Progress:
    """What is known of a run at a batch border, besides tensors. JSON holds it exactly."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches finished of the next epoch
    best_epoch: int = 0
    best_loss: float = float("inf")
    stale_epochs: int = 0


def batch_size(settings: Settings, rows: int) -> int:
    """As asked, or about 64 batches an epoch within 16 to 4096 rows."""
    if settings.batch_size:
        return settings.batch_size
    return max(16, min(4096, 1 << max(0, round(math.log2(max(rows, 1) / 64)))))


def fit(
    train: Tensors,
    validation: Tensors,
    inputs: int,
    outputs: int,
    settings: Settings,
    *,
    classes: bool,
    target_scale: float,
    checkpoints: Path,
    fingerprint: str,
    should_stop: Callable[[], bool],
    log: Callable[[str], None],
    group: Group = ALONE,
) -> Fitted:
    """Trains until the validation loss stops falling, from the checkpoint if there is one that fits.

    The state is saved after each epoch, every minute in longer ones, and when `should_stop` says so, between two
    batches; a run that was interrupted and resumed ends with the same weights, bit for bit, as one that was not, on the
    same kind of machine. The minutes matter because SIGTERM goes to the container's first process, which need not pass
    it on.

    A group of processes trains one network. `train` holds this process's share of the rows (`Group.share`), and the
    batches are those of a single process: each process takes its own rows of a batch, and the gradients are added up.
    The first process alone has `validation` and `checkpoints`, judges each epoch, and tells the others, so that all
    come to the same decisions.

    Raises Interrupted, and distributed.Lost when another process fails.
    """
    device = train.numbers.device
    torch.manual_seed(settings.seed)
    network = Network(inputs, settings.hidden_size, outputs, settings.dropout).to(device)
    dropouts = share_dropout(network)
    optimizer = AdamW(network, settings.learning_rate, settings.weight_decay)
    halve_after = max(1, settings.patience // 3) + 1  # epochs without a better validation loss
    loss_of = nn.CrossEntropyLoss() if classes else nn.MSELoss()
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
        optimizer.means.copy_(saved.tensors["optimizer.means"])
        optimizer.squares.copy_(saved.tensors["optimizer.squares"])
        optimizer.steps = saved.facts["optimizer_steps"]
        optimizer.learning_rate = saved.facts["learning_rate"]
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
        tensors |= {"optimizer.means": optimizer.means, "optimizer.squares": optimizer.squares}
        tensors["random.cpu"] = torch.get_rng_state()
        if device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        if order is not None:
            tensors |= {"epoch.order": order, "epoch.loss_sum": loss_sum}
        facts = {
            "progress": asdict(progress),
            "optimizer_steps": optimizer.steps,
            "learning_rate": optimizer.learning_rate,
        }
        checkpoint.save(checkpoints, checkpoint.Checkpoint(tensors, facts), fingerprint)

    rows = group.total(len(train))
    size = batch_size(settings, rows)
    batches = math.ceil(rows / size)
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
            scores = network(numbers[chosen], codes[chosen])
            share = len(wanted) / len(inside)
            loss = loss_of(scores if classes else scores[:, 0], wanted) * share if share else scores.sum()
            loss.backward()
            loss, stop = group.sum_gradients(optimizer.gradients, loss.detach(), group.size > 1 and should_stop())
            optimizer.step()
            loss_sum += loss * len(inside)
        order = None
        progress.batch = 0
        progress.epoch += 1
        train_loss = float(loss_sum) / rows
        validation_loss, quality = group.told(
            _judge(network, validation, loss_of, classes) if group.place.first else None
        )
        if not math.isfinite(validation_loss):
            validation_loss = float("inf")
        if validation_loss < progress.best_loss:
            progress.best_loss, progress.best_epoch, progress.stale_epochs = validation_loss, progress.epoch, 0
            best = _copy(network)
        else:
            progress.stale_epochs += 1
        named = f"validation_accuracy={quality:.6f}" if classes else f"validation_rmse={quality * target_scale:.6g}"
        log(
            f"epoch={progress.epoch} train_loss={train_loss:.6f} validation_loss={validation_loss:.6f} {named} "
            f"learning_rate={optimizer.learning_rate:g}"
        )
        if progress.stale_epochs and progress.stale_epochs % halve_after == 0:
            optimizer.learning_rate /= 2
        save()
    return Fitted(best, progress.epoch, progress.best_epoch, resumed_from)


class AdamW:
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101), over all parameters as one vector.

    The same numbers as torch.optim.AdamW up to rounding. That one imports PyTorch's compiler when it is first used,
    which takes a second, a third of a short job, and goes over the parameters one by one.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float) -> None:
        parameters = list(network.parameters())
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.gradients = torch.zeros_like(self.values)
        self.means = torch.zeros_like(self.values)
        self.squares = torch.zeros_like(self.values)
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


class Dropout(nn.Dropout):
    """As nn.Dropout, number for number; the processes of a group draw a batch's mask alike, and each takes its rows.

    Without that, what two processes learn would differ from what one does.
    """

    inside: Tensor | None = None  # which rows of the group's batch this process has; None: all

    def forward(self, input: Tensor) -> Tensor:
        """Rows first; the other dimensions are free."""
        if self.inside is None or not self.training or not self.p:
            return super().forward(input)
        kept = torch.empty((len(self.inside), *input.shape[1:]), dtype=torch.bool, device=input.device)
        return input * kept.bernoulli_(1 - self.p)[self.inside] * (1 / (1 - self.p))


def share_dropout(network: nn.Module) -> list[Dropout]:
    """Puts a Dropout of a group in the place of each nn.Dropout, and returns them."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))
    return [module for module in network.modules() if isinstance(module, Dropout)]


def _judge(network: Network, split: Tensors, loss_of: nn.Module, classes: bool) -> tuple[float, float]:
    """Mean loss, and accuracy or (for numbers) root mean squared error of the standardised label."""
    network.eval()
    with torch.inference_mode():
        scores = torch.cat(
            [
                network(split.numbers[start : start + 65536], split.codes[start : start + 65536])
                for start in range(0, len(split), 65536)
            ]
        )
        if classes:
            right = (scores.argmax(dim=1) == split.label).double().mean()
            return float(loss_of(scores, split.label)), float(right)
        loss = float(loss_of(scores[:, 0], split.label))
        return loss, math.sqrt(loss)


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _group(tensors: dict[str, Tensor], group: str, device: torch.device | None = None) -> dict[str, Tensor]:
    chosen = {name[len(group) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{group}.")}
    return {name: tensor.to(device) for name, tensor in chosen.items()} if device else chosen
