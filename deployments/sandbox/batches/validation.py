"""Reading an input file: its rows, or what is wrong with it, in OpenAI's codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.sandbox.batch_store import InputRow
from deployments.sandbox.batches.dialects import SandboxDialect

__all__ = ["InputFile", "first_model"]

_BOM = b"\xef\xbb\xbf"
_MOST = 50
"""Problems that are listed."""


@dataclass(slots=True)
class InputFile:
    """Rows and problems, as lines are added."""

    dialect: SandboxDialect
    endpoint: str
    rows: list[InputRow] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    model: str = ""
    _seen: set[str] = field(default_factory=set)

    def add(self, number: int, line: bytes) -> None:
        """Read one line, counted from 1; blank ones are read over."""
        if number == 1 and self.dialect.bom:
            line = line.removeprefix(_BOM)
        if not line.strip():
            return
        row = _row(line)
        code, message = self._wrong(row)
        if code:
            self.problem(code, message, number)
        elif row is not None:
            self._seen.add(row["custom_id"])
            self.model = row["body"]["model"]
            self.rows.append(InputRow(row["custom_id"], row["body"]))

    def problem(self, code: str, message: str, line: int | None = None) -> None:
        """Note what is wrong."""
        if len(self.problems) < _MOST:
            found = {"code": code, "message": message, "line": line, "param": None}
            self.problems.append(found)

    def _wrong(self, row: dict[str, Any] | None) -> tuple[str, str]:
        if row is None:
            return "invalid_json_line", "This line is not parseable as valid JSON."
        body, name = row.get("body"), row.get("custom_id")
        for field_name, value in (("custom_id", name), ("body.model", _dig(body, "model"))):
            if not isinstance(value, str) or not value:
                return "missing_required_parameter", f"Missing required parameter: '{field_name}'."
        if name in self._seen:
            return "duplicate_custom_id", f"The custom_id for this request is a duplicate: {name}."
        if self.model and _dig(body, "model") != self.model:
            return "mismatched_model", "The provided model does not match the other lines' model."
        if not self.dialect.bare_lines and not self._same_place(row):
            return "invalid_url", "The URL provided for this request does not match the batch."
        return "", ""

    def _same_place(self, row: dict[str, Any]) -> bool:
        # Azure takes /chat/completions and /v1/chat/completions for the same.
        url = row.get("url")
        same = len(self.dialect.urls) > 1 or url == self.endpoint
        return same and url in self.dialect.urls and row.get("method") == "POST"


def first_model(content: bytes) -> str:
    """The model of a file's first line, or nothing."""
    line, _, _ = content[: 2**20].partition(b"\n")
    model = _dig(_dig(_row(line.removeprefix(_BOM)), "body"), "model")
    return model if isinstance(model, str) else ""


def _dig(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
