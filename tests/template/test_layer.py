"""What the functions carry: only what they import, and little of it."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import distribution
from pathlib import Path

from template.template import ROOT

LAYER = ROOT / "layers" / "platform"
LIMIT_BYTES = 8 * 1024 * 1024
RUNTIME = {"botocore"}  # Lambda's Python runtime has it


def pinned() -> list[str]:
    lines = [line.split("#")[0].strip() for line in (LAYER / "requirements.txt").read_text().splitlines()]
    return [line.partition("==")[0] for line in lines if line]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_functions_import_nothing_that_neither_the_layer_nor_the_runtime_has() -> None:
    functions = list((ROOT / "functions").glob("*.py"))
    files = [*functions, *(LAYER / "mlplatform").glob("*.py")]
    wanted = set().union(*(imported(path) for path in files)) - set(sys.stdlib_module_names) - {"mlplatform"}
    wanted -= {path.stem for path in functions}  # a function may do another's work
    assert wanted == RUNTIME | {"aws_lambda_powertools"}


def test_the_layer_stays_under_8_mb_unzipped() -> None:
    """Counted from the installed distributions, which are the ones that the layer is made of, bytecode left out."""
    third_party_bytes = sum(
        file.size or 0 for name in pinned() for file in distribution(name).files or [] if file.suffix != ".pyc"
    )
    own = [path for path in (LAYER / "mlplatform").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {"prices.json", "auto.json", "service-2.sdk-extras.json"} < {path.name for path in own}
    own_bytes = sum(path.stat().st_size for path in own)
    assert third_party_bytes > 3_000_000  # powertools alone; less means that nothing was counted
    assert third_party_bytes + own_bytes < LIMIT_BYTES


def test_the_layer_is_for_the_processor_and_the_python_of_the_functions() -> None:
    makefile = (LAYER / "Makefile").read_text()
    template = (ROOT / "template.yaml").read_text()
    assert "Architectures: [arm64]" in template
    assert "--platform manylinux2014_aarch64" in makefile
    assert "Runtime: python3.13" in template
    assert "--python-version 3.13" in makefile
    assert "sys.version_info[:2] == (3, 13)" in makefile  # whose bytecode it brings, or none
