"""What SageMaker's kinds of jobs have in common as others see them: names, List calls, events, and threads.

Training, processing and tuning each keep a `Jobs` of their own: it holds a name to one job, finds and lists jobs as the
API does, tells the bus of every state, and knows the threads that run them. What a job does is theirs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.sagemaker_common import between, event_value, invalid, page


class Listable(Protocol):
    """A job as `Jobs` sees it."""

    created: datetime
    modified: datetime
    status: str

    @property
    def arn(self) -> str: ...

    @property
    def name(self) -> str: ...


Kept = TypeVar("Kept", bound=Listable)


class Jobs(Generic[Kept]):
    """The account's jobs of one kind, by name.

    `unique` is the sentence's begin in the refusal of a used name, `missing` the refusal of an unknown one, `event` the
    detail-type of the events, which carry the members `event_fields` of the job's description, and its tags.
    """

    def __init__(
        self,
        account: Account,
        unique: str,
        event: str,
        event_fields: Iterable[str],
        missing: Callable[[str], ServiceError] = lambda _name: invalid("Requested resource not found."),
    ) -> None:
        self._account = account
        self._unique, self._missing = unique, missing
        self._event, self._event_fields = event, tuple(event_fields)
        self._jobs: dict[str, Kept] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def add(self, job: Kept, tags: Mapping[str, str], run: Callable[[], Any]) -> threading.Thread:
        """Keeps a new job; the thread that is to run it, not yet started. Raises ServiceError for a used name."""
        thread = threading.Thread(target=run, name=f"job-{job.name}", daemon=True)
        with self._lock:
            self.assert_unused(job.name)  # of two callers who came this far together one wins
            self._jobs[job.name] = job
            self._account.tags[job.arn] = dict(tags)
            self._threads.append(thread)
        return thread

    def assert_unused(self, name: str) -> None:
        """Raises ServiceError if a job has the name in any case of its letters: SageMaker's ARNs are in lower case."""
        for used, job in list(self._jobs.items()):
            if used.lower() == name.lower():
                raise ServiceError(
                    "ResourceInUse",
                    f"{self._unique} must be unique within an AWS account and region, and a job with this name already "
                    f"exists ({job.arn})",
                )

    def find(self, name: str) -> Kept:
        """Raises ServiceError if there is none."""
        with self._lock:
            job = self._jobs.get(name)
        if job is None:
            raise self._missing(name)
        return job

    def all(self) -> list[Kept]:
        with self._lock:
            return list(self._jobs.values())

    def page(
        self,
        parameters: Mapping[str, Any],
        sort_by: str = "CreationTime",
        sort_order: str = "Descending",
        filter_pages: bool = False,
    ) -> tuple[list[Kept], dict[str, str]]:
        """The jobs of a List call's page, and the token of the next one; in the order asked for, or the usual one.

        With `filter_pages` StatusEquals thins out each page in place of the list, as ListTrainingJobs says of itself.
        Raises ServiceError for a token that this account did not hand out.
        """

        def wanted(job: Kept) -> bool:
            return parameters.get("StatusEquals") in (None, job.status)

        chosen = [
            job
            for job in self.all()
            if parameters.get("NameContains", "").lower() in job.name.lower()
            and between(job.created, parameters.get("CreationTimeAfter"), parameters.get("CreationTimeBefore"))
            and between(job.modified, parameters.get("LastModifiedTimeAfter"), parameters.get("LastModifiedTimeBefore"))
            and (filter_pages or wanted(job))
        ]
        orders: dict[str, Callable[[Kept], Any]] = {
            "Name": lambda job: job.name,
            "CreationTime": lambda job: (job.created, job.name),
            "Status": lambda job: (job.status, job.name),
        }
        chosen.sort(
            key=orders[parameters.get("SortBy", sort_by)],
            reverse=parameters.get("SortOrder", sort_order) == "Descending",
        )
        chosen, more = page(chosen, parameters, lambda job: job.name, default_size=10)
        return [job for job in chosen if wanted(job)], more

    def tell(self, job: Kept, description: Mapping[str, Any], message: str, **more: str) -> None:
        """A job's new state, to the journal and the bus. Called inside the job's lock, so that states stay in order."""
        self._account.journal.record("job", job=job.name, status=job.status, message=message, **more)
        detail = {name: event_value(description[name]) for name in self._event_fields if name in description}
        tags = dict(self._account.tags.get(job.arn, {}))
        self._account.events.put("aws.sagemaker", self._event, {**detail, "Tags": tags}, (job.arn,))

    def join(self, seconds: float = 2) -> None:
        """Waits for the threads of jobs that were told to end."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread.is_alive():
                thread.join(timeout=seconds)
