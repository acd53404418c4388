"""`make bench`: all measurements, or those named. `python -m bench serving training`"""

from __future__ import annotations

import argparse
import importlib

from bench.figures import show

# name -> what it measures, and about how long that takes on two cores
MEASUREMENTS = {
    "loop": "from `make up` to ready, and from a drop to an endpoint in service; half a minute",
    "training": "the reference training beside a plain PyTorch loop; a minute",
    "accuracy": "the default model beside gradient boosting and a linear model, SEEDS=2 TABLES=...; an hour",
    "scale": "reading and an epoch from 10 thousand to 10 million rows, beside pyarrow; minutes",
    "serving": "the model server and InvokeEndpoint; a minute",
    "functions": "the layer's size and the functions' cold starts, with bytecode and without; two minutes",
    "planners": "a pass of each planner over 10,000 endpoints; seconds",
    "tuning": "20 Bayesian trials beside 40 random ones; five minutes",
}


def main() -> None:
    listed = "\n".join(f"  {name:<10} {what}" for name, what in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures what the platform promises, and its peers in the same run.",
        epilog=f"measurements (without a name: all):\n{listed}\n\nexample: python -m bench serving functions",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="MEASUREMENT")
    chosen = parser.parse_args().names or list(MEASUREMENTS)
    if unknown := sorted(set(chosen) - set(MEASUREMENTS)):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(MEASUREMENTS)}")
    for name in chosen:
        show(name, importlib.import_module(f"bench.{name}").measure())


if __name__ == "__main__":
    main()
