"""`make prices`: rebuilds mlplatform/prices.json for one region from the AWS Price List API, with your credentials.

Each row that the API has gets the API's price, the day on which it took effect and its SKU. Rows that the API has
not, or that this script does not know how to ask for, stay as they are, with the source that they had. The calls are
free.

The API: "GetProducts", AWS Price List API reference. It lives in a few regions only, whatever region is asked about,
and its PriceList is a list of JSON texts: `product.attributes` and `terms.OnDemand.<id>.priceDimensions.<id>`, with
`pricePerUnit.USD` and `beginRange` as text. SageMaker's usage types are spelled USE1-Host:ml.m5.large, USE1-Train:,
USE1-Processing: and USE1-Notebk:, with the region's billing prefix before them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from mlplatform import prices

API_REGION = "us-east-1"
CONFIDENCE = "price-list-api"
_INSTANCE = re.compile(r"(?:[A-Z0-9]+-)?(Host|Train|Processing|Notebk):(ml\.[a-z0-9-]+\.[a-z0-9-]+)")
_USES = {"Host": "hosting", "Train": "training", "Processing": "processing", "Notebk": "notebook"}
_ORDER = tuple(_USES.values())

Row = dict[str, str]


@dataclass(frozen=True)
class Item:
    """How a row that is no instance is found: the usage type without the region's prefix, and how it is counted."""

    service: str
    usage_type: str
    units: int = 1  # of the API in one of ours: a million where the API counts single requests


ITEMS: Mapping[str, Item] = {
    "lambda.gb_second.arm64": Item("AWSLambda", "Lambda-GB-Second-ARM"),
    "lambda.gb_second.x86": Item("AWSLambda", "Lambda-GB-Second"),
    "lambda.million_requests": Item("AWSLambda", "Request", 1_000_000),
    "s3.gb_month.standard": Item("AmazonS3", "TimedStorage-ByteHrs"),
    "s3.gb_month.standard_ia": Item("AmazonS3", "TimedStorage-SIA-ByteHrs"),
    "s3.gb_month.glacier_ir": Item("AmazonS3", "TimedStorage-GIR-ByteHrs"),
    "s3.thousand_puts": Item("AmazonS3", "Requests-Tier1", 1_000),
    "s3.thousand_gets": Item("AmazonS3", "Requests-Tier2", 1_000),
    "cloudwatch.alarm_month": Item("AmazonCloudWatch", "CW:AlarmMonitorUsage"),
    "cloudwatch.metric_month": Item("AmazonCloudWatch", "CW:MetricMonitorUsage"),
    "logs.gb_ingested": Item("AmazonCloudWatch", "DataProcessing-Bytes"),
    "logs.gb_month": Item("AmazonCloudWatch", "TimedStorage-ByteHrs"),
    "nat_gateway.hour": Item("AmazonEC2", "NatGateway-Hours"),
    "nat_gateway.gb": Item("AmazonEC2", "NatGateway-Bytes"),
    "ebs.gb_month.gp3": Item("AmazonEC2", "EBS:VolumeUsage.gp3"),
    "ebs.gb_month.gp2": Item("AmazonEC2", "EBS:VolumeUsage.gp2"),
    "ebs.snapshot_gb_month": Item("AmazonEC2", "EBS:SnapshotUsage"),
    "eks.cluster_hour": Item("AmazonEKS", "AmazonEKS-Hours:perCluster"),
    "kms.key_month": Item("awskms", "KMS-Keys"),
    "ecr.gb_month": Item("AmazonECR", "TimedStorage-ByteHrs"),
}


class Oddity(Exception):
    """The API's answer is not what this script understands; nothing is written."""


def products(pricing: Any, service: str, region: str, usage_type: str = "") -> Iterator[dict[str, Any]]:
    """A service's products in a region, page by page; those whose usage type has the text in it, if one is given.

    Raises Oddity if a page's token comes again.
    """
    filters = [{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}]
    if usage_type:
        filters.append({"Type": "CONTAINS", "Field": "usagetype", "Value": usage_type})
    request = {
        "ServiceCode": service,
        "FormatVersion": "aws_v1",
        "MaxResults": 100,
        "Filters": filters,
    }
    seen: set[str] = set()
    while True:
        page = pricing.get_products(**request)
        for text in page["PriceList"]:
            product = json.loads(text)
            # Outposts and local zones are listed under their region, at prices of their own.
            if product["product"]["attributes"].get("locationType", "AWS Region") == "AWS Region":
                yield product
        token = page.get("NextToken")
        if not token:
            return
        if token in seen:
            raise Oddity(f"The Price List API gave the same page of {service} twice.")
        seen.add(token)
        request["NextToken"] = token


def on_demand(product: Mapping[str, Any]) -> tuple[Decimal, str] | None:
    """The first tier's price above zero, in USD, and the day since which it holds; None where there is none.

    Tiers come in no order, and a free tier is a tier too: the first one by `beginRange` that costs something counts.
    """
    found: list[tuple[Decimal, Decimal, str]] = []
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = dimension["pricePerUnit"].get("USD")
            if usd is not None and Decimal(usd) > 0:
                begin = Decimal(dimension.get("beginRange") or 0)
                found.append((begin, Decimal(usd), str(term.get("effectiveDate", ""))[:10]))
    if not found:
        return None
    _, usd, since = min(found)
    return usd, since


def instance_rows(found: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Row]:
    """Rows by type and use. Raises Oddity where one type has two prices for one use."""
    rows: dict[tuple[str, str], Row] = {}
    for product in found:
        usage = str(product["product"]["attributes"].get("usagetype", ""))
        match = _INSTANCE.fullmatch(usage)
        priced = on_demand(product) if match else None
        if match is None or priced is None:
            continue
        key = (match[2], _USES[match[1]])
        row = {"type": key[0], "use": key[1], "unit": "hour", **_priced(product, usage, priced)}
        if key in rows and rows[key]["usd"] != row["usd"]:
            raise Oddity(f"{key[0]} has two prices for {key[1]}: {rows[key]['usd']} and {row['usd']} USD an hour.")
        rows[key] = row
    return rows


def item_row(item: Item, found: Iterable[Mapping[str, Any]]) -> Row | None:
    """What the API says about one item, in our unit; None where it says nothing, or more than one thing."""
    rows = []
    for product in found:
        usage = str(product["product"]["attributes"].get("usagetype", ""))
        if usage != item.usage_type and not re.fullmatch(rf"[A-Z0-9]+-{re.escape(item.usage_type)}", usage):
            continue
        priced = on_demand(product)
        if priced is not None:
            rows.append(_priced(product, usage, (priced[0] * item.units, priced[1])))
    return rows[0] if len({row["usd"] for row in rows}) == 1 else None


def _priced(product: Mapping[str, Any], usage: str, priced: tuple[Decimal, str]) -> Row:
    return {
        "usd": f"{priced[0].normalize():f}",
        "source": f"AWS Price List API, SKU {product['product']['sku']}, usage type {usage}",
        "source_date": priced[1],
        "confidence": CONFIDENCE,
    }


def rebuild(document: Mapping[str, Any], region: str, pricing: Any, today: date) -> tuple[dict[str, Any], list[str]]:
    """The table with that region's rows renewed, and what people should know. Raises Oddity."""
    regions = dict(document["regions"])
    old = regions.get(region, {"instances": [], "items": []})
    instances = {(row["type"], row["use"]): row for row in old["instances"]}
    fresh = instance_rows(products(pricing, "AmazonSageMaker", region))
    if not fresh:
        raise Oddity(f"The Price List API has no SageMaker instances in {region}: is that the region's name?")
    said = _changes(instances, fresh)
    instances |= fresh
    items = {row["item"]: row for row in old["items"]}
    # A region that is new to the table takes the words of the rows from one that is not, but never their prices.
    words = {row["item"]: row for known in regions.values() for row in known["items"]}
    for name, item in ITEMS.items():
        row = item_row(item, products(pricing, item.service, region, item.usage_type))
        if row is not None and name in words:
            items[name] = {"item": name, "what": words[name]["what"], "unit": words[name]["unit"], **row}
    kept = [name for name, row in items.items() if row["confidence"] != CONFIDENCE]
    missing = sorted(words.keys() - items.keys())
    if kept:
        said.append(f"kept with their old source: {', '.join(sorted(kept))}")
    if missing:
        said.append(f"no price for: {', '.join(missing)}")
    regions[region] = {
        "collected": today.isoformat(),
        "note": "By `make prices`; rows that the Price List API did not have keep the source that they had.",
        "instances": sorted(instances.values(), key=lambda row: (row["type"], _ORDER.index(row["use"]))),
        "items": list(items.values()),
    }
    return {**document, "regions": dict(sorted(regions.items()))}, said


def _changes(old: Mapping[tuple[str, str], Row], fresh: Mapping[tuple[str, str], Row]) -> list[str]:
    said = [f"{len(fresh)} instance prices fetched"]
    said += [
        f"{key[0]} {key[1]}: {old[key]['usd']} -> {row['usd']} USD an hour"
        for key, row in sorted(fresh.items())
        if key in old and Decimal(old[key]["usd"]) != Decimal(row["usd"])
    ]
    return said


def spelled(document: Mapping[str, Any]) -> str:
    """As the file is kept: one row a line, so that a changed price is a changed line."""
    lines = ["{", f'"currency": {json.dumps(document["currency"])},', '"regions": {']
    for number, (name, region) in enumerate(document["regions"].items()):
        lines += [f"{json.dumps(name)}: {{", *(f"{json.dumps(key)}: {json.dumps(region[key])}," for key in _PLAIN)]
        lines += ['"instances": [', *_rows(region["instances"]), "],", '"items": [', *_rows(region["items"]), "]"]
        lines.append("}" if number == len(document["regions"]) - 1 else "},")
    return "\n".join([*lines, "}", "}", ""])


_PLAIN = ("collected", "note")


def _rows(rows: list[Row]) -> list[str]:
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    return [f"{text}," for text in texts[:-1]] + texts[-1:]


def main(arguments: list[str] | None = None, pricing: Any = None, path: Path = prices.DATA_FILE) -> int:
    parser = argparse.ArgumentParser(prog="make prices", description="Rebuild the price list for one region.")
    parser.add_argument("--region", default="us-east-1", help="the region to fetch, such as eu-central-1")
    region = parser.parse_args(arguments).region
    if pricing is None:
        import boto3

        pricing = boto3.client("pricing", region_name=API_REGION)
    try:
        document, said = rebuild(json.loads(path.read_bytes()), region, pricing, datetime.now(UTC).date())
    except Oddity as error:
        print(f"{error} {path.name} is unchanged.", file=sys.stderr)
        return 1
    path.write_text(spelled(document))
    print("\n".join([*said, f"written: {path}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
