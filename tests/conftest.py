"""What holds for all tests."""

from __future__ import annotations

import copy
import functools
import gc
import os
from typing import Any

import pytest

gc.disable()
# Threads that wait must not spin: beside other workers scikit-learn's take seven times the processor.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector looked at it nineteen times, for a quarter of the
    collection's time, and needs not look at it again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuses versions of pytest and pytest-xdist that don't keep groups together, as 9.2.0 and 3.8.0 do not.

    Each worker would start a laptop of its own for each group, and tests that build on one another would be torn apart.
    """
    if not hasattr(config, "workerinput"):
        return
    torn = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
    if torn:
        raise pytest.UsageError(f"xdist_group has no effect with these versions of pytest and pytest-xdist: {torn[0]}")


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """What shares a module's fixture runs in one worker: it is made once, and its tests come in their order."""
    fixtures: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    shared = any(definitions[-1].scope == "module" for definitions in fixtures.values())
    if shared and item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes name no test: an archive holds the time at which it was made, and all workers must name tests alike."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def managed_policies_are_read_once() -> None:
    """moto reads AWS's thousand managed policies from JSON whenever an account begins: a second of CPU a test."""
    from moto.iam.models import IAMBackend

    load, loaded = IAMBackend._init_aws_policies, dict[str, list[Any]]()

    def init(self: Any) -> list[Any]:
        if not loaded.get(self.account_id):
            loaded[self.account_id] = load(self)
        return [copy.copy(policy) for policy in loaded[self.account_id]]

    IAMBackend._init_aws_policies = init  # type: ignore[method-assign]


@pytest.fixture(scope="session", autouse=True)
def service_models_are_read_once() -> None:
    """botocore reads them from JSON for every session: a tenth of a second of CPU for a client of SageMaker."""
    from botocore.loaders import create_loader
    from botocore.session import Session

    loader = create_loader()

    def register(session: Session) -> None:
        session._components.register_component("data_loader", loader)

    Session._register_data_loader = register


@pytest.fixture(scope="session", autouse=True)
def moto_makes_once_what_it_makes_for_every_test() -> None:
    """A key to sign what SNS sends takes as long as ten calls, and each subscription has one of its own. The addresses
    that it takes over from `requests`, which nobody here uses, take as long as four. And each call lists the methods
    and the addresses of its service."""
    from moto.core import models, responses
    from moto.core.base_backend import BaseBackend
    from moto.sns.models import Subscription

    models.RESPONSES_METHODS.clear()
    responses.method_names_from_class = functools.cache(responses.method_names_from_class)
    addresses: Any = BaseBackend.urls
    BaseBackend.urls = property(functools.cache(addresses.fget))  # type: ignore[assignment]
    make: Any = Subscription.private_key
    Subscription.private_key = functools.cache(lambda _: key())  # type: ignore[method-assign,assignment]
    key = functools.cache(lambda: make(None))
