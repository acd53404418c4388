"""Finds what every crash of a function comes to: `python explorer.py`, asked by test_crashes.py, a scenario a line.

The function runs once, and the process that it runs in is forked at each of its calls:

- in one child the call fails, after all of botocore's attempts, and the function does about it what it does;
- in another, forked when the call has taken effect, nothing of the function ever runs again: it was killed;
- where the call may change the account, it takes effect in a third one, and fails all the same: its answer was lost.

Each child goes on as AWS would. It delivers the event again, at most twice as Lambda does: once before anything else
happens in the account, once after all that was under way has ended. Then the next tick comes where there is one, and
the child tells how the account that came of it differs from the undisturbed one. Another child tears the half-made
account down in place of that.

What comes of a crash depends on the account alone, for a function keeps nothing between events. So where nothing was
written since the crash before, or by a function that ended with the error, the account is the same, and so are the
findings: they are not found again.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from scenarios import SCENARIOS, Scenario
from standing_account import CLIENTS, Answer, Carry, StandingAccount, in_short, is_write, through

from laptop import aws_request
from laptop.aws_request import HttpRequest
from laptop.errors import ServiceError
from mlplatform.errors import PlatformError
from tear_down import tear_down

DELIVERIES = 3  # Lambda tries an asynchronous event again twice
_MOST_SHOWN = 6
Findings = dict[str, Any]


class Explorer:
    """One scenario, in a process of its own."""

    def __init__(self, account: StandingAccount, scenario: Scenario) -> None:
        self.account, self.scenario = account, scenario
        account.settings = dataclasses.replace(account.settings, **scenario.settings)
        self.event = scenario.prepare(account)
        account.bus.waiting.clear()
        account.sent.clear()
        account.applied.clear()
        self.decided: list[str] = []  # what the function has answered, by its classes
        self.calls: list[str] = []
        self.cases: list[Findings] = []
        self._expected: tuple[Mapping[str, Any], Counter[Any]] = {}, Counter()
        self._latest: Findings = {}  # of the account as the last write left it
        self._failing: int | None = None  # in a child whose function runs on after a failure: where it tells its end
        self._written = 0  # since that failure
        self._torn = account.aws.home / f"torn-{scenario.function}-{scenario.branch}"

    def warm_up(self) -> None:
        self._delivered(DELIVERIES)
        self._differences(trouble=False)
        self._torn_down()

    def explore(self) -> Findings:
        undisturbed = _forked(self._undisturbed)
        if undisturbed.get("problems"):
            return undisturbed
        self._expected = undisturbed["account"], Counter(map(tuple, undisturbed["sent"]))
        self._latest = _forked(self._killed)
        self.account.between = self._call
        for _ in range(DELIVERIES):
            failure = self._deliver()
            if self._failing is not None:
                _end(self._failing, lambda: self._after_failure(failure))  # noqa: B023 - it is called at once
            if failure is None:
                break
            self.account.between = through
            self._meanwhile()
            self.account.between = self._call
        return {"calls": self.calls, "cases": self.cases, "decided": undisturbed["decided"]}

    def _deliver(self) -> Exception | None:
        try:
            done = self.scenario.deliver(self.account, self.account.app(), self.event)
        except Exception as error:  # told, and judged by its kind
            return error
        self.decided += [type(one).__name__ for one in (done if isinstance(done, list) else [done])]
        return None

    def _meanwhile(self) -> None:
        self.account.later(minutes=1)
        self.account.go_on()

    def _undisturbed(self) -> Findings:
        problems = self._delivered(DELIVERIES)
        sent = list(self.account.sent)
        decided = [*self.account.applied, *self.decided]
        return {"problems": problems, "account": self.account.describe(), "sent": sent, "decided": decided}

    def _delivered(self, deliveries: int) -> list[str]:
        """Delivers the event until it is taken, lets all settle, and has the next tick come; what went wrong."""
        failure: Exception | None = None
        for _ in range(deliveries):
            failure = self._deliver()
            if failure is None:
                break
            if not isinstance(failure, PlatformError):
                return [_traced(failure)]
            self._meanwhile()
        if failure is not None:
            return [f"it still fails when its event comes for the last time: {failure}"]
        try:
            self.scenario.settle(self.account)
            if self.scenario.tick is not None:
                self.scenario.tick(self.account, self.account.app(), self.event)
                self.scenario.settle(self.account)
        except Exception as error:  # told
            return [_traced(error)]
        return []

    # ---- at each call ----

    def _call(self, service: str, operation: str, request: HttpRequest, carry: Carry) -> Answer:
        case = {"number": len(self.calls), "call": f"{service}.{operation}"}
        self.calls.append(case["call"])
        if self._in_child({**case, "mode": "fails"}):
            return refusal(request)
        answer = carry(request)
        if is_write(operation):
            self._latest = _forked(self._killed)
        self.cases.append({**case, "mode": "killed after", **self._latest})
        if is_write(operation) and self._in_child({**case, "mode": "answer lost"}):
            return refusal(request)
        return answer

    def _in_child(self, case: Findings) -> bool:
        """True in a child, whose function runs on after a failure; in its parent, the case is known with that."""
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            self._failing = write
            self.account.between = self._counted
            return True
        os.close(write)
        told = _read(read, child)
        self.cases.append({**case, **(self._latest if told.get("nothing written") else told)})
        return False

    def _counted(self, _service: str, operation: str, request: HttpRequest, carry: Carry) -> Answer:
        self._written += is_write(operation)
        return carry(request)

    def _after_failure(self, failure: Exception | None) -> Findings:
        """The function has ended, with its error or in spite of it."""
        if failure is not None and not isinstance(failure, PlatformError):
            return {"problems": [_traced(failure)]}
        if failure is not None and not self._written:
            return {"nothing written": True}
        return self._findings(deliveries=0 if failure is None else DELIVERIES - 1)

    def _killed(self) -> Findings:
        return self._findings(deliveries=DELIVERIES - 1)

    # ---- what comes of it ----

    def _findings(self, deliveries: int) -> Findings:
        self.account.between = in_short
        ways = []
        if self._to_tear_down():
            ways.append(_forked(self._torn_down))
        if deliveries and self.scenario.late and self.account.under_way:
            ways.append(_forked(lambda: self._redelivered(deliveries, late=True)))
        ways.append(self._redelivered(deliveries, late=False))  # this process has nothing else to do
        problems = [problem for way in ways for problem in way["problems"]]
        return {"problems": problems, "ways": len(ways)}

    def _to_tear_down(self) -> bool:
        """Whether the half-made account has what no account had that was torn down: objects don't matter there."""
        there = {key: value for key, value in self.account.describe().items() if not key.startswith("object ")}
        digest = hashlib.sha256(json.dumps(there, sort_keys=True, default=str).encode()).hexdigest()
        with self._torn.open("a+") as known:  # the processes share it
            known.seek(0)
            if digest in known.read():
                return False
            known.write(f"{digest}\n")
        return True

    def _redelivered(self, deliveries: int, *, late: bool) -> Findings:
        if late:
            self.account.later(hours=1)
            try:
                self.scenario.settle(self.account)
            except Exception as error:  # told
                return {"problems": [_traced(error)]}
        problems = self._delivered(deliveries) or self._differences(trouble=not deliveries)
        if problems and not deliveries and self.scenario.tick is not None:
            # It went on without what had failed, and told people: the tick after that makes up for it.
            self.scenario.tick(self.account, self.account.app(), self.event)
            self.scenario.settle(self.account)
            problems = self._differences(trouble=True)
        return {"problems": [f"{'late' if late else 'soon'}: {problem}" for problem in problems]}

    def _torn_down(self) -> Findings:
        try:
            tear_down(self.account.app(), time.monotonic() + 60, lambda _: self.account.go_on())
        except Exception as error:  # told
            return {"problems": [f"teardown: {_traced(error)}"]}
        left = self.account.billable()
        return {"problems": [f"teardown leaves {', '.join(left)}"] if left else []}

    def _differences(self, *, trouble: bool) -> list[str]:
        """Of the account from the undisturbed one, and of what people were told. `trouble` may be told of besides."""
        wanted, told = self._expected
        there = {
            key: value
            for key, value in self.account.describe().items()
            if not (trouble and self.scenario.tells_trouble and "/notices/" in key and key not in wanted)
        }
        problems = [f"lacks {key}" for key in sorted(wanted.keys() - there.keys())]
        problems += [f"has {key} too many: {str(there[key])[:200]}" for key in sorted(there.keys() - wanted.keys())]
        problems += [
            f"{key} is {_difference(there[key], wanted[key])}"
            for key in sorted(wanted.keys() & there.keys())
            if there[key] != wanted[key]
        ]
        sent = Counter(self.account.sent)
        lost = self.scenario.may_be_lost
        problems += [f"nobody hears {message}" for message in told if not sent[message] and message[1] not in lost]
        problems += [
            f"{message} is told {count} times in place of {told[message]}"
            for message, count in sent.items()
            if count > told[message] + 1 or (message not in told and not (trouble and self.scenario.tells_trouble))
        ]
        differs = self.scenario.may_differ if trouble else ()
        return [one for one in problems if not any(part in one for part in differs)][:_MOST_SHOWN]


def _difference(actual: Any, wanted: Any) -> str:
    if isinstance(actual, Mapping) and isinstance(wanted, Mapping):
        keys = [key for key in {**actual, **wanted} if actual.get(key) != wanted.get(key)]
        return ", ".join(f"{key}: {_difference(actual.get(key), wanted.get(key))}" for key in keys)
    first, second = str(actual), str(wanted)
    start = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(start - 40, 0)
    return f"...{first[start : start + 160]!r} in place of {second[start : start + 160]!r}"


def refusal(request: HttpRequest) -> Answer:
    """What a service answers that can't do it now."""
    if request.path.startswith("http"):
        return 404, {}, b"no_service"
    call = aws_request.parse(request)
    s3 = call.service == "s3"
    error = ServiceError("InternalError" if s3 else "ThrottlingException", "Rate exceeded", 500 if s3 else 400)
    return aws_request.failure(call.protocol, call.service, error)


def _traced(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"


# ---- processes ----


def _forked(work: Callable[[], Findings]) -> Findings:
    """What `work` finds in a child process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _end(write, work)
    os.close(write)
    return _read(read, child)


def _end(write: int, work: Callable[[], Findings]) -> NoReturn:
    """Ends this child, which tells what `work` finds."""
    try:
        found = work()
    except BaseException as error:  # a child must not return into its parent's code
        found = {"problems": ["".join(traceback.format_exception(error))]}
    with os.fdopen(write, "w") as told:
        json.dump(found, told, default=str)
    os._exit(0)


def _read(read: int, child: int) -> Findings:
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    if not text:
        return {"problems": ["the process died"]}
    found: Findings = json.loads(text)
    return found


def main() -> None:
    """Answers scenario for scenario, a JSON object a line."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what services print is no answer
    account = StandingAccount()
    for service in CLIENTS:
        account.function_client(service)
    # What is loaded and compiled on first use is not to be so in each of a thousand processes.
    Explorer(account, SCENARIOS["deploy_model-update"]).warm_up()
    account.begin()
    # A collection writes to every object that it looks at, and so copies the memory that processes share.
    gc.collect()
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        scenario = SCENARIOS[line.strip()]
        found = _forked(lambda: Explorer(account, scenario).explore())  # noqa: B023 - it is called at once
        found["cpu_seconds"] = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        out.write(json.dumps(found) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
