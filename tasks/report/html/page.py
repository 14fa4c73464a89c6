"""
The page: template, style, scripts and the policy that ties them.

What models and authors wrote is hostile. The template escapes every value, the script makes text nodes of
what it reads from the data, and the page allows only the two scripts that stand in it, by their hash:
nothing else can run, load or send.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from tasks.core.errors import OutputError
from tasks.core.manifest import RunFacts
from tasks.core.text_safety import visible_code
from tasks.core.upstream_facts import QuotaProof
from tasks.report.canaries import canary_lines
from tasks.report.findings import FindingsSummary
from tasks.report.highlights import highlights
from tasks.report.html import view
from tasks.report.html.context import Context
from tasks.report.html.panels import panels
from tasks.report.html.rows import rows_json
from tasks.report.said_tables import said_tables
from tasks.report.summary import Summary
from tasks.report.words import origin_text

__all__ = ["Report", "TableLibrary", "render"]

_PAGES = Environment(
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    finalize=lambda value: visible_code(value) if type(value) is str else value,
)
_CODE = re.compile(r"`([^`\n]+)`")


def _prose(text: str) -> Markup:
    """Escaped text with its `code` set as code: models write that everywhere."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(visible_code(text)))))  # noqa: S704 - escaped first


def _breakable(path: str) -> Markup:
    """Escaped text that may go on in a new line behind a slash and before an @."""
    text = str(escape(visible_code(path))).replace("/", "/<wbr>").replace("@", "<wbr>@")
    return Markup(text)  # noqa: S704 - escaped first


_PAGES.filters["breakable"] = _breakable
_PAGES.filters["prose"] = _prose
_FILES = files(__package__ or "")
_PAGE = _PAGES.from_string(_FILES.joinpath("report.html.j2").read_text("utf-8"))
_STYLE = _FILES.joinpath("style.css").read_text("utf-8")
_SCRIPT = _FILES.joinpath("report.js").read_text("utf-8")
_EXPORTS = re.compile(r"\bexport\s*\{([^{}]*)\};?")
_DEFAULT = re.compile(r"([\w$]+)\s+as\s+default\b")


@dataclass(frozen=True, slots=True)
class TableLibrary:
    """DataTables: an ES module that exports it as default, and its style sheet."""

    script: str
    style: str


@dataclass(frozen=True, slots=True)
class Report:
    """The contents of the page."""

    manifest: RunFacts
    summary: Summary
    quota: QuotaProof
    findings: FindingsSummary
    contexts: Mapping[str, Context]
    """By comment id; findings without one show their quote."""
    calls: pd.DataFrame
    """series.CHART_CALL_COLUMNS of all calls."""
    comments: pd.DataFrame
    """series.CHART_COMMENT_COLUMNS of all comments."""


def render(report: Report, library: TableLibrary) -> str:
    """The page as HTML.

    Raises:
        OutputError: the library is not of the form that we know.
    """
    table_script = _as_global(library.script)
    return _PAGE.render(
        policy=_policy(table_script, _SCRIPT),
        manifest=report.manifest,
        origin=origin_text(report.manifest),
        canaries=canary_lines(report.manifest),
        cards=view.cards(report.manifest, report.summary, report.findings),
        problems=view.problems(report.manifest),
        charts=panels(report.manifest, report.findings, report.calls, report.comments),
        first=highlights(report.findings, report.manifest.get("history")),
        rows=rows_json(report.findings.worst, report.contexts),
        findings_shown=bool(report.findings.worst),
        findings_note=view.findings_note(report.findings),
        said=said_tables(report.manifest),
        tables=view.report_tables(report.manifest, report.summary, report.quota),
        style=_ours(_STYLE),
        table_style=_ours(library.style),
        table_script=_ours(table_script),
        script=_ours(_SCRIPT),
    )


def _ours(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - files of ours and of the library, never of a run


def _policy(*scripts: str) -> str:
    """The Content-Security-Policy: these scripts and no others, nothing from elsewhere."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _as_global(module: str) -> str:
    """The module with its export turned into the global `DataTable`.

    A page in a file cannot import: the script must stand in it.
    """
    clause = max(_EXPORTS.finditer(module), key=re.Match.start, default=None)
    name = _DEFAULT.search(clause[1]) if clause else None
    if clause is None or name is None or "</script" in module.lower():
        msg = "the table library of itables has changed its form: install the pinned version"
        raise OutputError(msg)
    before, after = module[: clause.start()], module[clause.end() :]
    return f"{before}globalThis.DataTable={name[1]};{after}"
