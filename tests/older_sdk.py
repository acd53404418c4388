"""What the AWS SDK of Lambda's runtime may not know: the runtime brings its own, months older than the pinned one.

older_sdk.json has the operations that functions call, as they were compared with botocore 1.40.4 (of August 2025), and
the members of their requests that it lacks; it would refuse them as unknown. To compare with another, or after a new
call:

    pip download --no-deps botocore==1.40.4 --dest FOLDER && unzip -d FOLDER FOLDER/botocore-*.whl
    PYTHONPATH=tests:layers/platform python -m older_sdk FOLDER/botocore/data
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader

ROOT = Path(__file__).parents[1]
COMPARED = Path(__file__).with_name("older_sdk.json")
EXTRAS = ROOT / "layers/platform/mlplatform/sdk_extras/sagemaker/2017-07-24/service-2.sdk-extras.json"


@cache
def compared() -> Mapping[str, Any]:
    """`operations`: by service, as they are called in Python; `members`: dotted paths by "service operation"."""
    found: dict[str, Any] = json.loads(COMPARED.read_text())
    return found


def unknown(service: str, operation: str, parameters: Mapping[str, Any]) -> list[str]:
    """What of a request the older SDK would refuse, but for what the layer teaches it."""
    if operation not in compared()["operations"].get(service, ()):
        return [f"{service} {operation} was not compared with it: see older_sdk.py"]
    paths = compared()["members"].get(f"{service} {operation}", ())
    return [path for path in paths if path.rpartition(".")[2] not in _taught() and _has(parameters, path.split("."))]


@cache
def _taught() -> frozenset[str]:
    shapes = json.loads(EXTRAS.read_text())["merge"]["shapes"].values()
    return frozenset(name for shape in shapes for name in shape.get("members", ()))


def _has(value: Any, path: list[str]) -> bool:
    if isinstance(value, list | tuple):
        return any(_has(one, path) for one in value)
    if not path:
        return True
    return isinstance(value, Mapping) and path[0] in value and _has(value[path[0]], path[1:])


def called() -> Iterator[tuple[str, str]]:
    """Services and operations side by side in the code of functions and layer, as calls are written there."""
    services = frozenset(Loader().list_available_services("service-2"))
    for path in sorted([*(ROOT / "functions").glob("*.py"), *(ROOT / "layers/platform/mlplatform").glob("*.py")]):
        for service, operation in re.findall(r'"([a-z0-9-]+)",\s*"([a-z][a-z0-9_]*)"', path.read_text()):
            if service in services:
                yield service, operation


def _newer(model: Any, older: Any, shape: str, old: str, path: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    one, other = model["shapes"][shape], older["shapes"][old]
    if shape in above:
        return
    below = (*above, shape)
    if one["type"] == "list":
        yield from _newer(model, older, one["member"]["shape"], other["member"]["shape"], path, below)
    for name, member in one.get("members", {}).items():
        where = f"{path}.{name}".lstrip(".")
        if name not in other.get("members", {}):
            yield where
        else:
            yield from _newer(model, older, member["shape"], other["members"][name]["shape"], where, below)


def compare(data: str) -> dict[str, Any]:
    """As older_sdk.json, with the models in another botocore's folder of data. Raises KeyError for what it lacks."""
    other = Loader(extra_search_paths=[data], include_default_search_paths=False)
    operations: dict[str, list[str]] = {}
    members: dict[str, list[str]] = {}
    for service, operation in sorted(set(called())):
        model, older = Loader().load_service_model(service, "service-2"), other.load_service_model(service, "service-2")
        name = next((one for one in model["operations"] if xform_name(one) == operation), None)
        if name is None:
            continue
        old = older["operations"][name]
        operations.setdefault(service, []).append(operation)
        if "input" in old:
            found = list(_newer(model, older, model["operations"][name]["input"]["shape"], old["input"]["shape"]))
            if found:
                members[f"{service} {operation}"] = found
    return {"operations": operations, "members": members}


if __name__ == "__main__":
    COMPARED.write_text(json.dumps(compare(sys.argv[1]), indent=1) + "\n")
