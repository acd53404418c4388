"""What leaves the platform for people: e-mails of topic subscriptions, and Slack messages to the laptop's webhook."""

from __future__ import annotations

import threading
from typing import Any

from laptop.account import Account
from laptop.errors import ServiceError

KEPT = 2_000


class Inbox:
    """`{"channel", "subject", "text", "blocks", "at"}` per message, newest last."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()
        self._messages: list[dict[str, Any]] = []

    def add(self, channel: str, text: str, *, subject: str | None = None, blocks: Any = None, to: str = "") -> None:
        """One more message; `channel` is "slack" or "email"."""
        at = self._account.clock.now().isoformat()
        message = {"channel": channel, "subject": subject, "text": text, "blocks": blocks, "at": at}
        if to:
            message["to"] = to
        with self._lock:
            self._messages.append(message)
            del self._messages[:-KEPT]

    def messages(self) -> list[dict[str, Any]]:
        """Oldest first."""
        with self._lock:
            return list(self._messages)

    def slack(self, payload: dict[str, Any]) -> dict[str, Any]:
        """An incoming webhook, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/

        Raises ServiceError as Slack does for a payload without text, blocks and attachments.
        """
        if not any(payload.get(member) for member in ("text", "blocks", "attachments")):
            raise ServiceError("no_text", "no_text")
        self.add("slack", payload.get("text", ""), blocks=payload.get("blocks"))
        return {"ok": True}


def install(account: Account) -> None:
    """Routes, and the e-mail protocol of SNS. Comes after laptop/lambda_api.py, which replaces the same method."""
    inbox = Inbox(account)
    account.inbox = inbox
    account.routes["GET /_laptop/inbox"] = lambda _: inbox.messages()
    account.routes["POST /_laptop/slack"] = inbox.slack

    from moto.sns.models import Subscription

    publish_elsewhere = Subscription.publish

    def publish(
        subscription: Any, message: str, message_id: str, subject: str | None = None, *rest: Any, **named: Any
    ) -> None:
        if subscription.protocol not in {"email", "email-json"}:
            publish_elsewhere(subscription, message, message_id, subject, *rest, **named)
            return
        matcher = subscription._filter_policy_matcher
        attributes = rest[0] if rest else named.get("message_attributes")
        if matcher is not None and not matcher.matches(attributes, message):
            return
        structure = rest[3] if len(rest) > 3 else named.get("message_structure")
        if structure == "json":
            message = subscription._parse_message_structure(message, subscription.protocol)
        # Nobody clicks on a confirmation here, so an address counts as confirmed.
        inbox.add("email", message, subject=subject or "AWS Notification Message", to=subscription.endpoint)

    setattr(Subscription, "publish", publish)  # noqa: B010
