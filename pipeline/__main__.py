"""Writes the definitions' JSON, or with --check says which of them the SDK would write otherwise and exits with 1."""

from __future__ import annotations

import argparse
import sys

from mlplatform import pipelines
from pipeline.definitions import build


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    differing = []
    for name in pipelines.DEFINITIONS:
        path, text = pipelines.path(name), build(name)
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            differing.append(path.name)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if differing:
        print(f"The SDK yields other definitions: {', '.join(differing)}; write them by `make pipelines`.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
