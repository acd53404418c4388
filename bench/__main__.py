"""`make bench`: all measurements, or those named. `python -m bench serving training`"""

from __future__ import annotations

import importlib
import sys

from bench.figures import show

MEASUREMENTS = ("loop", "training", "accuracy", "scale", "serving", "functions", "planners", "tuning")


def main() -> None:
    chosen = sys.argv[1:] or MEASUREMENTS
    unknown = set(chosen) - set(MEASUREMENTS)
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}. Known: {', '.join(MEASUREMENTS)}")
    for name in chosen:
        show(name, importlib.import_module(f"bench.{name}").measure())


if __name__ == "__main__":
    main()
