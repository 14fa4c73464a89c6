"""Code, names and answers that want to be more than text wherever people read a run."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.attacks.tally import Tally
from tests.attacks.upstream import asked, completion, http, serving

__all__ = ["contents"]

TEXTS = (
    "<script>document.title='owned'</script>", '<img src=x onerror="alert(1)">',
    "![track](http://evil.example/track.png)", "[click](javascript:alert(1))",
    "<http://evil.example/auto>", "<form action=http://evil.example>", "| a | b |\n|---|---|",
    "\x1b[31mred\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\u2066\u2069", "[/red][bold]markup[/]",
    "`code` ``` fence ```", "\r\nerror: forged line", "{{ 7*7 }} {% raw %}", "=1+1|cmd",
    "__proto__", "</script><svg onload=alert(1)>", "&lt;b&gt;", "a\x00b", "\ufeff\u200bhidden",
)  # fmt: skip
_PATHS = (
    "../../../../etc/passwd", "/etc/shadow", "file:///etc/shadow", "..\\..\\x.py",
    "a/../../b.py", "C:\\x.py", "http://evil.example/x.py", "\x1b[31mx.py", "\u202eyp.x",
)  # fmt: skip
_MODELS = ("vendor/model[/prod]", "m[red]", "<b>m</b>", "m|x")
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]")
_PROGRAM = re.compile(r'<script type="module">.*?</script>', re.DOTALL)
_SCRIPTS = 3  # of the page itself: its rows, the table library, its own program
_READ = ("report.md", "review.md", "report.html")


def contents(folder: Path) -> Tally:
    """One run whose inputs, paths, models and answers are hostile; then everything it has written."""
    tally = Tally()
    with serving(_answer) as url:
        (folder / "review.toml").write_text(_config(url))
        (folder / "in.jsonl").write_text("\n".join(map(json.dumps, _inputs())))
        ran = _command(folder, "run", "in.jsonl", "--output", "out[/x]")
        tally.note(
            f"exit code {ran.returncode}: {ran.stderr[-200:]!r}",
            came_through=ran.returncode not in {0, 3},
        )
        output = folder / "out[/x]"
        exported = _command(folder, "export", str(output))
        for done in (ran, exported):
            bad = _INVISIBLE.search(done.stdout + done.stderr)
            tally.note(f"terminal: {bad}", came_through=bad is not None)
    for name in _READ:
        written = (output / name).read_text()
        if name != "report.md":  # which lists no findings
            tally.note(f"{name} shows no finding", came_through="owned" not in written)
        for what, came in _markup(name, written):
            tally.note(f"{name}: {what}", came_through=came)
    for path in _places(output):
        outside = path.startswith(("/", "..", "file:", "http", "C:")) or "/../" in path
        tally.note(f"a fix at {path}", came_through=outside)
    return tally


def _command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    own = {"PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": "", "KEY_A": "contents-key-a"}
    command = [sys.executable, "-m", "flows.cli.main", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | own, check=False, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip


def _config(url: str) -> str:
    checks = "".join(
        f'[[check]]\nname = "c{number}"\nmodel = {json.dumps(model)}\n'
        for number, model in enumerate(_MODELS)
    )
    return f'mode = "check"\nstate = "state"\n[app_ids.a]\nkey = "env:KEY_A"\nbase_url = "{url}"\nquota = []\n{checks}'


def _inputs() -> Iterator[dict[str, Any]]:
    for number, text in enumerate(TEXTS):
        path = _PATHS[number % len(_PATHS)]
        yield {"input_id": f"{text} {number}", "content": f"# {text}\nx = 1\n", "path": path}
    for number, path in enumerate(_PATHS):
        yield {"input_id": f"path {number}", "content": "x = 1\n", "path": path}


def _answer(heard: bytes) -> Iterable[bytes]:
    if "x = 1" not in asked(heard):
        yield http(completion('{"comments": []}'))
        return
    text = TEXTS[len(heard) % len(TEXTS)]
    items = [
        {
            "title": f"{one} owned", "message": f"{one}\n{text}", "rationale": one,
            "category": "bug", "severity": "high", "existing_code": "x = 1",
            "suggestion": f"x = 2  # {one}", "confidence": 9, "file": "../../x",
        }
        for one in (text, TEXTS[(len(heard) + 7) % len(TEXTS)])
    ]  # fmt: skip
    yield http(completion(json.dumps({"comments": items})))


def _markup(name: str, written: str) -> Iterator[tuple[str, bool]]:
    # The page's own programs have control characters, as those of a table library that reads ZIP.
    bad = _INVISIBLE.search(_PROGRAM.sub("", written))
    yield f"a control character {bad}", bad is not None
    if name == "report.html":
        page = _Page(written)
        yield f"{page.scripts} scripts", page.scripts > _SCRIPTS
        for tag in ("img", "form", "iframe", "object", "meta refresh", "base", "on"):
            yield tag, tag in page.found
        yield f"a link to {page.links}", any("evil.example" in link for link in page.links)
        return
    prose = _without_code(written)
    for tag in ("<script", "<img", "<form", "<svg", "<http", "![", "](javascript", "](http://evil"):
        yield tag, re.search(r"(?<!\\)" + re.escape(tag), prose) is not None


def _without_code(markdown: str) -> str:
    """What Markdown would read as markup: without fenced blocks and spans of code."""
    kept, fence = [], ""
    for line in markdown.splitlines():
        mark = re.match(r"\s*(`{3,})", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif mark:
            fence = mark[1]
        else:
            kept.append(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    return "\n".join(kept)


class _Page(html.parser.HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.found: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.scripts += tag == "script"
        self.found.add("meta refresh" if tag == "meta" and "refresh" in str(named) else tag)
        if any(name.startswith("on") for name in named):
            self.found.add("on")
        self.links += [str(named[name]) for name in ("href", "src", "action") if name in named]


def _places(output: Path) -> Iterator[str]:
    """Every path that an export asks a tool to change."""
    for run in json.loads((output / "review.sarif").read_text())["runs"]:
        for result in run["results"]:
            for fix in result.get("fixes", ()):
                for change in fix["artifactChanges"]:
                    yield change["artifactLocation"]["uri"]
    for line in (output / "review.rdjsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("suggestions"):
            yield row["location"]["path"]
