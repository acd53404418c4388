"""What a function works with. Nothing happens at import: the live one is made on first use, and kept warm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mlplatform.aws import Aws
from mlplatform.settings import Settings, read_settings


@dataclass(frozen=True)
class App:
    settings: Settings
    aws: Aws


@cache
def live_app() -> App:
    """Raises SettingsError if the environment is not as the template makes it."""
    settings = read_settings()
    return App(settings, Aws(settings))
