"""Drops of datasets in the data bucket, and the verdicts on them: a part of Aws (aws.py)."""

from __future__ import annotations

import json
from datetime import UTC

from mlplatform import names
from mlplatform.aws_calls import Calls
from mlplatform.decisions import Decision, HoldDataset, RejectDataset, Skip, StartPipeline, StartTraining, StartTuning
from mlplatform.facts import DatasetArrived, Drop, Sample, StoredObject

_HELD = "held"  # metadata of a verdict that is to be replaced: the period of the hold that it tells of
_JOB_SPEC_BYTES = 256 * 1024
_MOST_SAMPLES = 8  # a drop has at most train, validation and test; more are refused, which needs no content


class DropCalls(Calls):
    """Mixed into Aws."""

    # ---- facts ----

    def list_objects(self, prefix: str) -> tuple[StoredObject, ...]:
        """The objects of one drop, without folder markers; a prefix without a slash at its end is one key."""
        found: list[StoredObject] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("s3", "list_objects_v2", Bucket=self._settings.data_bucket, Prefix=prefix, **token)
            for entry in page.get("Contents", []):
                marker = entry["Key"].endswith("/") and entry["Size"] == 0
                if not marker and (prefix.endswith("/") or entry["Key"] == prefix):
                    written = entry["LastModified"].astimezone(UTC)
                    found.append(StoredObject(entry["Key"], entry["ETag"].strip('"'), entry["Size"], written))
            if not page.get("IsTruncated"):
                return tuple(found)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read_sample(self, stored: StoredObject, limit: int | None = None) -> Sample:
        """The beginning of one object. Raises AwsError PreconditionFailed if it is not the one that was listed."""
        from mlplatform.datasets import SAMPLE_BYTES  # only who reads drops pays for its import
        from mlplatform.parquet import PARQUET_TAIL_BYTES, is_parquet

        limit = SAMPLE_BYTES if limit is None else limit
        if stored.size_bytes == 0:
            return Sample(stored.key, b"", complete=True)
        content = self._part(stored, f"0-{limit - 1}")
        if stored.size_bytes <= limit or not is_parquet(content):
            return Sample(stored.key, content, complete=stored.size_bytes <= limit)
        return Sample(stored.key, content, complete=False, tail=self._part(stored, f"-{PARQUET_TAIL_BYTES}"))

    def _part(self, stored: StoredObject, places: str) -> bytes:
        answer = self._call(
            "s3",
            "get_object",
            Bucket=self._settings.data_bucket,
            Key=stored.key,
            Range=f"bytes={places}",
            IfMatch=stored.etag,
        )
        content: bytes = answer["Body"].read()
        return content

    def read_drop(self, arrived: DatasetArrived, objects: tuple[StoredObject, ...]) -> Drop:
        from mlplatform.datasets import data_files

        spec = next((stored for stored in objects if stored.file_name == names.JOB_SPEC_FILE), None)
        return Drop(
            dataset=arrived.dataset,
            version=names.dataset_version(objects),
            objects=objects,
            samples=tuple(self.read_sample(stored) for stored in data_files(objects)[:_MOST_SAMPLES]),
            job_json=self.read_sample(spec, _JOB_SPEC_BYTES).content if spec else None,
        )

    def verdict_exists(self, dataset: str, version: str) -> bool:
        """Whether the version has been decided upon for good; that it is held back by a ceiling is not for good."""
        key = names.verdict_key(dataset, version)
        found = self._found("s3", "head_object", Bucket=self._settings.data_bucket, Key=key)
        return found is not None and _HELD not in found.get("Metadata", {})

    # ---- decisions ----

    def _reject(self, decision: RejectDataset) -> Decision:
        # The alert first: a verdict without an alert would never be repaired, an alert twice does no harm.
        self._announce(decision)
        self._put_verdict(decision, "rejected", decision.reason, None)
        return decision

    def _put_manifest(self, decision: StartTraining | StartTuning | StartPipeline) -> None:
        key = names.manifest_key(decision.dataset, decision.version)
        self._put(self._settings.artifact_bucket, key, decision.manifest.encode())

    def _put_verdict(
        self,
        decision: StartTraining | StartTuning | StartPipeline | RejectDataset,
        verdict: str,
        reason: str,
        job_name: str | None,
    ) -> None:
        bucket, key = self._settings.data_bucket, names.verdict_key(decision.dataset, decision.version)
        document = {
            "dataset": decision.dataset,
            "version": decision.version,
            "verdict": verdict,
            "reason": reason,
            "job_name": job_name,
        }
        if isinstance(decision, StartPipeline):
            document["pipeline"] = decision.request["PipelineName"]
        if not self._put_once(bucket, key, document) and not self.verdict_exists(decision.dataset, decision.version):
            # What is there says that the version was held back, which is over.
            self._put(bucket, key, json.dumps(document, indent=2, ensure_ascii=False).encode())

    def _hold_dataset(self, decision: HoldDataset) -> Decision:
        """The verdict says which hold it is of, so that people are told once, and that it is no final one."""
        bucket, key = self._settings.data_bucket, names.verdict_key(decision.dataset, decision.version)
        found = self._found("s3", "head_object", Bucket=bucket, Key=key)
        told = found is not None and found.get("Metadata", {}).get(_HELD) == decision.period
        if not told:
            self._announce(decision)
        document = {
            "dataset": decision.dataset,
            "version": decision.version,
            "verdict": "held",
            "reason": decision.reason,
            "job_name": None,
        }
        self._call(
            "s3",
            "put_object",
            Bucket=bucket,
            Key=key,
            Body=json.dumps(document, indent=2, ensure_ascii=False).encode(),
            ContentType="application/json",
            Metadata={_HELD: decision.period},
        )
        # Written again even so: whoever drops it again looks for a verdict that is newer than the drop.
        return Skip(f"People were told already: {decision.reason}") if told else decision
