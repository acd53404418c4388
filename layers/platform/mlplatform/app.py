"""What a function works with. Nothing happens at import: the live one is made on first use, and kept warm."""

from __future__ import annotations

import gc
from functools import cache

from mlplatform.aws import Aws
from mlplatform.records import dataclass
from mlplatform.settings import Settings, read_settings

# What a start makes is nearly all kept, and the usual 700 have it looked through a hundred times for what is not.
_NEW_OBJECTS_BEFORE_A_COLLECTION = 10_000


@dataclass(frozen=True)
class App:
    settings: Settings
    aws: Aws


@cache
def live_app() -> App:
    """Raises SettingsError if the environment is not as the template makes it."""
    gc.set_threshold(_NEW_OBJECTS_BEFORE_A_COLLECTION)
    settings = read_settings()
    return App(settings, Aws(settings))
