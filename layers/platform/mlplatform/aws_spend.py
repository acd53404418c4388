"""What the meter reads and keeps: a part of Aws (aws.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from mlplatform import holds, ledger
from mlplatform.aws_calls import Calls
from mlplatform.decisions import Decision, HoldLaunches, LiftHold, RecordSaving, RecordSpend, Skip
from mlplatform.facts import Hold, Saving, SpendFacts, SpendMonth


class SpendCalls(Calls):
    """Mixed into Aws."""

    # ---- facts ----

    def spend_facts(self, now: datetime) -> SpendFacts:
        """What a tick of the meter knows at `now`. Raises AwsError, and ValueError for an object that is damaged."""
        from mlplatform import aws_runs, spend  # the meter alone pays for their import

        this = holds.month_of(now)
        month, previous = self._month(this), None
        if month is None:
            month = SpendMonth(this)
            previous = self._month(holds.previous_month(this))
        since = min(spend.changed_since(one) for one in (month, previous) if one is not None)
        if previous is not None:
            month = replace(month, configs=previous.configs)
        runs, month = aws_runs.read_runs(self._call, self._settings.stack_name, month, since, now)
        return SpendFacts(now, month, previous, runs, self.hold(), self._resumed())

    def hold(self) -> Hold | None:
        """The hold on launches, whether its period is over or not. Raises AwsError."""
        found = self._document(holds.HOLD_KEY)
        return None if found is None else holds.read_hold(found)

    def savings(self, at: datetime) -> Iterator[Saving]:
        """The ledger's entries of a moment's month. Raises AwsError, and ValueError for one that is damaged."""
        token: dict[str, str] = {}
        bucket = self._settings.artifact_bucket
        while True:
            page = self._call("s3", "list_objects_v2", Bucket=bucket, Prefix=ledger.month_prefix(at), **token)
            for entry in page.get("Contents", []):
                yield ledger.parse(self._call("s3", "get_object", Bucket=bucket, Key=entry["Key"])["Body"].read())
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _month(self, month: str) -> SpendMonth | None:
        from mlplatform import spend  # as above

        found = self._document(spend.month_key(month))
        return None if found is None else spend.read_month(found)

    def _resumed(self) -> frozenset[str]:
        return frozenset((self._document(holds.RESUMED_KEY) or {}).get("periods", ()))

    def _document(self, key: str) -> dict[str, Any] | None:
        found = self._found("s3", "get_object", Bucket=self._settings.artifact_bucket, Key=key)
        return None if found is None else json.loads(found["Body"].read())

    # ---- decisions ----

    def _put_saving(self, saving: Saving) -> bool:
        """Whether it was new."""
        return self._put_once(self._settings.artifact_bucket, ledger.object_key(saving), ledger.document(saving))

    def _record_saving(self, decision: RecordSaving) -> Decision:
        if self._put_saving(decision.saving):
            return decision
        return Skip(f"The ledger has it already: {decision.reason}")

    def _record_spend(self, decision: RecordSpend) -> Decision:
        self._put(self._settings.artifact_bucket, decision.key, json.dumps(decision.document).encode())
        for metrics in decision.metrics:
            self._call("cloudwatch", "put_metric_data", **metrics)
        return decision

    def _hold_launches(self, decision: HoldLaunches) -> Decision:
        # People first: a hold that nobody hears of would not be told again, a message twice does no harm.
        self._announce(decision)
        document = json.dumps(holds.hold_document(decision.hold)).encode()
        self._put(self._settings.artifact_bucket, holds.HOLD_KEY, document)
        return decision

    def _lift_hold(self, decision: LiftHold) -> Decision:
        self._announce(decision)
        self._call("s3", "delete_object", Bucket=self._settings.artifact_bucket, Key=holds.HOLD_KEY)
        return decision
