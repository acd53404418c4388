"""The ML instances of a training job: their folders in the container's layout, their processes, their way to S3.

The layout is the contract of training containers
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html): `input/config`,
`input/data/<channel>`, `checkpoints`, `model`, `output`. In a container it lies in /opt/ml; here in a folder of the
job's own, which the official training toolkit learns from SAGEMAKER_BASE_DIR.

Several instances are called algo-1, algo-2 and so on, as on SageMaker. There the names resolve to the machines; here
they resolve to nothing, and all instances are processes on the loopback interface. The toolkit's own switch for
SageMaker Studio's local mode keeps it from waiting for the names, and the container's program
(laptop/training_container.py) takes 127.0.0.1 and a free port for the address at which the instances meet.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from laptop import container
from laptop.container import HOST, Process, Store, TransferError
from laptop.sagemaker_common import assert_runnable_image, split_s3_uri

# What each of the images that the laptop stands in for runs, by the repository that it lies in.
CONTAINERS = {
    "pytorch-training": Path(__file__).with_name("training_container.py"),
    "sagemaker-xgboost": Path(__file__).with_name("xgboost_container.py"),
}
# Where instances meet: below the ports that systems hand out by themselves, so that nobody is given one meanwhile.
_MEETING_PORTS = range(20_000, 30_000)


class Cluster:
    """The instances of a job, from empty folders to an exit code. A spot interruption throws all of them away."""

    def __init__(self, folder: Path, request: Mapping[str, Any], s3: Any) -> None:
        count = int(request["ResourceConfig"].get("InstanceCount", 1))
        self.request = request
        self.hosts = hosts(count)
        names = [HOST] if count == 1 else self.hosts
        self._machines = [
            Machine(folder / host / "ml", request, s3, name, names)
            for host, name in zip(self.hosts, names, strict=True)
        ]
        self._failed = self._machines[0]

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Starts the containers' programs, which load the toolkit meanwhile and wait for `start`."""
        meeting = {}
        if len(self._machines) > 1:
            meeting = {"SM_STUDIO_LOCAL_MODE": "true", "LAPTOP_MEETING_PORT": str(free_port())}
        for machine in self._machines:
            machine.prepare({**environment, **meeting, "CURRENT_HOST": machine.host})

    def write_config(self) -> None:
        for machine in self._machines:
            machine.write_config()

    def download_inputs(self) -> None:
        """Every machine's part of the channels. Raises TransferError."""
        for machine in self._machines:
            machine.download_inputs()

    def start(self, on_line: Sequence[Callable[[str], None]]) -> list[threading.Thread]:
        """Lets the toolkit begin everywhere; each machine's lines go to its own listener."""
        return [machine.start(listener) for machine, listener in zip(self._machines, on_line, strict=True)]

    def wait(self, seconds: float) -> int | None:
        """The exit code of the first that failed; 0 when all have ended well; None if neither is so after `seconds`."""
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            codes = [machine.wait(left / len(self._machines)) for machine in self._machines]
            failed = [place for place, code in enumerate(codes) if code]
            if failed:
                self._failed = self._machines[failed[0]]
                return codes[failed[0]]
            if None not in codes:
                return 0
            if left <= 0:
                return None

    def wait_for_all(self, seconds: float) -> int | None:
        """As `wait`, but one that has failed does not end the waiting for the others: they were all told to end."""
        until = time.monotonic() + seconds
        codes = [machine.wait(max(0.0, until - time.monotonic())) for machine in self._machines]
        return None if None in codes else max(code or 0 for code in codes)

    def send(self, number: signal.Signals) -> None:
        """Signals every process of every machine."""
        for machine in self._machines:
            machine.send(number)

    def sync_checkpoints(self) -> None:
        """Brings S3 to what the machines' folders hold; of several writers the last wins. Raises TransferError."""
        for machine in self._machines:
            machine.sync_checkpoints()

    def failure(self) -> str:
        """What the machine that failed first wrote to /opt/ml/output/failure, if anything."""
        return self._failed.failure()

    def upload_model(self) -> str | None:
        """Packs and uploads the first model folder that is not empty; its S3 URI. Raises TransferError."""
        return next((uri for machine in self._machines if (uri := machine.upload_model())), None)

    def upload_output(self) -> None:
        """Packs and uploads the output folders that are not empty. Raises TransferError."""
        for machine in reversed(self._machines):
            machine.upload_output()

    def discard(self) -> None:
        """Ends what is left of the processes and removes the folders."""
        for machine in self._machines:
            machine.send(signal.SIGKILL)
        for machine in self._machines:
            machine.discard()


def hosts(count: int) -> list[str]:
    """What SageMaker calls the instances of a job."""
    return [f"algo-{number}" for number in range(1, count + 1)]


def free_port() -> int:
    """One of the ports where instances meet; nobody else is given it before they do."""
    while True:
        port = random.choice(_MEETING_PORTS)  # noqa: S311  (no secret)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port


class Machine:
    """One instance, from empty folder to exit code."""

    def __init__(self, base: Path, request: Mapping[str, Any], s3: Any, host: str, all_hosts: Sequence[str]) -> None:
        self.base = base
        self.request = request
        self.host, self._hosts = host, list(all_hosts)
        self._repository = assert_runnable_image(request["AlgorithmSpecification"]["TrainingImage"], *CONTAINERS)
        self._store = Store(s3)
        self._process: Process | None = None
        self._synced: dict[str, tuple[int, int]] = {}  # key below the checkpoint prefix -> modification time, size
        self._sync_lock = threading.Lock()
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "code", "tmp"):
            (base / folder).mkdir(parents=True)
        path = request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
        self.checkpoints = container.local_path(base, path)
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    # -- before ----------------------------------------------------------------------------------------------------

    def write_config(self) -> None:
        """The files of /opt/ml/input/config that containers read."""
        channels = {
            channel["ChannelName"]: {
                "TrainingInputMode": channel.get(
                    "InputMode", self.request["AlgorithmSpecification"]["TrainingInputMode"]
                ),
                "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                    "S3DataDistributionType", "FullyReplicated"
                ),
                "RecordWrapperType": channel.get("RecordWrapperType", "None"),
                **({"ContentType": channel["ContentType"]} if channel.get("ContentType") else {}),
            }
            for channel in self.request.get("InputDataConfig", [])
        }
        instance_type = self.request["ResourceConfig"]["InstanceType"]
        files = {
            "hyperparameters": self.request.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {
                "current_host": self.host,
                "current_instance_type": instance_type,
                "current_group_name": "homogeneousCluster",
                "hosts": self._hosts,
                "instance_groups": [
                    {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": self._hosts}
                ],
                "network_interface_name": "lo0" if sys.platform == "darwin" else "lo",
            },
            **({"checkpointconfig": self.request["CheckpointConfig"]} if "CheckpointConfig" in self.request else {}),
        }
        for name, content in files.items():
            (self.base / f"input/config/{name}.json").write_text(json.dumps(content))

    def download_inputs(self) -> None:
        """The channels' objects and the checkpoints of an earlier machine. Raises TransferError."""
        self._store.download(self._wanted())
        self._synced = dict(self._checkpoint_files())

    def _wanted(self) -> Iterator[tuple[str, str, Path, str]]:
        for channel in self.request.get("InputDataConfig", []):
            folder = self.base / "input/data" / channel["ChannelName"]
            folder.mkdir(exist_ok=True)
            source = channel["DataSource"]["S3DataSource"]
            objects = list(self._store.objects(source["S3Uri"], source["S3DataType"]))
            if source.get("S3DataDistributionType") == "ShardedByS3Key":
                objects = objects[self._hosts.index(self.host) :: len(self._hosts)]
            for bucket, key, relative in objects:
                yield bucket, key, folder, relative
        if config := self.request.get("CheckpointConfig"):
            bucket, prefix = split_s3_uri(config["S3Uri"])
            prefix = container.folder(prefix)
            for key in self._store.keys(bucket, prefix):
                yield bucket, key, self.checkpoints, key.removeprefix(prefix)

    # -- during ----------------------------------------------------------------------------------------------------

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Starts the container's program, which loads what it needs meanwhile and waits for `start`."""
        self._process = Process(
            # -P: this file's folder must not come before the job's own modules on the script's path.
            [sys.executable, "-P", str(CONTAINERS[self._repository])],
            cwd=self.base / "code",
            variables={
                **container.environment(self.base),
                "SAGEMAKER_TRAINING_MODULE": "pytorch_container:main",
                **environment,
            },
        )

    def start(self, on_line: Callable[[str], None]) -> threading.Thread:
        """Lets the program begin; every line it writes goes to `on_line`, from the thread that is returned."""
        assert self._process is not None
        return self._process.start(on_line, b"start\n")

    def wait(self, seconds: float) -> int | None:
        """The exit code (128 + signal number where a signal ended it), or None if it still runs after `seconds`."""
        assert self._process is not None
        return self._process.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Signals every process of the container; does nothing where none is left."""
        if self._process is not None:
            self._process.send(number)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _checkpoint_files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for path in self.checkpoints.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a temporary file that was renamed meanwhile
                if path.is_file():
                    state = path.stat()
                    yield path.relative_to(self.checkpoints).as_posix(), (state.st_mtime_ns, state.st_size)

    def sync_checkpoints(self) -> None:
        """Brings the S3 prefix to what the folder holds: changed files are uploaded, deleted ones deleted.

        Source: https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html. Raises TransferError.
        """
        config = self.request.get("CheckpointConfig")
        if not config:
            return
        bucket, prefix = split_s3_uri(config["S3Uri"])
        prefix = container.folder(prefix)
        try:
            with self._sync_lock:
                self._sync(bucket, prefix)
        except (ClientError, TransferError) as error:
            raise TransferError(f"ClientError: Checkpoint upload failed:{error}") from error

    def _sync(self, bucket: str, prefix: str) -> None:
        present = dict(self._checkpoint_files())
        for name, state in present.items():
            if self._synced.get(name) != state:
                with contextlib.suppress(FileNotFoundError):
                    self._store.upload(self.checkpoints / name, f"s3://{bucket}/{prefix}{name}")
                    self._synced[name] = state
        for name in self._synced.keys() - present.keys():
            self._store.s3.delete_object(Bucket=bucket, Key=prefix + name)
            del self._synced[name]

    # -- after -----------------------------------------------------------------------------------------------------

    def failure(self) -> str:
        """What the container wrote to /opt/ml/output/failure, if anything."""
        path = self.base / "output/failure"
        return path.read_text(errors="replace").strip() if path.exists() else ""

    def upload_model(self) -> str | None:
        """Packs and uploads what lies in model/; its S3 URI, or None when the folder is empty. Raises TransferError."""
        uri = _join(self.request["OutputDataConfig"]["S3OutputPath"], self.request["TrainingJobName"], "output")
        if self.request["OutputDataConfig"].get("CompressionType") == "NONE":
            return self._store.upload_folder(self.base / "model", f"{uri}/model/")
        return self._upload_archive(self.base / "model", f"{uri}/model.tar.gz")

    def upload_output(self) -> None:
        """Packs and uploads what lies in output/data, if anything. Raises TransferError."""
        uri = _join(self.request["OutputDataConfig"]["S3OutputPath"], self.request["TrainingJobName"], "output")
        self._upload_archive(self.base / "output/data", f"{uri}/output.tar.gz")

    def _upload_archive(self, folder: Path, uri: str) -> str | None:
        entries = sorted(folder.iterdir())
        if not entries:
            return None
        archive = self.base / "tmp" / f"{folder.name}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
            for entry in entries:
                tar.add(entry, entry.name)
        self._store.upload(archive, uri)
        return uri

    def discard(self) -> None:
        """Ends what is left of the process and removes the folder."""
        if self._process is not None:
            self._process.discard()
        shutil.rmtree(self.base, ignore_errors=True)


def _join(uri: str, *parts: str) -> str:
    return "/".join([uri.rstrip("/"), *parts])
