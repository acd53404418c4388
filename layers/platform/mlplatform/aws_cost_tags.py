"""Cost allocation tags in AWS: a part of Aws (aws.py), which has the calls themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform.cost_tags import KEYS
from mlplatform.decisions import ActivateCostTags
from mlplatform.errors import AwsError
from mlplatform.settings import Settings

_AT_ONCE = 20  # UpdateCostAllocationTagsStatus, Cost Explorer API reference


class CostTagCalls:
    """Mixed into Aws."""

    _settings: Settings

    def _call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _put_once(self, bucket: str, key: str, document: Mapping[str, Any]) -> bool:
        raise NotImplementedError

    def cost_tags(self) -> dict[str, bool]:
        """Of the platform's keys those that billing knows, and whether each is active. Raises AwsError."""
        known: dict[str, bool] = {}
        token: dict[str, str] = {}
        while True:
            page = self._call("ce", "list_cost_allocation_tags", TagKeys=list(KEYS), Type="UserDefined", **token)
            known |= {tag["TagKey"]: tag["Status"] == "Active" for tag in page["CostAllocationTags"]}
            if not page.get("NextToken"):
                return known
            token = {"NextToken": page["NextToken"]}

    def _activate_cost_tags(self, decision: ActivateCostTags) -> ActivateCostTags:
        for start in range(0, len(decision.keys), _AT_ONCE):
            statuses = [{"TagKey": key, "Status": "Active"} for key in decision.keys[start : start + _AT_ONCE]]
            answer = self._call("ce", "update_cost_allocation_tags_status", CostAllocationTagsStatus=statuses)
            for wrong in answer.get("Errors", []):
                what = f"{wrong.get('TagKey')}: {wrong.get('Message')}"
                raise AwsError("ce", "UpdateCostAllocationTagsStatus", str(wrong.get("Code")), what)
        if decision.done_key:
            self._put_once(
                self._settings.artifact_bucket, decision.done_key, {"decision": "ActivateCostTags", "keys": list(KEYS)}
            )
        return decision
