"""One ML instance of a training job: its folder in the container's layout, its process, its way to and from S3.

The layout is the contract of training containers
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html): `input/config`,
`input/data/<channel>`, `checkpoints`, `model`, `output`. In a container it lies in /opt/ml; here in a folder of the
job's own, which the official training toolkit learns from SAGEMAKER_BASE_DIR.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from laptop.account import REGION
from laptop.sagemaker_common import split_s3_uri

CONTAINER = Path(__file__).with_name("training_container.py")
CONTAINER_BASE = PurePosixPath("/opt/ml")
# The job's only host. SageMaker calls it algo-1; the toolkit waits until the name resolves, and this one does.
HOST = "localhost"
DOWNLOADS_AT_ONCE = 4
_TRANSFER = TransferConfig(use_threads=False)  # the files are small; a pool per file costs more than it brings


class TransferError(Exception):
    """S3 did not give or take the job's files: `str()` is the FailureReason, worded as SageMaker does."""


class Machine:
    """One instance, from empty folder to exit code. A spot interruption throws it away and a job gets another."""

    def __init__(self, base: Path, request: Mapping[str, Any], s3: Any) -> None:
        self.base = base
        self.request = request
        self._s3 = s3
        self._process: subprocess.Popen[bytes] | None = None
        self._reading = False
        self._synced: dict[str, tuple[int, int]] = {}  # key below the checkpoint prefix -> modification time, size
        self._sync_lock = threading.Lock()
        for folder in ("input/config", "input/data", "model", "output/data", "checkpoints", "code", "tmp"):
            (base / folder).mkdir(parents=True)
        self.checkpoints = self._local(request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints"))
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def _local(self, path: str) -> Path:
        """Where a path of the container lies on this machine. Raises TransferError for one outside /opt/ml."""
        if not PurePosixPath(path).is_relative_to(CONTAINER_BASE) or ".." in PurePosixPath(path).parts:
            raise TransferError(f"ClientError: The laptop keeps only {CONTAINER_BASE}; {path} lies elsewhere.")
        return self.base / PurePosixPath(path).relative_to(CONTAINER_BASE)

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
        }
        for name, content in files.items():
            (self.base / f"input/config/{name}.json").write_text(json.dumps(content))

    def download_inputs(self) -> None:
        """The channels' objects and the checkpoints of an earlier machine. Raises TransferError."""
        try:
            wanted = [
                (bucket, key, self.base / "input/data" / channel["ChannelName"], relative)
                for channel in self.request.get("InputDataConfig", [])
                for bucket, key, relative in self._channel_objects(channel)
            ]
            for channel in self.request.get("InputDataConfig", []):
                (self.base / "input/data" / channel["ChannelName"]).mkdir(exist_ok=True)
            if config := self.request.get("CheckpointConfig"):
                bucket, prefix = split_s3_uri(config["S3Uri"])
                prefix = _folder(prefix)
                wanted += [
                    (bucket, key, self.checkpoints, key.removeprefix(prefix)) for key in self._keys(bucket, prefix)
                ]
            with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
                list(pool.map(lambda item: self._download(*item), wanted))
        except ClientError as error:
            details = error.response["Error"]
            raise TransferError(f"ClientError: Data download failed:{details['Code']}: {details['Message']}") from error
        self._synced = dict(self._checkpoint_files())

    def _channel_objects(self, channel: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """(bucket, key, path below the channel's folder) of every object that belongs to the channel."""
        source = channel["DataSource"]["S3DataSource"]
        bucket, prefix = split_s3_uri(source["S3Uri"])
        if source["S3DataType"] == "S3Prefix":
            for key in self._keys(bucket, prefix):
                yield bucket, key, _below(prefix, key)
            return
        # S3DataSource of the API reference: an array whose first element is the common prefix.
        text = self._s3.get_object(Bucket=bucket, Key=prefix)["Body"].read()
        try:
            first, *suffixes = json.loads(text)
            bucket, start = split_s3_uri(first["prefix"])
            keys = [(start + suffix, suffix) for suffix in suffixes]
        except (ValueError, TypeError, KeyError) as error:
            raise TransferError(
                f"ClientError: Data download failed:The manifest {source['S3Uri']} is not of the form "
                f'[{{"prefix": "s3://bucket/prefix/"}}, "key", ...]'
            ) from error
        for key, relative in keys:
            yield bucket, key, relative

    def _keys(self, bucket: str, prefix: str) -> Iterator[str]:
        for answer in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for stored in answer.get("Contents", []):
                if not stored["Key"].endswith("/"):
                    yield stored["Key"]

    def _download(self, bucket: str, key: str, folder: Path, relative: str) -> None:
        target = (folder / relative).resolve()
        if not target.is_relative_to(folder.resolve()) or target == folder.resolve():
            raise TransferError(f"ClientError: Data download failed:The key {key} leads out of the channel's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._s3.download_file(bucket, key, str(target), Config=_TRANSFER)

    # -- during ----------------------------------------------------------------------------------------------------

    def prepare(self, environment: Mapping[str, str]) -> None:
        """Starts the container's program, which loads the toolkit meanwhile and waits for `start`."""
        self._process = subprocess.Popen(
            # -P: this file's folder must not come before the job's own modules on the script's path.
            [sys.executable, "-P", str(CONTAINER)],
            cwd=self.base / "code",
            env={**container_environment(self.base), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: a signal reaches the script's workers too
        )

    def start(self, on_line: Callable[[str], None]) -> threading.Thread:
        """Lets the toolkit begin; every line it writes goes to `on_line`, from the thread that is returned."""
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(b"start\n")
        self._reading = True
        reader = threading.Thread(target=self._read, args=(self._process, on_line), daemon=True)
        reader.start()
        return reader

    @staticmethod
    def _read(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                on_line(line.decode("utf-8", "replace").rstrip("\r\n"))

    def wait(self, seconds: float) -> int | None:
        """The exit code (128 + signal number where a signal ended it), or None if it still runs after `seconds`."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Signals every process of the container; does nothing where none is left."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

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
        prefix = _folder(prefix)
        try:
            with self._sync_lock:
                self._sync(bucket, prefix)
        except (ClientError, S3UploadFailedError) as error:
            raise TransferError(f"ClientError: Checkpoint upload failed:{error}") from error

    def _sync(self, bucket: str, prefix: str) -> None:
        present = dict(self._checkpoint_files())
        for name, state in present.items():
            if self._synced.get(name) != state:
                with contextlib.suppress(FileNotFoundError):
                    self._s3.upload_file(str(self.checkpoints / name), bucket, prefix + name, Config=_TRANSFER)
                    self._synced[name] = state
        for name in self._synced.keys() - present.keys():
            self._s3.delete_object(Bucket=bucket, Key=prefix + name)
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
            return self._upload_folder(self.base / "model", f"{uri}/model/")
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
        self._upload(archive, uri)
        return uri

    def _upload_folder(self, folder: Path, uri: str) -> str | None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            self._upload(path, uri + path.relative_to(folder).as_posix())
        return uri if files else None

    def _upload(self, path: Path, uri: str) -> None:
        bucket, key = split_s3_uri(uri)
        try:
            self._s3.upload_file(str(path), bucket, key, Config=_TRANSFER)
        except (ClientError, S3UploadFailedError) as error:
            raise TransferError(f"ClientError: Artifact upload failed:{error}") from error

    def discard(self) -> None:
        """Ends what is left of the process and removes the folder."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            if not self._reading and self._process.stdout is not None:
                self._process.stdout.close()  # otherwise its reader closes it
        shutil.rmtree(self.base, ignore_errors=True)


def container_environment(base: Path) -> dict[str, str]:
    """The environment of the container's program before the job's own variables: nothing of the caller's.

    PATH leads to this machine's tools; the PYTHON variables are those of AWS's PyTorch image.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(base / "tmp"),
        "TMPDIR": str(base / "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONIOENCODING": "UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_TRAINING_MODULE": "pytorch_container:main",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "CURRENT_HOST": HOST,
    }


def _folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _below(prefix: str, key: str) -> str:
    """Where an object of an S3Prefix channel lies below the channel's folder."""
    if key.startswith(_folder(prefix)):
        return key.removeprefix(_folder(prefix))
    return key[prefix.rfind("/") + 1 :]  # the prefix is a whole key, or ends within a name


def _join(uri: str, *parts: str) -> str:
    return "/".join([uri.rstrip("/"), *parts])
