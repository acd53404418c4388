"""Every price has a source, and what has no price is an error that names it."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from mlplatform import instances, prices
from mlplatform.errors import UnknownPrice

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
DOCUMENT = json.loads(prices.DATA_FILE.read_bytes())
ROWS = [row for region in DOCUMENT["regions"].values() for row in (*region["instances"], *region["items"])]
INSTANCE_TYPE = re.compile(r"\bml\.[a-z0-9-]+\.[a-z0-9]+\b")


@pytest.mark.parametrize(
    ("instance_type", "use", "usd"),
    [
        ("ml.c5.large", "hosting", "0.102"),
        ("ml.m5.xlarge", "training", "0.23"),
        ("ml.m5.large", "processing", "0.115"),
        ("ml.t3.medium", "notebook", "0.05"),
        ("ml.g4dn.xlarge", "hosting", "0.7364"),
    ],
)
def test_a_price_is_exact(instance_type: str, use: prices.Use, usd: str) -> None:
    assert prices.usd_per_hour(instance_type, use, REGION) == Decimal(usd)


def test_a_type_without_a_price_is_an_error_that_names_it() -> None:
    with pytest.raises(UnknownPrice, match=r"ml\.p5\.48xlarge in us-east-1"):
        prices.usd_per_hour("ml.p5.48xlarge", "training", REGION)


def test_a_type_that_is_priced_for_another_use_only_says_so() -> None:
    with pytest.raises(UnknownPrice, match=r"training on ml\.c5\.large in us-east-1; it has one for hosting"):
        prices.usd_per_hour("ml.c5.large", "training", REGION)


def test_an_item_without_a_price_is_an_error_that_names_it() -> None:
    with pytest.raises(UnknownPrice, match="quantum"):
        prices.usd("quantum.hour", REGION)


def test_a_region_without_prices_says_which_ones_have_some() -> None:
    with pytest.raises(UnknownPrice, match=r"no prices for eu-central-1, only for us-east-1"):
        prices.usd_per_hour("ml.c5.large", "hosting", "eu-central-1")


def test_every_row_says_where_it_comes_from_and_how_sure_it_is() -> None:
    assert len(ROWS) > 90
    for row in ROWS:
        assert row["source"], row
        assert row["confidence"], row
        assert row["source_date"] or row["confidence"].endswith(("from memory", "undated")), row
        assert row["unit"], row


# A page, a repository, or what the Price List API is asked by.
LOOKED_UP = re.compile(
    r"github\.com/[\w-]+/|huggingface\.co/|aws\.amazon\.com/|AWS Price List API, SKU|SKU [A-Z0-9]{16}|usage ?type[ =]|"
    r"Grafana documentation"
)
DERIVED = re.compile(r"derived: the same as (\w+);")


def test_a_price_whose_source_nobody_can_look_up_is_of_low_confidence_and_so_is_what_follows_from_it() -> None:
    by_key = {(row["type"], row["use"]): row for row in ROWS if "type" in row}
    for row in ROWS:
        same_as = DERIVED.match(row["source"])
        if same_as:
            expected = by_key[row["type"], same_as[1]]["confidence"].startswith("low: ")
        else:
            expected = LOOKED_UP.search(row["source"]) is None
        assert row["confidence"].startswith("low: ") is expected, row


def test_prices_are_decimal_text_and_not_negative_and_instances_are_never_free() -> None:
    for row in ROWS:
        assert isinstance(row["usd"], str), row
        assert re.fullmatch(r"\d+(\.\d+)?", row["usd"]), row
        assert "type" not in row or Decimal(row["usd"]) > Decimal("0.01"), row


def test_no_row_is_there_twice() -> None:
    for region in DOCUMENT["regions"].values():
        keys = [(row["type"], row["use"]) for row in region["instances"]] + [row["item"] for row in region["items"]]
        assert len(keys) == len(set(keys))


def types_in_use() -> dict[str, str]:
    """Instance types that the template, the laptop, the commands, the documents and the tests run something on."""
    places = [
        *(ROOT / "tests" / "e2e").glob("*.py"),
        *(ROOT / "cli").glob("*.py"),
        *(ROOT / "laptop").glob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("*.md"),
        ROOT / "template.yaml",
        ROOT / "samconfig.toml",
        ROOT / "tests" / "builders.py",
    ]
    return {kind: place.name for place in places for kind in INSTANCE_TYPE.findall(place.read_text())}


def test_every_instance_type_that_is_used_has_a_price_for_whatever_it_may_run() -> None:
    used = types_in_use()
    assert {"ml.m5.xlarge", "ml.c5.large"} <= used.keys()
    for kind, place in used.items():
        uses = [
            use for use, known in (("hosting", instances.HOSTING), ("training", instances.TRAINING)) if kind in known
        ]
        assert uses, f"{kind} in {place} is no type that the platform runs anything on"
        for use in uses:
            assert prices.usd_per_hour(kind, use, REGION) > 0, place
