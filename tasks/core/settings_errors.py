"""What is wrong with a review.toml, line for line, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.core.acceptance import AcceptSettings
from tasks.core.app_id_settings import AppIdSettings
from tasks.core.batch_settings import BatchSettings
from tasks.core.budgets import BudgetSettings
from tasks.core.canary_settings import CanarySettings
from tasks.core.check_settings import CheckSettings, ReviewSettings, ToolSettings
from tasks.core.notify_settings import NotifySettings
from tasks.core.policy_settings import Policy
from tasks.core.prices import Price
from tasks.core.rule_settings import RuleSettings
from tasks.core.source_settings import GitSettings, SourceSettings
from tasks.core.worker_settings import WorkersSettings

__all__ = ["remedies"]


def remedies(error: ValidationError, top: Iterable[str]) -> list[str]:
    """A line for each mistake: its place in the file and the remedy; `top` are the keys outside of tables."""
    keys = tuple(top)
    return [f"{_place(item)}: {_remedy(item, keys)}" for item in error.errors()]


def _place(item: Any) -> str:
    named = ("check that is a tool" if part == "tool_check" else str(part) for part in item["loc"])
    return ".".join(named) or "(whole file)"


def _remedy(item: Any, top: tuple[str, ...]) -> str:
    """What to write instead."""
    place = tuple(item["loc"])
    shape = _SHAPES.get(place[0]) if 0 < len(place) <= 2 else None  # noqa: PLR2004 - not below
    if item["type"] == "extra_forbidden":
        return _unknown(place, top)
    if item["type"] == "missing":
        return _MISSING.get((place[0], *place[2:]), "is missing; add it")
    if shape is not None and item["type"].endswith("_type"):
        return shape
    return str(item["msg"]).removeprefix("Value error, ")


_TABLES: Mapping[str, tuple[str, type[BaseModel]]] = {
    "app_ids": ("[app_ids.<alias>]", AppIdSettings),
    "check": ("[[check]]", CheckSettings),
    "tool_check": ("a [[check]] with command or sarif", ToolSettings),
    "review": ("[review]", ReviewSettings),
    "policy": ("[policy]", Policy),
    "git": ("[git]", GitSettings),
    "rules": ("[[rules]]", RuleSettings),
    "source": ("[[source]]", SourceSettings),
    "workers": ("[workers]", WorkersSettings),
    "prices": ("[prices.<model>]", Price),
    "budget": ("[budget]", BudgetSettings),
    "batch": ("[batch]", BatchSettings),
    "accept": ("accept = {}", AcceptSettings),
    "canaries": ("[canaries]", CanarySettings),
    "notify": ("[notify]", NotifySettings),
}
"""What each table is written as, and what it may hold."""
_SHAPES = {
    "check": "write [[check]], with two brackets on each side: there is one table per check model",
    "source": "write [[source]], with two brackets on each side: there is one table per repository",
    "rules": "write [[rules]], with two brackets on each side: there is one table per rule",
    "review": "write [review], with one bracket on each side: there is one review model",
    "app_ids": "write [app_ids.<alias>], a table with key, base_url and quota for each key",
    "prices": 'write [prices."<model>"], a table with input and output for each model',
}
_MISSING: Mapping[tuple[Any, ...], str] = {
    ("check",): "is missing; add a table [[check]] with name and model",
    ("app_ids",): "is missing; add a table [app_ids.<alias>] with key, base_url and quota",
    ("app_ids", "quota"): 'is missing; say quota = ["3/60s"], or [] for no limit',
}
"""By table and key, without the alias between them."""


def _unknown(place: tuple[Any, ...], top: tuple[str, ...]) -> str:
    name = str(place[-1])
    own = tuple(_TABLES[place[0]][1].model_fields) if len(place) > 1 else top
    if close := get_close_matches(name, own, n=1):
        return f"unknown key; did you mean {close[0]}?"
    if len(place) > 1 and name in top:
        return "unknown key in this table; move it above the first [table] of the file"
    if place[0] == "tool_check" and name in CheckSettings.model_fields:
        return "a check that is a tool has no model and makes no call; leave it out"
    others = [text for table, (text, model) in _TABLES.items() if name in model.model_fields]
    if others:
        return f"unknown key here; it belongs in {' or '.join(others)}"
    return "unknown key; see deployments/review.example.toml for those that exist"
