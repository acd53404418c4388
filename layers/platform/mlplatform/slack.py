"""Posts to a Slack incoming webhook. The only network of the layer besides aws.py; standard library only.

The webhook's address is the secret: whoever has it can post. It is in no message, and no error of urllib, which holds
the address, stays attached to the errors raised here.
"""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

from mlplatform.errors import SlackError

TIMEOUT_SECONDS = 5
ATTEMPTS = 3
# Slack asks for more patience than this only under heavy flooding; then Lambda's own retry comes minutes later.
LONGEST_WAIT_SECONDS = 5.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to an address that nobody stored."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(
    webhook: str,
    text: str,
    blocks: Sequence[Mapping[str, Any]],
    *,
    sleep: Callable[[float], None] = time.sleep,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Posts one message; `text` is what notifications show.

    Waits as long as Retry-After says on 429, up to LONGEST_WAIT_SECONDS, and 1 then 2 seconds on a 5xx or a broken
    connection. Raises SlackError when the message was not taken ("Sending messages using incoming webhooks", Slack).
    """
    webhook = webhook.strip()
    parts = _checked(webhook)
    body = json.dumps({"text": _escaped(text), "blocks": list(blocks)}).encode()
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_loopback(parts):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy could not reach this machine's own address
    opener = urllib.request.build_opener(*handlers)
    problem = ""
    for attempt in range(1, ATTEMPTS + 1):
        request = urllib.request.Request(  # noqa: S310 - _checked has seen the scheme
            webhook, body, {"Content-Type": "application/json; charset=utf-8"}, method="POST"
        )
        problem, wait_seconds = _attempt(opener, request, timeout_seconds, float(attempt))
        if not problem:
            return
        if wait_seconds is None or wait_seconds > LONGEST_WAIT_SECONDS or attempt == ATTEMPTS:
            break
        sleep(wait_seconds)
    raise SlackError(f"{problem.replace(webhook, '(the webhook)')} (attempt {attempt} of {ATTEMPTS}).")


def _attempt(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float, pause: float
) -> tuple[str, float | None]:
    """What went wrong, empty if nothing did, and after how many seconds to try again; None if that is no use."""
    try:
        with opener.open(request, timeout=timeout):
            return "", None
    except urllib.error.HTTPError as answer:
        with answer:
            said = answer.read(200).decode("utf-8", "replace").strip()
        problem = f"Slack answered {answer.code}" + (f" with {said!r}" if said else "")
        if answer.code == 429:
            return f"{problem}, asking for patience", _retry_after_seconds(answer.headers.get("Retry-After"), pause)
        if answer.code >= 500:
            return problem, pause
        return f"{problem}; if the webhook was removed, store a new one with `mlp slack set`", None
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or type(error).__name__
        return f"Slack could not be reached: {reason}", pause


def _checked(webhook: str) -> SplitResult:
    problem = ""
    try:
        parts = urlsplit(webhook)
        if not parts.hostname or any(letter.isspace() for letter in webhook):
            problem = "is not an address"
        elif parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts)):
            problem = "does not begin with https://"
    except ValueError:
        problem = "is not an address"
    if problem:
        raise SlackError(f"The stored Slack webhook {problem}; store a right one with `mlp slack set`.")
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after_seconds(header: str | None, otherwise: float) -> float:
    try:
        seconds = float(header or "")
    except ValueError:
        return otherwise
    return seconds if seconds >= 0 else otherwise


def _escaped(text: str) -> str:
    """Slack reads &, < and > as its own marks ("Formatting text for app surfaces")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
