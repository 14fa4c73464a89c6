"""
The items of a decoded JSON value, wherever the model has put them.

    {"comments": [A, B]}                                    as asked
    {"issues": [A]}, {"review": {"findings": [A]}}, [A, B]  under another name, deeper, without one
    {"critical": [A], "minor": [B]}                         in several lists: all are read
    {"files": [{"path": "a.py", "comments": [A]}]}          by file: the path becomes the item's
    {"name": "report", "arguments": "{...}"}                as a tool call, its arguments also as text
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import orjson

__all__ = ["LIKELY", "SURE", "ItemLists", "Shape", "item_lists"]

LIKELY, SURE = 3, 5
"""What makes an item one of the contract's: its own names count 2, those it may come under 1."""
_MAX_DEPTH = 8
_ARGUMENTS = frozenset({"arguments", "parameters", "input", "args"})
_SET_ASIDE = re.compile(
    r"draft|reject|dismiss|discard|false_?pos|ignored|considered|excluded", re.IGNORECASE
)
_A_PATH = re.compile(r"[^\s/\\]*[./\\][^\n]*")

Name = Literal["own", "alias"] | None


@dataclass(frozen=True)
class Shape:
    """Names of a list, of its items' fields, and of what may stand for them."""

    key: str
    """Name of the list in the contract."""
    aliases: tuple[str, ...]
    """Names that models give it instead."""
    asked: frozenset[str]
    """The fields of an item, in the contract."""
    fields: frozenset[str]
    """Names that they may come under."""
    id_field: str | None = None
    """Set: the list may also come as an object from this field's value to the item."""
    group_fields: tuple[str, ...] = ()
    """Names of the field that a group of items may say once for all of them, the contract's first."""

    @cached_property
    def named(self) -> re.Pattern[str]:
        """Text before a list that has a name."""
        words = "|".join(map(re.escape, (self.key, *self.aliases)))
        return re.compile(rf'"(?:{words})"\s*+:\s*+(?=[\[{{])')

    @cached_property
    def unnamed(self) -> re.Pattern[str]:
        """The start of a list of items without a name."""
        return re.compile(rf"(?=\[\s*+{self._item})")

    @cached_property
    def single(self) -> re.Pattern[str]:
        """The start of an item by itself."""
        return re.compile(rf"(?={self._item})")

    @property
    def _item(self) -> str:
        return rf'\{{\s*+"(?:{"|".join(map(re.escape, sorted(self.fields)))})"\s*+:'

    def name(self, key: str | None) -> Name:
        """What the name of a list says of it."""
        if key == self.key:
            return "own"
        return "alias" if key in self.aliases else None

    def is_as_asked(self, item: Any) -> bool:
        """Whether `item` has the fields of the contract, and no other ones."""
        return isinstance(item, dict) and item.keys() == self.asked

    def likeness(self, item: Mapping[str, Any]) -> int:
        """How surely `item` is one of the contract's; see LIKELY and SURE."""
        return len(item.keys() & self.fields) + len(item.keys() & self.asked)

    def likeness_of(self, items: Iterable[Any]) -> int:
        """The likeness of the likeliest of some items."""
        # Few kinds of items, by their keys, make up a list of however many.
        kinds = {tuple(item) for item in items if isinstance(item, dict)}
        return max((self.likeness(dict.fromkeys(kind)) for kind in kinds), default=0)


@dataclass(slots=True)
class ItemLists:
    """The lists of items that a JSON value holds."""

    items: list[Any] = field(default_factory=list)
    singles: list[Any] = field(default_factory=list)
    """Items that stand in no list."""
    set_aside: int = 0
    """Items under a name that says that they are none: drafts, rejected ones."""
    empty: bool = False
    """A list is there and says that nothing was found."""

    @property
    def known(self) -> bool:
        """Whether the value has a form that can be read."""
        return bool(self.items or self.singles or self.empty)


def item_lists(value: Any, shape: Shape, name: Name = None) -> ItemLists:
    """Collect the items of `value`; `name` is that of the list, where it had one."""
    found = ItemLists()
    _Collector(shape, found).take(value, name, {}, 0)
    return found


@dataclass(frozen=True, slots=True)
class _Collector:
    shape: Shape
    found: ItemLists

    def take(self, value: Any, name: Name, group: dict[str, Any], depth: int) -> None:
        if depth > _MAX_DEPTH:
            return
        if isinstance(value, list):
            self._list(value, name, group, depth)
        elif isinstance(value, dict):
            self._object(value, name, group, depth)

    def _list(self, value: list[Any], name: Name, group: dict[str, Any], depth: int) -> None:
        self.found.empty |= not value and name is not None
        if name != "own" and not any(isinstance(item, dict) for item in value):
            return
        items: list[Any] = []
        for item in value:
            if isinstance(item, dict) and self._is_group(item):
                self._members(item, group, depth)
            else:
                items.append(item)
        if name is not None or self.shape.likeness_of(items) >= LIKELY:
            self.found.items += [self._with(group, item) for item in items]
        else:
            for item in items:
                self.take(item, None, group, depth + 1)

    def _object(self, value: dict[str, Any], name: Name, group: dict[str, Any], depth: int) -> None:
        if self._is_group(value):
            self._members(value, group, depth)
        elif name and self.shape.id_field and value and _all_objects(value.values()):
            self.found.items += [{self.shape.id_field: key, **item} for key, item in value.items()]
        elif name and value.keys() & self.shape.fields:
            self.found.items.append(self._with(group, value))
        elif not name and self.shape.likeness(value) >= SURE:
            self.found.singles.append(self._with(group, value))
        else:
            self._members(value, group, depth)

    def _is_group(self, value: dict[str, Any]) -> bool:
        """Whether the object holds items, rather than being one."""
        return any(
            isinstance(inner, list | dict)
            and (self._is_named_list(key, inner, value) or self._holds_items(inner))
            for key, inner in value.items()
        )

    def _is_named_list(self, key: str, inner: Any, value: dict[str, Any]) -> bool:
        if self.shape.name(key) is None:
            return False
        if not inner:
            return self.shape.likeness(value) < SURE
        return isinstance(inner, dict) or any(isinstance(item, dict) for item in inner)

    def _holds_items(self, value: Any) -> bool:
        return isinstance(value, list) and any(
            isinstance(item, dict) and self.shape.likeness(item) >= SURE for item in value
        )

    def _members(self, value: dict[str, Any], group: dict[str, Any], depth: int) -> None:
        own = group | self._said_once(value)
        for key, inner in value.items():
            if isinstance(inner, str) and key in _ARGUMENTS:
                self.take(_loads(inner), None, own, depth + 1)
            elif isinstance(inner, list) and _SET_ASIDE.search(key) and self._holds_items(inner):
                self.found.set_aside += len(inner)
            else:
                self.take(inner, self.shape.name(key), own | self._from_key(key), depth + 1)

    def _said_once(self, value: dict[str, Any]) -> dict[str, Any]:
        names = self.shape.group_fields
        said = next((value[name] for name in names if isinstance(value.get(name), str)), None)
        return {names[0]: said} if said else {}

    def _from_key(self, key: str) -> dict[str, Any]:
        names = self.shape.group_fields
        return {names[0]: key} if names and _A_PATH.fullmatch(key) else {}

    def _with(self, group: dict[str, Any], item: Any) -> Any:
        if not group or not isinstance(item, dict):
            return item
        names = self.shape.group_fields
        return item if any(item.get(name) for name in names) else item | group


def _all_objects(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return None
