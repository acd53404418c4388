"""Powertools' Logger, Metrics and Tracer, made on first use, and one decorator for every handler."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

from mlplatform.decisions import Decision

Handler = Callable[[Mapping[str, Any], Any], Any]


@cache
def logger() -> Logger:
    return Logger()


@cache
def metrics() -> Metrics:
    return Metrics()


@cache
def tracer() -> Tracer:
    """Traces only where there is a daemon to send to: Lambda says where by AWS_XRAY_DAEMON_ADDRESS, others do not."""
    return Tracer(auto_patch=False, disabled=None if "AWS_XRAY_DAEMON_ADDRESS" in os.environ else True)


# What a decision is about, of its own members; saved queries of Logs Insights (template.yaml) find it by these.
ABOUT = ("dataset", "version", "job_name", "endpoint_name")


def decided(decision: Decision) -> dict[str, str]:
    """Logs and counts a decision; returns it as functions answer."""
    kind = type(decision).__name__
    about = {key: value for key in ABOUT if (value := getattr(decision, key, None))}
    logger().info(decision.reason, extra={"decision": kind, **about})
    counted(kind)
    return {"decision": kind, "reason": decision.reason}


def counted(what: str, times: int = 1) -> None:
    """A metric of the stack, in the namespace and with the dimension that Powertools reads from the environment."""
    metrics().add_metric(name=what, unit=MetricUnit.Count, value=times)


def observed(handler: Handler) -> Handler:
    """A handler with the invocation's id in its logs, its metrics flushed, and its trace. Errors still leave it."""

    @cache
    def decorated() -> Any:
        inner = metrics().log_metrics(tracer().capture_lambda_handler(handler, capture_response=False))
        return logger().inject_lambda_context(inner)

    @wraps(handler)
    def run(event: Mapping[str, Any], context: Any) -> Any:
        try:
            return decorated()(event, context)
        except Exception:
            logger().exception("The function failed")
            raise

    return run
