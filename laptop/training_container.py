"""What the PyTorch training container runs when SageMaker starts it; a program of its own, never imported.

In AWS's PyTorch Deep Learning Container the program `train` is the official training toolkit, and the PyTorch framework
module hands the job's script to the toolkit's `entry_point.run` with the script's error output captured, so that the
traceback lands in FailureReason (https://github.com/aws/sagemaker-pytorch-training-toolkit). This file does just that
with the same toolkit, and differs in four things:

- SIGTERM does not end the toolkit, so that the job's script, which gets the signal too, has the whole grace period of
  StopTrainingJob (120 s) to save its state. In AWS's image the script may not even get the signal
  (https://github.com/aws/sagemaker-training-toolkit/issues/125): a script must not rely on it alone.
- It loads the toolkit first and waits for a line on its standard input, while the instance downloads the data. It loads
  paramiko, which takes as long as the toolkit and reaches other hosts for MPI, when it is first used: never, here.
- A `requirements.txt` whose packages are all here already is looked up in place of starting pip, which takes the better
  part of a second to say the same.
- Several instances are processes on this machine, to which the name algo-1 does not lead: torchrun gets 127.0.0.1 and a
  free port in place of that name and the toolkit's fixed port
  (https://github.com/aws/sagemaker-training-toolkit, torch_distributed.py).
"""

from __future__ import annotations

import asyncio  # noqa: F401  (loaded while there is time: the toolkit needs these three)
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import boto3.s3.inject
import boto3.s3.transfer  # noqa: F401
from packaging.requirements import InvalidRequirement, Requirement


class _Later(ModuleType):
    """Stands in for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules[self.__name__] is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


sys.modules["paramiko"] = _Later("paramiko")
from sagemaker_training import entry_point, environment, modules, runner, torch_distributed, trainer  # noqa: E402


def _stay(_signal: int, _frame: FrameType | None) -> None:
    """A handler, not SIG_IGN: an ignored signal would stay ignored in the script's process."""


def _satisfied(requirements: Path) -> bool:
    """Whether everything listed is installed in a wanted version; what is no plain requirement is left to pip."""
    for line in requirements.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            wanted = Requirement(text)
            if wanted.url or wanted.extras:
                return False
            if (wanted.marker is None or wanted.marker.evaluate()) and not wanted.specifier.contains(
                version(wanted.name), prereleases=True
            ):
                return False
        except (InvalidRequirement, PackageNotFoundError):
            return False
    return True


def _install_requirements(path: str, capture_error: bool = False) -> None:
    if _satisfied(Path(path) / "requirements.txt"):
        print("Requirements of requirements.txt already satisfied", flush=True)
    else:
        _pip_install_requirements(path, capture_error)


_pip_install_requirements: Any = modules.install_requirements


def main() -> None:
    """The framework module's entry point, called by the toolkit (SAGEMAKER_TRAINING_MODULE)."""
    job = environment.Environment()
    entry_point.run(
        job.module_dir,
        job.user_entry_point,
        job.to_cmd_args(),
        job.to_env_vars(),
        capture_error=True,
        runner_type=_runner(job),
    )


def _runner(job: Any) -> Any:
    """What starts the script. The framework module looks at the same hyperparameter
    (https://github.com/aws/sagemaker-pytorch-training-toolkit/pull/248)."""
    if not job.additional_framework_parameters.get("sagemaker_torch_distributed_enabled"):
        return runner.ProcessRunnerType
    torch_distributed.MASTER_PORT = os.environ["LAPTOP_MEETING_PORT"]
    return torch_distributed.TorchDistributedRunner(
        job.user_entry_point,
        job.to_cmd_args(),
        job.to_env_vars(),
        1,  # process per host: there is no GPU
        "127.0.0.1",
        job.distribution_hosts,
        job.current_host,
        job.network_interface_name,
        job.current_instance_type,
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stay)
    modules.install_requirements = _install_requirements
    # Everything is loaded; the instance's data may still be on its way. An end without a word means there is no job.
    if not sys.stdin.buffer.readline():
        sys.exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # The toolkit imports the framework module by name; this one is running already.
    sys.modules["pytorch_container"] = sys.modules["__main__"]
    trainer.train()
