"""SQS event source mappings: a queue's messages, handed to a function in batches as Lambda's own pollers do."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.functions import LambdaFunctions, lambda_backend, parsed

POLL_SECONDS = 0.05


class SqsPoller:
    """Feeds a function from a queue for as long as the mapping exists and is enabled.

    Batches, partial batch responses and the messages' shape: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html.
    The queue's visibility timeout and redrive policy are moto's. The function's role must allow sqs:ReceiveMessage,
    sqs:DeleteMessage and sqs:GetQueueAttributes, as in AWS.
    """

    def __init__(self, account: Account, functions: LambdaFunctions, mapping: Any) -> None:
        self._account = account
        self._functions = functions
        self._mapping = mapping
        self._stopped = threading.Event()
        self._refused = ""
        threading.Thread(target=self._poll, daemon=True, name="lambda-sqs").start()

    def stop(self) -> None:
        self._stopped.set()

    def _poll(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            mapping = self._mapping
            if lambda_backend().get_event_source_mapping(mapping.uuid) is not mapping:
                return
            try:
                if mapping.enabled:
                    self._poll_once()
            except Exception as error:
                if str(error) != self._refused and not self._stopped.is_set():
                    self._refused = str(error)
                    self._account.journal.record(
                        "refused", source=mapping.event_source_arn, target=mapping.function_arn, reason=str(error)
                    )
                self._stopped.wait(1.0)

    def _poll_once(self) -> None:
        from moto.sqs.models import sqs_backends

        arn = self._mapping.event_source_arn
        sqs = sqs_backends[ACCOUNT_ID][REGION]
        name = arn.split(":")[-1]
        queue = sqs.queues.get(name)
        if queue is None or not queue.messages:
            return
        role = self._functions.find(self._mapping.function_arn).role
        for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"):
            self._account.identities.assert_allowed(role, action, arn)
        visible_again = getattr(queue, "visibility_timeout", None)
        window = float(self._mapping.max_batch_window or 0)
        until = time.monotonic() + window
        size = int(self._mapping.batch_size)
        messages: list[Any] = []
        while True:
            # One receive call never returns more than ten messages.
            messages += sqs.receive_message(name, min(10, size - len(messages)), 0, int(visible_again or 0), ["All"])
            if len(messages) >= size or time.monotonic() >= until or self._stopped.wait(POLL_SECONDS):
                break
        if not messages:
            return
        event = {"Records": [_sqs_record(message, arn) for message in messages]}
        payload, error = self._functions.invoke(self._mapping.function_arn, json.dumps(event).encode())
        failed = {message.id for message in messages} if error else self._failures(payload, messages)
        for message in messages:
            if message.id not in failed:
                with contextlib.suppress(Exception):  # its visibility timeout has passed: it will come again
                    sqs.delete_message(name, message.receipt_handle)
        self._refused = ""

    def _failures(self, payload: bytes, messages: list[Any]) -> set[str]:
        """Which messages stay. A malformed batchItemFailures means all of them, as AWS documents."""
        if "ReportBatchItemFailures" not in (self._mapping.function_response_types or ()):
            return set()
        everything = {message.id for message in messages}
        answer = parsed(payload)
        if answer is None or answer in ("", {}):
            return set()
        failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
        if isinstance(answer, dict) and not failures:
            return set()
        try:
            named = {failure["itemIdentifier"] for failure in failures or ()}
        except (TypeError, KeyError):
            return everything
        return named if named and named <= everything else everything


def _sqs_record(message: Any, queue_arn: str) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    for name, value in (
        ("MessageGroupId", message.group_id),
        ("MessageDeduplicationId", message.deduplication_id),
        ("SequenceNumber", message.sequence_number),
    ):
        if value is not None:
            attributes[name] = str(value)
    own = {}
    for name, value in message.message_attributes.items():
        shown: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
        if value.get("StringValue") is not None:
            shown["stringValue"] = value["StringValue"]
        if value.get("BinaryValue") is not None:
            binary = value["BinaryValue"]
            shown["binaryValue"] = base64.b64encode(binary).decode() if isinstance(binary, bytes) else binary
        own[name] = shown
    return {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": own,
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }
