"""
Where functions and classes begin and end, by tree-sitter's grammars (the extra `context`).

A file whose language has no grammar here has no scopes; broken code has those that parse.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tasks.core.errors import ConfigError

__all__ = ["Span", "check_grammars", "enclosing"]


class Span(NamedTuple):
    """Lines of a file, from 1, both included."""

    first: int
    last: int


_GRAMMARS = {
    "bash": ("sh", "bash"), "c": ("c", "h"), "c_sharp": ("cs",), "go": ("go",), "java": ("java",),
    "cpp": ("cc", "cpp", "cxx", "hh", "hpp", "hxx"), "javascript": ("cjs", "js", "jsx", "mjs"),
    "kotlin": ("kt", "kts"), "php": ("php",), "python": ("py", "pyi"), "ruby": ("rb",),
    "rust": ("rs",), "scala": ("sc", "scala"), "swift": ("swift",), "typescript": ("cts", "mts", "ts"),
    "tsx": ("tsx",),
}  # fmt: skip
_BY_ENDING = {ending: name for name, endings in _GRAMMARS.items() for ending in endings}
_PACKAGES = {"tsx": "typescript"}
_MAKERS = {"php": "language_php", "tsx": "language_tsx", "typescript": "language_typescript"}
_FUNCTIONS = frozenset(
    {"constructor_declaration", "deinit_declaration", "destructor_declaration", "function_declaration",
     "function_definition", "function_item", "generator_function_declaration", "init_declaration",
     "method", "method_declaration", "method_definition", "property_declaration", "singleton_method"}
)  # fmt: skip
_CLASSES = frozenset(
    {"class", "class_declaration", "class_definition", "class_specifier", "enum_declaration",
     "enum_item", "impl_item", "interface_declaration", "module", "object_declaration",
     "object_definition", "protocol_declaration", "record_declaration", "struct_declaration",
     "struct_item", "struct_specifier", "trait_declaration", "trait_definition", "trait_item",
     "type_declaration"}
)  # fmt: skip
_ASSIGNED = frozenset({"lexical_declaration", "variable_declaration"})
_UNNAMED = frozenset({"arrow_function", "function_expression", "generator_function"})
_WRAPPERS = frozenset({"decorated_definition", "export_statement", "template_declaration"})
"""What belongs to the definition inside: decorators, export, template parameters."""


def check_grammars() -> None:
    """Raise ConfigError when the packages of the extra `context` are not installed."""
    if _parser("python") is None:
        msg = (
            'context = "function" needs the grammars of tree-sitter, which are an extra: install '
            'nightly-review[context], or set context to "file" or "hunk"'
        )
        raise ConfigError(msg)


def enclosing(path: str, lines: list[str], numbers: Iterable[int]) -> list[Span]:
    """For each line number, the innermost function around it, else the innermost class; none without one."""
    name = _BY_ENDING.get(PurePosixPath(path.lower()).suffix.removeprefix("."))
    parser = None if name is None else _parser(name)
    if parser is None:
        return []
    root = parser.parse("\n".join(lines).encode("utf-8", "replace")).root_node
    found = (_scope(root, number - 1, lines[number - 1]) for number in numbers)
    return sorted({span for span in found if span is not None})


@lru_cache(maxsize=len(_GRAMMARS))
def _parser(name: str) -> Any:
    """The parser of a grammar; None when it is not installed."""
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        package = importlib.import_module(f"tree_sitter_{_PACKAGES.get(name, name)}")
    except ImportError:
        return None
    return tree_sitter.Parser(
        tree_sitter.Language(getattr(package, _MAKERS.get(name, "language"))())
    )


def _scope(root: Any, row: int, line: str) -> Span | None:
    column = len(line) - len(line.lstrip())
    if column == len(line):
        return None  # a blank line is inside of what surrounds it, which other lines tell
    around = list(_upwards(root.descendant_for_point_range((row, column), (row, column))))
    function = next((node for node in around if _is_function(node)), None)
    chosen = function or next((node for node in around if node.type in _CLASSES), None)
    if chosen is None:
        return None
    while chosen.parent is not None and chosen.parent.type in _WRAPPERS:
        chosen = chosen.parent
    last = chosen.end_point[0] + (chosen.end_point[1] > 0)
    return Span(chosen.start_point[0] + 1, max(last, chosen.start_point[0] + 1))


def _upwards(node: Any) -> Iterator[Any]:
    """The named nodes from here on, without the file itself: "class" is a keyword's name as well."""
    while node is not None and node.parent is not None:
        if node.is_named:
            yield node
        if node.type in _WRAPPERS:  # a decorator's line is outside of the definition
            yield from node.named_children[-1:]
        node = node.parent


def _is_function(node: Any) -> bool:
    if node.type in _ASSIGNED:
        values = (one.child_by_field_name("value") for one in node.named_children)
        return any(value is not None and value.type in _UNNAMED for value in values)
    return node.type in _FUNCTIONS
