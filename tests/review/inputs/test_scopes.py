"""Functions and classes of each language that has a grammar; broken code, and none installed."""

from __future__ import annotations

import pytest

from tasks.core.errors import ConfigError
from tasks.review.inputs import scopes
from tasks.review.inputs.scopes import Span, check_grammars, enclosing

SAMPLES = {
    "a.sh": "x=1\nf() {\n  echo HERE\n}\n",
    "a.c": "int x;\nint f(void) {\n  return HERE;\n}\n",
    "a.cpp": "namespace n {\ntemplate <typename T>\nint f() {\n  return HERE;\n}\n}\n",
    "a.cs": "class A {\n  int M() {\n    return HERE;\n  }\n}\n",
    "a.go": "package a\nfunc (a A) M() int {\n\treturn HERE\n}\n",
    "A.java": "class A {\n  int m() {\n    return HERE;\n  }\n}\n",
    "a.js": "const x = 1;\nexport const f = () => {\n  return HERE;\n};\n",
    "a.kt": "class A {\n  fun m(): Int {\n    return HERE\n  }\n}\n",
    "a.php": "<?php\nfunction f() {\n  return HERE;\n}\n",
    "a.py": "x = 1\n@cached\ndef f():\n    return HERE\n",
    "a.rb": "class A\n  def m\n    HERE\n  end\nend\n",
    "a.rs": "impl A {\n  fn m() {\n    HERE\n  }\n}\n",
    "a.scala": "class A {\n  def m(): Int = {\n    HERE\n  }\n}\n",
    "a.swift": "class A {\n  func m() -> Int {\n    return HERE\n  }\n}\n",
    "a.ts": "class A {\n  m(): number {\n    return HERE;\n  }\n}\n",
    "a.tsx": "const x = 1;\nfunction F() {\n  return <p>HERE</p>;\n}\n",
}


def line_of(text: str, word: str) -> int:
    return next(number for number, line in enumerate(text.split("\n"), 1) if word in line)


@pytest.mark.parametrize("path", SAMPLES)
def test_the_innermost_function(path: str) -> None:
    """From its first line, with decorators and template, to its last."""
    pytest.importorskip("tree_sitter")
    text = SAMPLES[path]
    here = line_of(text, "HERE")
    first = {"a.cpp": 2, "a.py": 2}.get(path, here - 1)
    last = here + (path != "a.py")
    assert enclosing(path, text.split("\n"), [here]) == [Span(first, last)]


def test_outside_of_functions() -> None:
    """The class, or nothing; a blank line tells nothing."""
    pytest.importorskip("tree_sitter")
    lines = SAMPLES["A.java"].split("\n")
    assert enclosing("A.java", lines, [1]) == [Span(1, 5)]
    python = ["import os", "", "class A:", "    x = 1", ""]
    assert enclosing("a.py", python, [1, 2]) == []
    assert enclosing("a.py", python, [4]) == [Span(3, 4)]
    assert enclosing("README", python, [4]) == []


def test_broken_code_has_the_scopes_that_parse() -> None:
    """A half-written file does not stop the run."""
    pytest.importorskip("tree_sitter")
    lines = ["def f(:", "  ]]", "def g():", "    return 1", "\udcff\0"]
    assert Span(3, 4) in enclosing("a.py", lines, range(1, 6))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first row is read, with the remedy; and no scope is guessed without it."""
    monkeypatch.setattr(scopes, "_parser", lambda _name: None)
    with pytest.raises(ConfigError, match=r"install nightly-review\[context\]"):
        check_grammars()
    assert enclosing("a.py", ["def f():", "    x"], [2]) == []
