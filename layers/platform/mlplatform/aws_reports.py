"""What the morning's report is made of, and the report: a part of Aws (aws.py)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mlplatform import names
from mlplatform.aws_calls import Calls
from mlplatform.decisions import Decision, ReportCosts
from mlplatform.facts import CostFacts

if TYPE_CHECKING:
    from mlplatform.recommendations import AdviceFacts


class ReportCalls(Calls):
    """Mixed into Aws."""

    # ---- facts ----

    def cost_facts(self, now: datetime, *, fresh: bool = False) -> CostFacts:
        """What the report of the morning `now` is made of; raises no AwsError for what it can do without."""
        from mlplatform import aws_costs  # the report alone pays for its import

        return aws_costs.read_facts(self._call, self._settings, now, fresh=fresh)

    def advice_facts(self, now: datetime) -> AdviceFacts:
        """What the account has, for recommendations; what could not be read is in its `missing`."""
        from mlplatform.aws_advice import read_advice_facts  # as above

        return read_advice_facts(
            self._call,
            stack=self._settings.stack_name,
            region=self._settings.aws_region,
            now=now,
            office_hours=self._settings.office_hours,
            time_zone=self._settings.time_zone,
        )

    def artifact_link(self, key: str) -> str:
        """Where a person with access to the account finds an object in a browser; the link itself gives no access."""
        address = str(self._client("s3").meta.endpoint_url)
        return names.console_link(address, self._settings.artifact_bucket, self._settings.aws_region, key)

    # ---- decisions ----

    def _report_costs(self, decision: ReportCosts) -> Decision:
        """The numbers are written last: they mark the report as made and told."""
        bucket = self._settings.artifact_bucket
        self._put(bucket, decision.page_key, decision.page.encode(), "text/html; charset=utf-8")
        self._announce(decision)
        self._put(bucket, decision.numbers_key, decision.numbers.encode())
        return decision
