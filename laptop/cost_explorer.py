"""Cost Explorer over the laptop's bill, and cost allocation tags.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Cost_Explorer_Service.html
Amounts are texts; the end of a period is exclusive; a period with yesterday or later in it is an estimate; grouped
results have an empty Total; every answered page of a query costs 0.01 USD, which is on the next answer's bill. Unlike
on AWS the figures are there at once, and an activated tag counts for all days, as after a backfill.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from laptop import costs
from laptop.account import Account
from laptop.bill import Bill, Line
from laptop.errors import ServiceError

_COST_METRICS = {"UnblendedCost", "BlendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost"}
_FORECAST_METRICS = {"UNBLENDED_COST", "BLENDED_COST", "AMORTIZED_COST", "NET_UNBLENDED_COST", "NET_AMORTIZED_COST"}
_MONTHS_OF_HISTORY = 14


class CostExplorer:
    """The operations. `rows_per_page` counts groups, or periods without groups; AWS does not say how many it gives."""

    rows_per_page = 1000

    def __init__(self, account: Account, bill: Bill) -> None:
        self._account = account
        self._bill = bill

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        queries = {
            "GetCostAndUsage": self.cost_and_usage,
            "GetCostForecast": self.cost_forecast,
            "GetTags": self.tags,
            "GetDimensionValues": self.dimension_values,
        }
        return {
            **{name: self._charged(query) for name, query in queries.items()},
            "ListCostAllocationTags": self.list_allocation_tags,
            "UpdateCostAllocationTagsStatus": self.update_allocation_tags,
        }

    def _charged(self, query: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def charged(request: dict[str, Any]) -> dict[str, Any]:
            answer = query(request)
            self._bill.cost_explorer_request()
            return answer

        return charged

    @property
    def _today(self) -> date:
        return self._account.clock.now().date()

    # --- costs ------------------------------------------------------------------------------------------------------

    def cost_and_usage(self, request: dict[str, Any]) -> dict[str, Any]:
        start, end = self._period(request)
        granularity = request["Granularity"]
        if granularity == "HOURLY":
            raise _invalid("Hourly granularity is not enabled for this account.")
        metrics = request["Metrics"]
        for metric in metrics:
            if metric not in _COST_METRICS | {"UsageQuantity"}:
                raise _invalid(f"Invalid metric: {metric}. The laptop's bill has costs and UsageQuantity.")
        if not metrics:
            raise _invalid("At least one metric is required.")
        groups = request.get("GroupBy") or []
        if len(groups) > 2:
            raise _invalid("A request can have at most two GroupBy.")
        lines = self._filtered(request, start, end)
        results = []
        for first, last in _periods(start, end, granularity):
            within = [line for line in lines if first <= line.day < last]
            results.append(
                {
                    "TimePeriod": {"Start": first.isoformat(), "End": last.isoformat()},
                    "Total": {} if groups else _measured(within, metrics),
                    "Groups": self._grouped(within, groups, metrics),
                    # complete after about two days: https://docs.aws.amazon.com/cost-management/latest/userguide/ce-what-is.html
                    "Estimated": last > self._today - timedelta(days=1),
                }
            )
        page, more = self._page(results, request)
        defined = {"GroupDefinitions": groups} if groups else {}
        return {"ResultsByTime": page, "DimensionValueAttributes": [], **defined, **more}

    def _period(self, request: Mapping[str, Any]) -> tuple[date, date]:
        """TimePeriod of a question about the past. Raises ServiceError in AWS's words where they are known."""
        start, end = _dates(request)
        if start >= end:
            raise _invalid("Start date (and hour) should be before end date (and hour)")
        if end > costs.first_of_next_month(self._today):
            raise _invalid("end date past the beginning of next month")
        oldest = self._today.replace(day=1)
        for _ in range(_MONTHS_OF_HISTORY):
            oldest = (oldest - timedelta(days=1)).replace(day=1)
        if start < oldest:
            raise _invalid(
                "You haven't enabled historical data beyond 14 months. Open the Cost Explorer preferences to enable it."
            )
        return start, end

    def _filtered(self, request: Mapping[str, Any], start: date, end: date) -> list[Line]:
        lines = [line for line in self._bill.lines() if start <= line.day < end]
        if not (expression := request.get("Filter")):
            return lines
        active = self._bill.active_tags()
        try:
            # asked once even without lines, so that a bad expression is refused on an empty bill too
            costs.matches(expression, Line(start, "", "", Decimal(0)), active)
            return [line for line in lines if costs.matches(expression, line, active)]
        except costs.BadFilter as error:
            raise _invalid(str(error)) from error

    def _grouped(
        self, lines: Iterable[Line], groups: Sequence[Mapping[str, str]], metrics: Sequence[str]
    ) -> list[dict[str, Any]]:
        if not groups:
            return []
        found: dict[tuple[str, ...], list[Line]] = {}
        for line in lines:
            found.setdefault(tuple(self._key(line, group) for group in groups), []).append(line)
        return [{"Keys": list(keys), "Metrics": _measured(within, metrics)} for keys, within in sorted(found.items())]

    def _key(self, line: Line, group: Mapping[str, str]) -> str:
        key = group.get("Key", "")
        match group.get("Type"):
            case "DIMENSION":
                try:
                    return costs.dimension(line, key)
                except costs.BadFilter as error:
                    raise _invalid(str(error)) from error
            case "TAG":
                return f"{key}${costs.tag(line, key, self._bill.active_tags())}"
            case other:
                raise _invalid(f"The laptop's bill has no groups of the type {other}.")

    def _page(
        self, results: list[dict[str, Any]], request: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """One page, cut between groups, and the token of the next. Raises ServiceError for a token of another query."""
        query = hashlib.sha256(
            json.dumps({**request, "NextPageToken": None}, sort_keys=True, default=str).encode()
        ).hexdigest()[:16]
        start = _offset(request.get("NextPageToken"), query)
        page: list[dict[str, Any]] = []
        row = 0
        for result in results:
            groups = result["Groups"]
            rows = max(len(groups), 1)
            first, last = max(start - row, 0), min(start + self.rows_per_page - row, rows)
            if first < last:
                page.append({**result, "Groups": groups[first:last]})
            row += rows
        if row > start + self.rows_per_page:
            token = json.dumps([start + self.rows_per_page, query])
            return page, {"NextPageToken": base64.urlsafe_b64encode(token.encode()).decode()}
        return page, {}

    def cost_forecast(self, request: dict[str, Any]) -> dict[str, Any]:
        """From today on: the reference wants a start "equal to or no later than the current date", and a forecast is
        of what is to come."""
        start, end = _dates(request)
        if start >= end:
            raise _invalid(f"Requested Start: {start} must be before requested End: {end}")
        if start != self._today:
            raise _invalid(f"Start date should be equal to the current date {self._today}")
        if request["Metric"] not in _FORECAST_METRICS:
            raise _invalid(f"The laptop forecasts costs, not {request['Metric']}.")
        granularity = request["Granularity"]
        longest = {"DAILY": 93, "MONTHLY": 366}.get(granularity)  # three and twelve months, by the reference
        if longest is None or (end - start).days > longest:
            raise _invalid(f"A {granularity} forecast does not reach to {end}.")
        lines = self._filtered(request, date.min, self._today)
        expected = costs.forecast(lines, self._today)
        if expected is None:
            raise ServiceError("DataUnavailableException", "Insufficient amount of historical data.")
        level = request.get("PredictionIntervalLevel", 80)

        def result(first: date, last: date) -> dict[str, Any]:
            mean, low, high = expected.over((last - first).days, level)
            return {
                "TimePeriod": {"Start": first.isoformat(), "End": last.isoformat()},
                "MeanValue": costs.plain(_rounded(mean)),
                "PredictionIntervalLowerBound": costs.plain(_rounded(low)),
                "PredictionIntervalUpperBound": costs.plain(_rounded(high)),
            }

        mean, _, _ = expected.over((end - start).days, level)
        return {
            "Total": {"Amount": costs.plain(_rounded(mean)), "Unit": "USD"},
            "ForecastResultsByTime": [result(first, last) for first, last in _periods(start, end, granularity)],
        }

    # --- values -----------------------------------------------------------------------------------------------------

    def tags(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = self._filtered(request, *self._period(request))
        active = self._bill.active_tags()
        key = request.get("TagKey")
        if key is None:
            found = {name for line in lines for name, _ in line.tags if name in active}
        else:
            found = {costs.tag(line, key, active) for line in lines}
        return self._values("Tags", found, request, lambda value: value)

    def dimension_values(self, request: dict[str, Any]) -> dict[str, Any]:
        lines = self._filtered(request, *self._period(request))
        try:
            found = {costs.dimension(line, request["Dimension"]) for line in lines}
        except costs.BadFilter as error:
            raise _invalid(str(error)) from error
        return self._values("DimensionValues", found, request, lambda value: {"Value": value, "Attributes": {}})

    @staticmethod
    def _values(
        member: str, found: Iterable[str], request: Mapping[str, Any], shown: Callable[[str], Any]
    ) -> dict[str, Any]:
        searched = request.get("SearchString", "")
        values = sorted(value for value in found if searched in value)
        start = _offset(request.get("NextPageToken"), member)
        end = start + int(request.get("MaxResults", 1000))
        more = {}
        if end < len(values):
            more = {"NextPageToken": base64.urlsafe_b64encode(json.dumps([end, member]).encode()).decode()}
        page = values[start:end]
        return {member: [shown(value) for value in page], "ReturnSize": len(page), "TotalSize": len(values), **more}

    # --- cost allocation tags ---------------------------------------------------------------------------------------

    def list_allocation_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        """Keys are known from the bill: a tag shows up here after something with it has cost something."""
        last_used: dict[str, date] = {}
        for line in self._bill.lines():
            for key, _ in line.tags:
                last_used[key] = max(line.day, last_used.get(key, line.day))
        rows = []
        for key, day in sorted(last_used.items()):
            updated = self._bill.tag_updates.get(key)
            row = {
                "TagKey": key,
                "Type": "UserDefined",
                "Status": "Active" if updated and updated[0] else "Inactive",
                "LastUsedDate": f"{day.isoformat()}T00:00:00Z",
            }
            if updated:
                row["LastUpdatedDate"] = updated[1].strftime("%Y-%m-%dT%H:%M:%SZ")
            rows.append(row)
        rows = [
            row
            for row in rows
            if request.get("Status", row["Status"]) == row["Status"]
            and request.get("Type", row["Type"]) == row["Type"]
            and row["TagKey"] in (request.get("TagKeys") or [row["TagKey"]])
        ]
        start = _offset(request.get("NextToken"), "CostAllocationTags")
        end = start + int(request.get("MaxResults", 1000))
        answer: dict[str, Any] = {"CostAllocationTags": rows[start:end]}
        if end < len(rows):
            token = json.dumps([end, "CostAllocationTags"])
            answer["NextToken"] = base64.urlsafe_b64encode(token.encode()).decode()
        return answer

    def update_allocation_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        """All or none. AWS knows a key once something with it was billed, and refuses it before: on the first day of
        an account's tags this call fails."""
        wanted = {entry["TagKey"]: entry["Status"] == "Active" for entry in request["CostAllocationTagsStatus"]}
        if not 1 <= len(wanted) <= 20:
            raise _invalid("Between 1 and 20 cost allocation tags can be updated at once.")
        known = {key for line in self._bill.lines() for key, _ in line.tags}
        if missing := [key for key in wanted if key not in known]:
            raise _invalid(f"Failed to update Cost Allocation Tag: Tag keys not found: {','.join(missing)}")
        self._bill.set_tags_active(wanted)
        return {"Errors": []}


def _measured(lines: Sequence[Line], metrics: Sequence[str]) -> dict[str, dict[str, str]]:
    """Nothing was reserved and no discount was bargained for, so all costs are the unblended ones."""
    usd = {"Amount": costs.plain(costs.total(lines)), "Unit": "USD"}
    quantity = {"Amount": costs.plain(_rounded(sum((line.quantity for line in lines), Decimal(0)))), "Unit": "N/A"}
    return {metric: quantity if metric == "UsageQuantity" else usd for metric in metrics}


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.0000000001"))


def _dates(request: Mapping[str, Any]) -> tuple[date, date]:
    period = request["TimePeriod"]
    try:
        return date.fromisoformat(period["Start"][:10]), date.fromisoformat(period["End"][:10])
    except ValueError as error:
        raise _invalid(f"TimePeriod is not valid: {error}") from error


def _periods(start: date, end: date, granularity: str) -> list[tuple[date, date]]:
    periods = []
    while start < end:
        following = start + timedelta(days=1) if granularity == "DAILY" else costs.first_of_next_month(start)
        periods.append((start, min(following, end)))
        start = following
    return periods


def _offset(token: str | None, query: str) -> int:
    """Where a page begins. Raises ServiceError for a token that was not given out, or for another query."""
    if token is None:
        return 0
    try:
        offset, of = json.loads(base64.urlsafe_b64decode(token.encode()))
        start = int(offset)
    except (binascii.Error, ValueError, TypeError):
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.") from None
    if of != query:
        raise ServiceError(
            "RequestChangedException", "Your request parameters changed between pages. Try again with the old ones."
        )
    return start


def _invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def install(account: Account) -> CostExplorer:
    """Needs the bill."""
    assert isinstance(account.bill, Bill)
    explorer = CostExplorer(account, account.bill)
    account.operations.setdefault("ce", {}).update(explorer.operations())
    return explorer
