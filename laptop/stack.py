"""Deploys the working tree's template.yaml to the laptop: what `sam build`, `sam package` and `sam deploy` do for AWS.

The template is sent as it is; only local folders in CodeUri and ContentUri become addresses of uploaded archives, as
`sam package` has it. One difference to `sam build`: the layer gets the platform's own package but not its third-party
packages, which the functions find in this machine's virtual environment. Building them takes a minute, for Lambda's
processor and not for this one.
"""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from laptop import cloudformation
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.cloudformation_template import parse_template
from laptop.errors import ServiceError
from mlplatform.names import REQUIRED_TAGS, tag_list

NAME = "ml-platform"
ROOT = Path(__file__).resolve().parents[1]
DEPLOY_SECONDS = 300.0
_LEFT_OUT = {"Makefile", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


def deploy(
    account: Account, stack: str = NAME, parameters: Mapping[str, str] | None = None, root: Path = ROOT
) -> dict[str, str]:
    """Creates the stack, or updates it, and returns its outputs.

    `parameters` override those of samconfig.toml's laptop section. Raises ServiceError: a template that CloudFormation
    refuses, or a stack that failed, with the reason of the resource that did.
    """
    template = parse_template((root / "template.yaml").read_text(encoding="utf-8"))
    bucket = f"{stack}-deployment-{ACCOUNT_ID}"
    s3 = account.client("s3")
    s3.create_bucket(Bucket=bucket)
    # As whoever deploys should tag it: what lacks the required tags is reported every day.
    chosen = {**configured(root), **(parameters or {})}
    given = {name: chosen.get(name) or template["Parameters"][name]["Default"] for name in REQUIRED_TAGS}
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tag_list(given)})
    # A bucket without a lifecycle would be the first thing that `mlp costs advice` tells of.
    rule = {"ID": "unfinished", "Status": "Enabled", "Filter": {"Prefix": ""}}
    s3.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={"Rules": [{**rule, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]},
    )
    uploaded: dict[Path, str] = {}

    def upload(local: str) -> str:
        folder = (root / local).resolve()
        if folder not in uploaded:
            archive = packed(folder)
            key = f"{stack}/{hashlib.sha256(archive).hexdigest()[:32]}"
            s3.put_object(Bucket=bucket, Key=key, Body=archive)
            uploaded[folder] = f"s3://{bucket}/{key}"
        return uploaded[folder]

    _upload_local(template, upload)
    body = json.dumps(template).encode()
    key = f"{stack}/{hashlib.sha256(body).hexdigest()[:32]}.template"
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    request = {
        "StackName": stack,
        "TemplateURL": f"https://s3.{REGION}.amazonaws.com/{bucket}/{key}",
        "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in chosen.items()],
        "Capabilities": _CAPABILITIES,
    }
    return _apply(account, request)


def _apply(account: Account, request: dict[str, Any]) -> dict[str, str]:
    name = request["StackName"]
    operations = account.operations["cloudformation"]
    known = [
        summary["StackName"]
        for summary in operations["ListStacks"]({})["StackSummaries"]
        if summary["StackStatus"] != "DELETE_COMPLETE"
    ]
    try:
        operations["UpdateStack" if name in known else "CreateStack"](request)
    except ServiceError as error:
        if error.message != "No updates are to be performed.":
            raise
    made = cloudformation.of(account).stacks.find(name)
    if not made.settled.wait(DEPLOY_SECONDS):
        raise ServiceError("ValidationError", f"Stack {name} is still {made.status} after {DEPLOY_SECONDS:.0f} s.")
    if made.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise ServiceError("ValidationError", f"Stack {name} is {made.status}: {made.reason}")
    return {output["OutputKey"]: output["OutputValue"] for output in made.outputs}


def configured(root: Path = ROOT) -> dict[str, str]:
    """The parameters of samconfig.toml's section [laptop.deploy.parameters]; none if there is no such file."""
    path = root / "samconfig.toml"
    if not path.exists():
        return {}
    section = tomllib.loads(path.read_text(encoding="utf-8")).get("laptop", {})
    overrides = section.get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    pairs = overrides.split() if isinstance(overrides, str) else overrides
    return dict(pair.split("=", 1) for pair in pairs)


def packed(folder: Path) -> bytes:
    """The archive of a function's code or of a layer. The same files give the same bytes.

    A folder with a package in it (layers/platform) becomes a layer's `python/`; other folders are packed as they are.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(_files(folder)):
            name = path.relative_to(folder)
            if _is_layer_source(folder):
                if len(name.parts) == 1:  # its list of third-party packages
                    continue
                name = Path("python") / name
            entry = zipfile.ZipInfo(name.as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _is_layer_source(folder: Path) -> bool:
    return any((child / "__init__.py").exists() for child in folder.iterdir() if child.is_dir())


def _files(folder: Path) -> Iterator[Path]:
    for child in folder.iterdir():
        if child.name in _LEFT_OUT or child.suffix in (".pyc", ".egg-info"):
            continue
        if child.is_dir():
            yield from _files(child)
        else:
            yield child


def _upload_local(value: Any, upload: Any) -> None:
    """Replaces local folders in place, wherever a CodeUri or a ContentUri is."""
    if isinstance(value, list):
        for member in value:
            _upload_local(member, upload)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name in ("CodeUri", "ContentUri") and isinstance(member, str) and not member.startswith("s3://"):
                value[name] = upload(member)
            else:
                _upload_local(member, upload)
