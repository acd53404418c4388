"""`make prices` takes what the Price List API says and nothing else, against answers in the API's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cli import price_list
from mlplatform import prices

DOCUMENT = json.loads(prices.DATA_FILE.read_bytes())
TODAY = date(2026, 12, 1)
SAGEMAKER, LAMBDA, CLOUDWATCH = "AmazonSageMaker", "AWSLambda", "AmazonCloudWatch"


def product(usage_type: str, *tiers: tuple[str, str], location: str = "AWS Region", sku: str = "SKU1") -> str:
    """One element of PriceList, which is JSON in a text: by tiers of (beginRange, USD)."""
    dimensions = {
        f"{sku}.JRTCKXETXF.{number}": {
            "unit": "Hrs",
            "description": f"${usd} per unit",
            "beginRange": begin,
            "endRange": "Inf",
            "appliesTo": [],
            "rateCode": f"{sku}.JRTCKXETXF.{number}",
            "pricePerUnit": {"USD": usd},
        }
        for number, (begin, usd) in enumerate(tiers)
    }
    return json.dumps(
        {
            "product": {
                "productFamily": "ML Instance",
                "sku": sku,
                "attributes": {"usagetype": usage_type, "regionCode": "us-east-1", "locationType": location},
            },
            "serviceCode": SAGEMAKER,
            "terms": {
                "OnDemand": {
                    f"{sku}.JRTCKXETXF": {
                        "sku": sku,
                        "effectiveDate": "2026-11-01T00:00:00Z",
                        "offerTermCode": "JRTCKXETXF",
                        "priceDimensions": dimensions,
                    }
                }
            },
            "version": "20261115000000",
            "publicationDate": "2026-11-15T00:00:00Z",
        }
    )


class Api:
    """The Price List API: one product to a page, filtered by usage type as the API does."""

    def __init__(self, found: Mapping[str, list[str]], token: str | None = None) -> None:
        self.found = found
        self.token = token
        self.asked: list[Mapping[str, Any]] = []

    def get_products(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        wanted = [one["Value"] for one in request["Filters"] if one["Field"] == "usagetype"]
        matching = [
            text
            for text in self.found.get(request["ServiceCode"], [])
            if all(one in json.loads(text)["product"]["attributes"]["usagetype"] for one in wanted)
        ]
        at = int(request.get("NextToken", 0))
        more = self.token if self.token else str(at + 1)
        return {
            "FormatVersion": "aws_v1",
            "PriceList": matching[at : at + 1],
            **({"NextToken": more} if at + 1 < len(matching) else {}),
        }


def hosts(*usages: str) -> list[str]:
    return [product(usage, ("0", "0.1070000000")) for usage in usages]


def rebuilt(found: Mapping[str, list[str]], region: str = "us-east-1") -> tuple[dict[str, Any], str]:
    document, said = price_list.rebuild(DOCUMENT, region, Api(found), TODAY)
    return document["regions"][region], "\n".join(said)


def instance(region: Mapping[str, Any], kind: str, use: str) -> dict[str, str]:
    [row] = [row for row in region["instances"] if (row["type"], row["use"]) == (kind, use)]
    return row  # type: ignore[no-any-return]


def item(region: Mapping[str, Any], name: str) -> dict[str, str]:
    [row] = [row for row in region["items"] if row["item"] == name]
    return row  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("usage", "use"), [("Host", "hosting"), ("Train", "training"), ("Processing", "processing"), ("Notebk", "notebook")]
)
def test_a_fetched_price_replaces_the_row_with_its_sku_and_date(usage: str, use: str) -> None:
    region, said = rebuilt({SAGEMAKER: hosts(f"USE1-{usage}:ml.m5.xlarge")})
    row = instance(region, "ml.m5.xlarge", use)
    assert (row["usd"], row["source_date"], row["confidence"]) == ("0.107", "2026-11-01", "price-list-api")
    assert f"SKU SKU1, usage type USE1-{usage}:ml.m5.xlarge" in row["source"]
    assert f"ml.m5.xlarge {use}: 0.23 -> 0.107" in said


def test_what_the_api_does_not_have_stays_with_its_old_source() -> None:
    region, said = rebuilt({SAGEMAKER: hosts("USE1-Host:ml.c5.large")})
    old = DOCUMENT["regions"]["us-east-1"]
    assert instance(region, "ml.m5.xlarge", "training") == instance(old, "ml.m5.xlarge", "training")
    assert item(region, "cost_explorer.request") == item(old, "cost_explorer.request")
    assert "cost_explorer.request" in said


@pytest.mark.parametrize(
    "usage",
    [
        "USE1-Host:VolumeUsage.gp2",
        "USE1-Studio:JupyterLab-ml.m5.xlarge",
        "USE1-TrainWarmPool:ml.m5.xlarge",
        "USE1-Host:ml.m5.xlarge-FreeTier",
    ],
)
def test_usage_that_is_no_instance_of_ours_is_left_out(usage: str) -> None:
    region, _ = rebuilt({SAGEMAKER: hosts(usage, "USE1-Host:ml.c5.large")})
    assert instance(region, "ml.m5.xlarge", "hosting")["usd"] == "0.23"


def test_an_outpost_is_not_the_region() -> None:
    outpost = product("USE1-Host:ml.m5.xlarge", ("0", "9.99"), location="AWS Outposts")
    region, _ = rebuilt({SAGEMAKER: [outpost, *hosts("USE1-Host:ml.c5.large")]})
    assert instance(region, "ml.m5.xlarge", "hosting")["usd"] == "0.23"


def test_the_first_tier_that_costs_something_counts_whatever_the_order() -> None:
    tiers = (("1000000", "0.02"), ("0", "0.00"), ("10", "0.30"))
    region, _ = rebuilt(
        {SAGEMAKER: hosts("USE1-Host:ml.c5.large"), CLOUDWATCH: [product("CW:MetricMonitorUsage", *tiers)]}
    )
    assert item(region, "cloudwatch.metric_month")["usd"] == "0.3"


def test_what_the_api_counts_singly_is_kept_by_the_million() -> None:
    requests = [product("USE1-Request", ("0", "0.0000002000")), product("USE1-Request-ARM", ("0", "7"))]
    region, _ = rebuilt({SAGEMAKER: hosts("USE1-Host:ml.c5.large"), LAMBDA: requests})
    assert Decimal(item(region, "lambda.million_requests")["usd"]) == Decimal("0.2")


def test_an_item_with_two_prices_keeps_the_old_one() -> None:
    two = [product("Lambda-GB-Second-ARM", ("0", usd)) for usd in ("0.1", "0.2")]
    region, _ = rebuilt({SAGEMAKER: hosts("USE1-Host:ml.c5.large"), LAMBDA: two})
    assert item(region, "lambda.gb_second.arm64")["usd"] == "0.0000133334"


def test_a_new_region_gets_its_own_prices_and_nobody_elses() -> None:
    region, said = rebuilt({SAGEMAKER: hosts("EUC1-Host:ml.c5.large")}, "eu-central-1")
    assert [(row["type"], row["usd"]) for row in region["instances"]] == [("ml.c5.large", "0.107")]
    assert region["items"] == []
    assert "no price for: budgets.budget_day" in said


def test_an_instance_with_two_prices_for_one_use_is_refused() -> None:
    two = [product("USE1-Host:ml.c5.large", ("0", usd)) for usd in ("0.1", "0.2")]
    with pytest.raises(price_list.Oddity, match=r"ml\.c5\.large has two prices for hosting"):
        rebuilt({SAGEMAKER: two})


def test_a_region_without_sagemaker_is_refused() -> None:
    with pytest.raises(price_list.Oddity, match="is that the region's name"):
        rebuilt({}, "us-esat-1")


def test_a_page_that_repeats_ends_the_fetching() -> None:
    api = Api({SAGEMAKER: hosts("USE1-Host:ml.c5.large", "USE1-Host:ml.c5.xlarge")}, token="0")
    with pytest.raises(price_list.Oddity, match="twice"):
        price_list.rebuild(DOCUMENT, "us-east-1", api, TODAY)


def test_the_file_is_unchanged_when_something_is_odd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(prices.DATA_FILE.read_bytes())
    assert price_list.main([], Api({}), path) == 1
    assert path.read_bytes() == prices.DATA_FILE.read_bytes()
    assert "prices.json is unchanged" in capsys.readouterr().err


def test_the_file_is_written_a_row_to_a_line_and_read_back_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(prices.DATA_FILE.read_bytes())
    api = Api({SAGEMAKER: hosts("EUC1-Host:ml.c5.large")})
    assert price_list.main(["--region", "eu-central-1"], api, path) == 0
    written = json.loads(path.read_text())
    assert written["regions"]["us-east-1"] == DOCUMENT["regions"]["us-east-1"]
    assert set(written["regions"]) == {"us-east-1", "eu-central-1"}
    assert len(path.read_text().splitlines()) > 100
    assert "1 instance prices fetched" in capsys.readouterr().out
    assert price_list.spelled(DOCUMENT) == prices.DATA_FILE.read_text()
    assert all(request["Filters"][0]["Value"] == "eu-central-1" for request in api.asked)
