"""Lists that are kept by hand are held to the code: the map in docs/code.md, and the functions whose logs are shown."""

from __future__ import annotations

import re
from pathlib import Path

from cli import logs

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers/platform/mlplatform"


def test_the_map_of_the_code_names_every_function_and_module_and_no_other() -> None:
    named = set(re.findall(r"`([a-z0-9_]+\.py)`", (ROOT / "docs/code.md").read_text()))
    modules = {path.name for path in LAYER.glob("*.py") if not path.name.startswith("__")}
    functions = {path.name for path in (ROOT / "functions").glob("*.py")}
    assert named == modules | functions


def test_the_readmes_list_names_every_page_of_the_documentation_and_no_other() -> None:
    listed = re.search(
        r"^docs/ +one page per task:(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert listed is not None
    named = {part.removesuffix(".md") for part in re.split(r"[,;]\s+", listed[1].strip())}
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert named - {"a map"} == pages


def test_the_command_line_shows_the_log_of_every_function() -> None:
    functions = [path.stem.replace("_", "-") for path in (ROOT / "functions").glob("*.py")]
    assert sorted(logs.FUNCTIONS) == sorted(functions)
