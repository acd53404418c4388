"""The stack is being deleted: what its functions made is ended first, so that nothing billable outlives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mlplatform import custom_resource
from mlplatform.app import App, live_app
from mlplatform.custom_resource import Answer, Request
from mlplatform.decisions import Decision, Skip
from mlplatform.errors import AwsError, TryAgain
from mlplatform.observability import decided, logger, observed
from mlplatform.teardown import plan_teardown, said

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)  # then the last one again and again: an endpoint takes minutes to go
_RESERVE_SECONDS = 60.0  # of the function's time, to end a pass and say what is left
# A stack goes in these states; in any other the resource was only taken out of the template, and everything runs on.
_GOING = frozenset({"DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_FAILED"})


@observed
def handler(event: Mapping[str, Any], context: Any) -> list[dict[str, str]]:
    """CloudFormation's request. What takes longer than a function may run is gone on with by Lambda's next attempt."""
    request = custom_resource.request(event)
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS
    try:
        done = at_deletion(live_app(), request, until)
        answer = Answer(custom_resource.physical_id(request), True, done[-1].reason)
    except TryAgain:
        raise
    except Exception as failure:  # told to CloudFormation, which keeps the stack and shows this reason
        logger().exception("The teardown could not be finished")
        done = [Skip(f"{type(failure).__name__}: {failure}")]
        answer = Answer(custom_resource.physical_id(request), False, done[-1].reason)
    custom_resource.send(request, answer)
    return [decided(one) for one in done]


def at_deletion(app: App, request: Request, until: float) -> list[Decision]:
    """Ends everything, if it is the stack that goes. `until` is a moment of time.monotonic()."""
    if request.kind != "Delete":
        return [Skip("What the functions make is ended when the stack goes, and not before.")]
    status = app.aws.stack_status(request.stack_id)
    if status not in _GOING:
        return [Skip(f"The stack is {status} and lives on, so everything that it made does, too.")]
    return tear_down(app, until)


def tear_down(app: App, until: float, sleep: Callable[[float], None] = time.sleep) -> list[Decision]:
    """Pass after pass until nothing is left. Raises TryAgain when the time is over before that, and AwsError when AWS
    refuses everything that a pass wanted to do."""
    done: list[Decision] = []
    pauses = 0
    while True:
        owned = app.aws.owned()
        if not owned:
            return [*done, Skip("Nothing that the functions made is left.")]
        if time.monotonic() > until:
            raise TryAgain(f"The time is over, and {said(owned)} are left; the next attempt goes on.")
        step = plan_teardown(owned, app.settings.stack_name)
        ended, refused = 0, None
        for decision in step.ends:
            try:
                done.append(app.aws.apply(decision))
                ended += 1
            except AwsError as error:
                refused = error  # the others may go, and the next pass finds this one again
        if refused is not None and not ended and not step.waiting:
            raise refused
        if step.waiting or refused is not None:
            sleep(_PAUSES_SECONDS[min(pauses, len(_PAUSES_SECONDS) - 1)])
            pauses += 1
