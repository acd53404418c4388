"""Cost allocation tags in AWS: a part of Aws (aws.py)."""

from __future__ import annotations

from mlplatform.aws_calls import Calls
from mlplatform.cost_tags import KEYS
from mlplatform.decisions import ActivateCostTags
from mlplatform.errors import AwsError

_AT_ONCE = 20  # UpdateCostAllocationTagsStatus, Cost Explorer API reference


class CostTagCalls(Calls):
    """Mixed into Aws."""

    def cost_tags(self) -> dict[str, bool]:
        """Of the platform's keys those that billing knows, and whether each is active. Raises AwsError."""
        pages = self._pages("ce", "list_cost_allocation_tags", TagKeys=list(KEYS), Type="UserDefined")
        return {tag["TagKey"]: tag["Status"] == "Active" for page in pages for tag in page["CostAllocationTags"]}

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
