"""Endpoints are asked for the prediction that their model's card holds: a part of Aws (aws.py)."""

from __future__ import annotations

import json
import time
from typing import Any

from mlplatform import names
from mlplatform.aws_calls import Calls
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, Endpoint, HostingKind, Prediction, Unasked
from mlplatform.model_card import compare_prediction, model_version
from mlplatform.sleeping import asleep

_UPDATE_ATTEMPTS = 60  # a canary of a tenth is missed by all of them once in 500 times, and there is a second look
_QUEUE_ATTEMPTS = 30  # a second each
_UPDATE_SECONDS = 30.0  # of a function's minute; what is slower than that rings the alarm for latency


class SmokeTestCalls(Calls):
    """Mixed into Aws."""

    def smoke_test(self, endpoint: Endpoint, sample_json: bytes) -> Prediction | Unasked:
        """Asks for the prediction of sample.json; what the model itself refuses is an answer, and no error.

        What sleeps is not woken: every scaling ends in an event that comes here, so that it would never sleep again.
        """
        why = asleep(endpoint)
        if why:
            return Unasked(why)
        if endpoint.kind is HostingKind.ASYNCHRONOUS:
            return self._smoke_test_queue(endpoint, sample_json)
        try:
            return compare_prediction(sample_json, *self._asked(endpoint, sample_json))
        except AwsError as error:
            if error.code == "ModelError":
                return Prediction(False, f"the model refused it: {error.aws_message}")
            raise

    def smoke_test_update(self, endpoint: Endpoint, model: str, sample_json: bytes) -> Prediction | None:
        """What a model answers that gets a part of the traffic; None where none of the answers was its own.

        Nothing in a request chooses the fleet of an update, but an answer says which model made it. What fails is left
        to the alarms, which count it.
        """
        last = time.monotonic() + _UPDATE_SECONDS
        for _ in range(_UPDATE_ATTEMPTS):
            if time.monotonic() > last:
                break
            try:
                status, content = self._asked(endpoint, sample_json)
            except AwsError as error:
                if error.code not in {"ModelError", "ServiceUnavailable"}:
                    raise
                continue
            if model_version(content) == model:
                return compare_prediction(sample_json, status, content)
        return None

    def _smoke_test_queue(self, endpoint: Endpoint, sample_json: bytes) -> Prediction | Unasked:
        """The same through S3 and the queue. Others may be before it, so that no answer in time proves nothing."""
        bucket = self._settings.artifact_bucket
        key = f"{names.queue_prefix(endpoint.tags[DATASET_TAG], 'inputs')}smoke-test.json"
        self._put(bucket, key, json.dumps(json.loads(sample_json)["request"]).encode())
        queued = self._call(
            "sagemaker-runtime",
            "invoke_endpoint_async",
            EndpointName=endpoint.name,
            ContentType="application/json",
            Accept="application/json",
            InputLocation=f"s3://{bucket}/{key}",
        )
        answer, failure = (queued[one].removeprefix(f"s3://{bucket}/") for one in ("OutputLocation", "FailureLocation"))
        for _ in range(_QUEUE_ATTEMPTS):
            for location, wrong in ((answer, ""), (failure, "the model refused it: ")):
                if self._object_exists(bucket, location):
                    content = self._call("s3", "get_object", Bucket=bucket, Key=location)["Body"].read()
                    if wrong:
                        return Prediction(False, f"{wrong}{content[:500].decode(errors='replace')}")
                    return compare_prediction(sample_json, 200, content)
            self._sleep(1.0)
        return Unasked(f"its queue has not come to the stored row within {_QUEUE_ATTEMPTS} seconds")

    def _asked(self, endpoint: Endpoint, sample_json: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to a sample's request: of several variants, the named one's.

        TargetVariant goes before the weights ("Testing models with production variants", SageMaker developer guide).
        """
        request: dict[str, Any] = {"EndpointName": endpoint.name}
        if len(endpoint.variants) > 1:
            request["TargetVariant"] = endpoint.variant_name
        answer = self._call(
            "sagemaker-runtime",
            "invoke_endpoint",
            **request,
            ContentType="application/json",
            Accept="application/json",
            Body=json.dumps(json.loads(sample_json)["request"]).encode(),
            **({"InferenceComponentName": endpoint.name} if endpoint.component else {}),
        )
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()
