"""Modules that need an optional dependency, loaded when somebody asks for them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tasks.core.errors import StateError

__all__ = ["load_driver"]


def load_driver(module: str) -> Any:
    """The module of ours that speaks to databases.

    Raises:
        StateError: what it needs is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        msg = (
            f"state is a database, and its driver is missing ({error}): "
            "pip install 'nightly-review[postgres]'"
        )
        raise StateError(msg) from error
