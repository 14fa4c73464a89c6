"""What READMEs, docstrings and comments name is there: files, folders, modules, headings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "deployments/README.md", "tests/benchmarks/README.md")
CODE = sorted(
    path
    for top in ("flows", "tasks", "deployments", "tests")
    for path in (ROOT / top).rglob("*.py")
)
PATH = re.compile(r"(?<![\w./{}~-])(?:flows|tasks|deployments|tests|data/samples)/[\w./*-]*[\w*]")
MODULE = re.compile(r"(?<![\w./-])(?:flows|tasks|deployments)(?:\.[a-z_]\w*)+(?:\.[A-Z]\w*)?")
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)")


def words_of(path: Path) -> str:
    """Docstrings, those below a field too, and comments on lines of their own."""
    text = path.read_text()
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr))
    strings = (node.value.value for node in nodes if isinstance(node.value, ast.Constant))
    return "\n".join([*map(str, strings), *re.findall(r"^ *#.*", text, re.MULTILINE)])


def missing_paths(text: str) -> Iterator[str]:
    for name in PATH.findall(text):
        if not any(ROOT.glob(name)):
            yield name


def missing_modules(text: str) -> Iterator[str]:
    for name in MODULE.findall(text):
        *parents, last = name.split(".")
        if not is_module(name) and not (is_module(".".join(parents)) and defines(parents, last)):
            yield name


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def defines(module: list[str], name: str) -> bool:
    path = ROOT.joinpath(*module)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    word = rf"^(?:(?:async )?def|class) {name}\b|^{name}\b.* ="
    return re.search(word, file.read_text(), re.MULTILINE) is not None


def heads(path: Path) -> set[str]:
    lines = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("name", READMES)
def test_what_a_readme_names_is_there(name: str) -> None:
    """Files, folders and modules of the project, and the places that links lead to."""
    path = ROOT / name
    text = path.read_text()
    assert [*missing_paths(text), *missing_modules(text)] == []
    for target, head in LINK.findall(text):
        if "://" not in target:
            found = path.parent / target if target else path
            assert found.exists(), target
            assert not head or head in heads(found), f"{target}#{head}"


def test_what_docstrings_and_comments_name_is_there() -> None:
    """Paths and modules in the code's words; a module that was moved is moved there as well."""
    assert CODE
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in CODE
        for text in [words_of(path)]
        for name in (*missing_paths(text), *missing_modules(text))
    }
    assert found == set()
