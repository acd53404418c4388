"""Several processes that train one network together: who this one is, and what they tell one another.

torchrun starts the processes, one per machine or one per GPU, and says in the environment which is which
(https://docs.pytorch.org/docs/stable/elastic/run.html, "Environment Variables"); the SageMaker training toolkit starts
torchrun where the hyperparameter sagemaker_torch_distributed_enabled asks for it
(https://github.com/aws/sagemaker-training-toolkit, torch_distributed.py). Tensors on GPUs travel by NCCL, all others by
Gloo. Without torchrun there is one process, and nothing here costs anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# How long a process waits for the others before it takes them for lost. They may be judging a large validation split.
PATIENCE_SECONDS = 900.0
_LAST_WORDS_SECONDS = 2.0  # for the reason of a process that has just gone
_FAILURE = "failure"


class Interrupted(Exception):
    """Asked to stop; the state has been saved. Here, where naming it does not import PyTorch."""


class Lost(Exception):
    """Another process of the group has failed or gone silent; the message is its reason, if it left one."""


@dataclass(frozen=True)
class Place:
    """Which of the group's processes this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine: the number of its GPU

    @classmethod
    def from_environment(cls) -> Place:
        """What torchrun has set; the only process where there is no torchrun."""
        return cls(*(int(os.environ.get(name, usual)) for name, usual in _VARIABLES))

    @property
    def first(self) -> bool:
        """Whether this process writes what the job leaves behind: checkpoints, artifact, metrics."""
        return self.rank == 0


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))


class Group:
    """The processes that train together. Used as a context, in which a failure of one is told to the others.

    `describe` makes the sentence that they are told from the exception.
    """

    def __init__(self, place: Place, describe: Callable[[BaseException], str] = str) -> None:
        self.place = place
        self.rank, self.size = place.rank, place.size
        self._describe = describe
        self._store: Any = None

    def __enter__(self) -> Group:
        if self.size > 1:
            import torch
            import torch.distributed as dist
            from torch.distributed.rendezvous import rendezvous

            if interface := os.environ.get("SM_NETWORK_INTERFACE_NAME"):  # of the SageMaker training toolkit
                os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
            patience = timedelta(seconds=float(os.environ.get("GROUP_PATIENCE_SECONDS", PATIENCE_SECONDS)))
            try:
                self._store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=patience))
                dist.init_process_group(
                    "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                    store=self._store,
                    rank=self.rank,
                    world_size=self.size,
                    timeout=patience,
                )
            except RuntimeError as error:
                raise Lost(self._reason()) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._store is None:
            return
        import torch.distributed as dist

        if error is None or isinstance(error, Interrupted):
            dist.destroy_process_group()
        elif not isinstance(error, Lost):
            # Told before this process ends, so that it is there when the others notice.
            self._store.set(_FAILURE, self._describe(error))

    def share(self, rows: int) -> slice:
        """The rows of a split that this process trains on: every size-th, so that any order of the data is shared."""
        return slice(self.rank, rows, self.size)

    def sum_gradients(self, gradients: Tensor, loss: Tensor, stop: bool) -> tuple[Tensor, bool]:
        """Adds up, in place, the processes' parts of a batch's gradients, all in one message.

        Returns the sum of the losses, and whether any process was asked to stop. Every process gets the same bits.
        """
        if self.size == 1:
            return loss, stop
        import torch

        tail = torch.stack((loss.to(gradients.dtype), gradients.new_tensor(float(stop))))
        message = torch.cat((gradients, tail))
        self._reduce(message)
        gradients.copy_(message[:-2])
        return message[-2], bool(message[-1] > 0)

    def total(self, number: int) -> int:
        """The sum of the processes' numbers."""
        if self.size == 1:
            return number
        import torch

        message = torch.tensor([number])
        self._reduce(message)
        return int(message[0])

    def told(self, value: Any) -> Any:
        """The first process's value, which JSON must be able to hold, on every process."""
        if self.size == 1:
            return value
        return json.loads(self.told_bytes(json.dumps(value).encode()))

    def told_bytes(self, value: bytes) -> bytes:
        """The first process's bytes on every process."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        length = torch.tensor([len(value)])
        try:
            dist.broadcast(length, 0)
            data = torch.frombuffer(bytearray(value), dtype=torch.uint8) if self.rank == 0 and value else None
            if data is None:
                data = torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(data, 0)
        except RuntimeError as error:
            raise Lost(self._reason()) from error
        return data.numpy().tobytes()

    def _reduce(self, message: Tensor) -> None:
        import torch.distributed as dist

        try:
            dist.all_reduce(message)
        except RuntimeError as error:
            raise Lost(self._reason()) from error

    def _reason(self) -> str:
        """What the process that has failed said of it."""
        try:
            if self._store is not None:
                self._store.wait([_FAILURE], timedelta(seconds=_LAST_WORDS_SECONDS))
                return str(self._store.get(_FAILURE).decode())
        except RuntimeError:
            pass
        return (
            f"Another of the {self.size} processes that train together has ended or gone silent without saying why; "
            "the logs of the other instances may tell (being out of memory is the usual reason)."
        )


ALONE = Group(Place())


def device_of(place: Place) -> torch.device:
    """The GPU of this process, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(place.local_rank)  # where NCCL and the random state look
    return torch.device("cuda", place.local_rank)
