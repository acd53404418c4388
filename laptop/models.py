"""SageMaker models: what CreateModel checks, and the folder with a model's files that its processes run in.

Messages follow the SageMaker API reference (CreateModel, DescribeModel, DeleteModel). A model is one container of the
PyTorch inference images; its artifact is read with the model's own role.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.hosting_process import LaunchError
from laptop.sagemaker_common import (
    assert_role_trusts_sagemaker,
    assert_runnable_image,
    read_tags,
    rows_page,
    split_s3_uri,
)

MAX_ARTIFACT_BYTES = 8 * 1024**3


def arn(kind: str, name: str) -> str:
    """SageMaker writes the names of what it hosts in lower case in their ARNs."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}:{kind}/{name.lower()}"


class Models:
    """All models of the account."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.lock = threading.RLock()
        self._models: dict[str, dict[str, Any]] = {}
        self._extracting = threading.Lock()
        self._work = account.home / "hosting"

    def create_model(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["ModelName"]
        containers = [request["PrimaryContainer"]] if "PrimaryContainer" in request else request.get("Containers", [])
        if len(containers) != 1:
            raise ServiceError("ValidationException", "The laptop runs models of exactly one container.")
        role = request.get("ExecutionRoleArn")
        if not role:
            raise ServiceError("ValidationException", "ExecutionRoleArn is required to read the model data.")
        container = self._packaged(containers[0])
        assert_runnable_image(container.get("Image", ""), "pytorch-inference")
        tags = read_tags(request.get("Tags"))
        with self.lock:
            if name in self._models:
                raise ServiceError(
                    "ValidationException", f'Cannot create already existing model "{arn("model", name)}".'
                )
        assert_role_trusts_sagemaker(self.account, role)
        self._check_artifact(container, role)
        with self.lock:
            self.account.tags[arn("model", name)] = tags
            model = {key: value for key, value in request.items() if key != "Tags"}
            self._models[name] = {
                **model,
                "ModelArn": arn("model", name),
                "CreationTime": self.account.clock.now(),
                "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
            }
        return {"ModelArn": arn("model", name)}

    def _packaged(self, container: dict[str, Any]) -> dict[str, Any]:
        if "ModelPackageName" not in container:
            return container
        describe = self.account.operations["sagemaker"]["DescribeModelPackage"]
        package = describe({"ModelPackageName": container["ModelPackageName"]})
        packaged = package["InferenceSpecification"]["Containers"][0]
        return {
            **packaged,
            **container,
            "Environment": {**packaged.get("Environment", {}), **container.get("Environment", {})},
        }

    @staticmethod
    def _artifact_uri(container: dict[str, Any]) -> str:
        source = container.get("ModelDataSource", {}).get("S3DataSource", {})
        return str(container.get("ModelDataUrl") or source.get("S3Uri") or "")

    def _check_artifact(self, container: dict[str, Any], role: str) -> None:
        from botocore.exceptions import ClientError

        uri = self._artifact_uri(container)
        bucket, key = split_s3_uri(uri)
        try:
            self.account.client("s3", role).head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise ServiceError("ValidationException", f"Could not find model data at {uri}.") from error
            raise ServiceError(
                "ValidationException",
                f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that its trust '
                'relationship policy allows the action "sts:AssumeRole" for the service principal '
                '"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that the '
                f"object is located in {REGION}.",
            ) from error

    def describe_model(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self.get(request["ModelName"]))

    def get(self, name: str) -> dict[str, Any]:
        with self.lock:
            if name not in self._models:
                raise ServiceError("ValidationException", f'Could not find model "{arn("model", name)}".')
            return self._models[name]

    def list_models(self, request: dict[str, Any]) -> dict[str, Any]:
        shown = ("ModelName", "ModelArn", "CreationTime")
        with self.lock:
            rows = [{key: model[key] for key in shown} for model in self._models.values()]
        return rows_page(rows, request, "Models", "ModelName")

    def delete_model(self, request: dict[str, Any]) -> dict[str, Any]:
        self.get(request["ModelName"])
        with self.lock:
            self._models.pop(request["ModelName"], None)
            self.account.tags.pop(arn("model", request["ModelName"]), None)
        return {}

    def prepare(self, model_name: str) -> tuple[Path, dict[str, str]]:
        """Downloads the artifact with the model's role and extracts it; once per model, the folder is read-only."""
        model = self.get(model_name)
        container = self._packaged(model.get("PrimaryContainer") or model["Containers"][0])
        role = model["ExecutionRoleArn"]
        folder = self._work / f"{model_name}-{int(model['CreationTime'].timestamp() * 1e6)}"
        with self._extracting:
            if not folder.exists():
                self._check_artifact(container, role)
                self._extract(container, role, folder)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self._work),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "SAGEMAKER_REGION": REGION,
            **{key: str(value) for key, value in container.get("Environment", {}).items()},
        }
        return folder, environment

    def _extract(self, container: dict[str, Any], role: str, folder: Path) -> None:
        bucket, key = split_s3_uri(self._artifact_uri(container))
        self._work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._work) as scratch:
            archive, extracted = Path(scratch, "model.tar.gz"), Path(scratch, "model")
            self.account.client("s3", role).download_file(bucket, key, str(archive))
            try:
                extract(archive, extracted)
            except (tarfile.TarError, EOFError, OSError, ValueError) as error:
                raise LaunchError(
                    f"Failed to extract model data archive {self._artifact_uri(container)}: {error}"
                ) from error
            shutil.move(extracted, folder)

    def image(self, model_name: str) -> str:
        model = self._models.get(model_name, {})
        container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
        return str(container.get("Image", ""))


def extract(archive: Path, folder: Path) -> None:
    """Unpacks a model.tar.gz: plain files and folders inside `folder` only. Raises ValueError, tarfile.TarError."""
    folder.mkdir()
    root = folder.resolve()
    size = 0
    with tarfile.open(archive, "r:*") as packed:
        for member in packed:
            to = (root / member.name).resolve()
            if not to.is_relative_to(root):
                raise ValueError(f"{member.name} would lie outside the model folder")
            if member.isdir():
                to.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                size += member.size
                if size > MAX_ARTIFACT_BYTES:
                    raise ValueError(f"more than {MAX_ARTIFACT_BYTES} bytes")
                content = packed.extractfile(member)
                assert content is not None
                to.parent.mkdir(parents=True, exist_ok=True)
                with to.open("wb") as target:
                    shutil.copyfileobj(content, target)
            else:
                raise ValueError(f"{member.name} is neither a plain file nor a folder")
