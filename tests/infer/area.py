"""An input with two defects, what models say of it, and the settings of those who review it."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ADDS",
    "APP_ID",
    "ASSIGNS",
    "BOTH",
    "CHECK",
    "CODE",
    "ROW",
    "SCRIPTED",
    "TWO",
    "finding",
]

CODE = "def area(w, h):\n    if w = 0:\n        return 0\n    return w + h\n"
ROW = {"input_id": "r", "content": CODE, "path": "area.py"}
CHECK = 'mode = "check"\n[[check]]\nname = "one"\nmodel = "c1"\n'
BOTH = '[[check]]\nname = "one"\nmodel = "c1"\n[review]\nmodel = "r1"\n'
TWO = '[[check]]\nname = "one"\nmodel = "c1"\n[[check]]\nname = "two"\nmodel = "c2"\n[review]\nmodel = "r1"\n'
APP_ID = '[app_ids.{}]\nkey = "env:K"\nbase_url = "{}"\nquota = []\n'
SCRIPTED = {name: {"skill": "scripted"} for name in ("c1", "c2", "r1")}


def finding(line: int, title: str, **fields: Any) -> dict[str, Any]:
    """What a model says of a line."""
    quote = CODE.splitlines()[line - 1]
    return {"start_line": line, "end_line": line, "existing_code": quote, "title": title} | fields


ADDS = finding(4, "Area adds", category="bug", severity="high")
ASSIGNS = finding(2, "Assignment in a condition", category="bug", severity="critical")
