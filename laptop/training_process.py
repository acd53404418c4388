"""One ML instance of a training job: its folder in the container's layout, its process, its way to and from S3.

The layout is the contract of training containers
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html): `input/config`,
`input/data/<channel>`, `checkpoints`, `model`, `output`. In a container it lies in /opt/ml; here in a folder of the
job's own, which the official training toolkit learns from SAGEMAKER_BASE_DIR.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
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


class Machine:
    """One instance, from empty folder to exit code. A spot interruption throws it away and a job gets another."""

    def __init__(self, base: Path, request: Mapping[str, Any], s3: Any) -> None:
        self.base = base
        self.request = request
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
                "current_host": HOST,
                "current_instance_type": instance_type,
                "current_group_name": "homogeneousCluster",
                "hosts": [HOST],
                "instance_groups": [
                    {"instance_group_name": "homogeneousCluster", "instance_type": instance_type, "hosts": [HOST]}
                ],
                "network_interface_name": "lo",
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
            for bucket, key, relative in self._store.objects(source["S3Uri"], source["S3DataType"]):
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
