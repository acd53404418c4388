"""The training of one network: epochs over tensors, checkpoints that lose nothing, processes that share the work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import checkpoint
from distributed import ALONE, Group, Interrupted
from network import Dropout, Settings, Shape, Tensors, build, predict

SECONDS_BETWEEN_CHECKPOINTS = 60.0
AVERAGED_EPOCHS = 2


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
    torch.manual_seed(settings.seed)
    run = _Run(train, shape, settings, classes, group, _Keeper(checkpoints, fingerprint), precision)
    resumed_from = run.resume(log)
    halve_after = max(1, settings.patience // 3) + 1  # epochs without a better validation loss
    progress = run.progress
    while progress.epoch < settings.epochs and progress.stale_epochs < settings.patience:
        train_loss = run.epoch(should_stop)
        validation_loss, quality = run.judge(validation)
        named = f"validation_accuracy={quality:.6f}" if classes else f"validation_rmse={quality * target_scale:.6g}"
        log(
            f"epoch={earlier_epochs + progress.epoch} train_loss={train_loss:.6f} "
            f"validation_loss={validation_loss:.6f} {named} learning_rate={run.optimizer.learning_rate:g}"
        )
        if progress.stale_epochs and progress.stale_epochs % halve_after == 0:
            run.optimizer.learning_rate /= 2
        run.save()
    return Fitted(run.best, progress.epoch, progress.best_epoch, resumed_from)


@dataclass
class _Keeper:
    """Where the checkpoints of one training lie, and when the last was written."""

    folder: Path
    fingerprint: str
    saved_at: float = 0.0

    def load(self, group: Group) -> checkpoint.Checkpoint | str | None:
        self.saved_at = time.monotonic()
        return checkpoint.load(self.folder, self.fingerprint, group)

    def save(self, state: checkpoint.Checkpoint) -> None:
        checkpoint.save(self.folder, state, self.fingerprint)

    @property
    def due(self) -> bool:
        return time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS


class _Run:
    """A network on its way, with all that a checkpoint holds of it."""

    def __init__(
        self,
        train: Tensors,
        shape: Shape,
        settings: Settings,
        classes: bool,
        group: Group,
        keeper: _Keeper,
        precision: torch.dtype,
    ) -> None:
        self._train, self._classes, self._group, self._keeper, self._precision = (
            train,
            classes,
            group,
            keeper,
            precision,
        )
        self._device = train.numbers.device
        self._size = settings.batch_size
        self._rows = group.total(len(train))
        self._batches = math.ceil(self._rows / self._size)
        self.network = build(shape, settings).to(self._device)
        self._dropouts = [module for module in self.network.modules() if isinstance(module, Dropout)]
        self.optimizer = AdamW(
            self.network, settings.learning_rate, settings.weight_decay, AVERAGED_EPOCHS * self._batches
        )
        self.progress = _Progress()
        self.best = _copy(self.network)
        self._order: Tensor | None = None  # of the rows in the epoch that has begun
        self._loss_sum = self._no_loss()
        self._stop = False  # whether a process of the group was asked to

    def _no_loss(self) -> Tensor:
        return torch.zeros((), device=self._device, dtype=torch.float64)

    def resume(self, log: Callable[[str], None]) -> int | None:
        """Goes on from the checkpoint if there is one that fits: after how many epochs."""
        saved = self._keeper.load(self._group)
        if isinstance(saved, str):
            log(saved)
            return None
        if saved is None:
            return None
        self.network.load_state_dict(_group(saved.tensors, "network"))
        self.best = _group(saved.tensors, "best", self._device)
        self.optimizer.load(saved.tensors, saved.facts["optimizer"])
        torch.set_rng_state(saved.tensors["random.cpu"])
        if self._device.type == "cuda" and "random.cuda" in saved.tensors:
            torch.cuda.set_rng_state(saved.tensors["random.cuda"])
        if "epoch.order" in saved.tensors:
            self._order = saved.tensors["epoch.order"]
            self._loss_sum = saved.tensors["epoch.loss_sum"].to(self._device)
        self.progress = _Progress(**saved.facts["progress"])
        log(f"Resuming after epoch {self.progress.epoch}, batch {self.progress.batch}.")
        return self.progress.epoch

    def save(self) -> None:
        """The first process writes; all know when that was."""
        self._keeper.saved_at = time.monotonic()
        if not self._group.place.first:
            return
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= self.optimizer.tensors()
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        if self._order is not None:
            tensors |= {"epoch.order": self._order, "epoch.loss_sum": self._loss_sum}
        facts = {"progress": asdict(self.progress), "optimizer": self.optimizer.facts()}
        self._keeper.save(checkpoint.Checkpoint(tensors, facts))

    def epoch(self, should_stop: Callable[[], bool]) -> float:
        """The rest of the epoch that has begun, or a whole one; the mean loss of its rows. Raises Interrupted."""
        progress, group, size = self.progress, self._group, self._size
        self.network.train()
        if self._order is None:
            self._order = torch.randperm(self._rows)
            self._loss_sum = self._no_loss()
        mine = self._order % group.size == group.rank
        ends = [*mine.cumsum(0)[size - 1 :: size].tolist(), len(self._train)]  # of this process's rows of each batch
        # The whole epoch is put in order once; a batch is then a view of it.
        own = (self._order[mine] // group.size).to(self._device)
        ordered = Tensors(self._train.numbers[own], self._train.codes[own], self._train.label[own])
        for batch in range(progress.batch, self._batches):
            if self._stop or (group.size == 1 and should_stop()):
                progress.batch = batch
                self.save()
                raise Interrupted(
                    f"Stopped as asked in epoch {progress.epoch + 1} after {batch} of {self._batches} batches."
                )
            if self._keeper.due:
                progress.batch = batch
                self.save()
            chosen = slice(ends[batch - 1] if batch else 0, ends[batch])
            self._step(ordered, chosen, mine[batch * size : (batch + 1) * size], group.size > 1 and should_stop())
        self._order = None
        progress.batch = 0
        progress.epoch += 1
        return float(self._loss_sum) / self._rows

    def _step(self, ordered: Tensors, chosen: slice, inside: Tensor, stop: bool) -> None:
        """One batch: this process has its rows `chosen`, which are those `inside` of the group's batch."""
        for dropout in self._dropouts:
            dropout.inside = None if self._group.size == 1 else inside.to(self._device)
        wanted = ordered.label[chosen]
        fast = self._precision != torch.float32
        with torch.autocast(self._device.type, self._precision) if fast else nullcontext():
            scores = self.network(ordered.numbers[chosen], ordered.codes[chosen]).float()
        share = len(wanted) / len(inside)
        loss = _loss(scores, wanted, self._classes) * share if share else scores.sum()
        loss.backward()
        loss, self._stop = self._group.sum_gradients(self.optimizer.gradients, loss.detach(), stop)
        self.optimizer.step()
        self._loss_sum += loss * len(inside)

    def judge(self, validation: Tensors) -> tuple[float, float]:
        """The averaged weights' loss and quality, as `_judge` has them, and whether they are the best so far."""
        progress = self.progress
        with self.optimizer.averaged():
            found = _judge(self.network, validation, self._classes) if self._group.place.first else None
            loss, quality = self._group.told(found)
            if not math.isfinite(loss):
                loss = float("inf")
            if loss < progress.best_loss:
                progress.best_loss, progress.best_epoch, progress.stale_epochs = loss, progress.epoch, 0
                self.best = _copy(self.network)
            else:
                progress.stale_epochs += 1
        return loss, quality


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
