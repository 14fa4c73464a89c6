"""Tests of the suite that are attacks too: run anew, and counted by what they show."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.attacks.tally import Tally

__all__ = ["SUITE", "run_suite"]

_UP, _GIT = "upstream", "load/sources/git"
SUITE: dict[str, tuple[str, ...]] = {
    "1 server: origins, login, host, a page in Chromium": ("flows/ui/test_server.py",),
    "2 modes of files, umask, locks of others": (
        "core/test_state_folder.py",
        "core/test_files.py",
        f"{_UP}/test_lock_waits.py",
    ),
    "3 a scheduler for certificates of its own, keys that a worker lends": (
        "operations/workers/test_kept_out.py::test_only_certificates_of_the_own_authority_count",
        "operations/workers/test_kept_out.py::test_no_secret_is_in_the_schedulers_memory",
        "operations/workers/test_kept_out.py::test_workers_of_no_use",
        "flows/setup/test_key_rules.py",
    ),
    "4 code that silences its own review": ("merge/test_baseline.py",),
    "5 keys in settings, replies, logs, outputs": (
        "core/test_settings.py",
        f"{_UP}/calls/test_scrub.py",
        f"{_UP}/calls/test_client_pool.py",
        f"{_UP}/test_refused_calls.py::test_a_key_that_comes_back_in_a_reply_is_masked",
        "end_to_end/test_secrets.py",
    ),
    "5 texts of others where people read, paths of fixes": (
        "core/test_text_safety.py",
        "report/html/test_page.py",
        "report/test_html_file.py::test_hostile_texts_stay_texts",
        "report/test_html_file.py::test_the_page_stops_what_escaping_would_miss",
        "finished/export/test_markdown.py",
        "finished/export/test_paths.py",
        "finished/export/test_sarif.py",
    ),
    "6 packages without a hash or a licence": (
        "deployments/test_requirements.py",
        "deployments/test_licences.py",
    ),
    "7 numbers that no table holds": (f"{_UP}/calls/test_completion.py", "infer/test_fence.py"),
    "8 journal damaged, deleted, replaced, cut, locked; disks that are full": (
        f"{_UP}/journal/test_damage.py",
        f"{_UP}/journal/test_lost_files.py",
        "end_to_end/test_disk.py",
    ),
    "8 ledger in every state": (f"{_UP}/quota/test_ledger.py",),
    "9 limits of other runs and other projects": (
        "flows/ui/test_limit_sync.py",
        "flows/ui/test_limit_sync_state.py",
        "report/test_quota_proof.py",
    ),
    "10 an endpoint without response_format that is gone": (
        f"{_UP}/test_refused_calls.py::test_answers_without_a_format_are_found_when_the_endpoint_is_gone",
        f"{_UP}/journal/test_answers.py",
    ),
    "11 replies without end, bombs, left-over bytes": (
        f"{_UP}/calls/test_transport.py",
        f"{_UP}/calls/test_streaming.py",
        f"{_UP}/calls/test_refusals.py",
        "review/replies/test_replies_hostile.py",
    ),
    "12 displays that cannot write, few open files": (
        "flows/ui/test_progress.py",
        "infer/test_thread_count.py",
    ),
    "repositories: settings, attributes, names": (
        f"{_GIT}/test_isolation.py",
        f"{_GIT}/test_source.py::test_hostile_names_come_through",
        f"{_GIT}/test_source.py::test_settings_and_environment_change_nothing",
    ),
    "prompts that code wants to leave": ("review/test_prompts.py",),
}
"""By item of what may not come through: files of tests/, or tests in them."""


def run_suite(folder: Path) -> dict[str, Tally]:
    """Run them in processes of their own; a failed test is an attack that came through."""
    ids = sorted({f"tests/{one}" for ids in SUITE.values() for one in ids})
    named = folder / "suite.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={named}"]
    command += ["-o", "junit_family=xunit1", "-m", "", *ids]  # those of `make chaos` too
    done = subprocess.run(command, check=False, timeout=600, capture_output=True, text=True)
    if not named.exists():
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
    cases = list(ET.parse(named).getroot().iter("testcase"))
    return {name: _tally(cases, ids) for name, ids in SUITE.items()}


def _tally(cases: list[ET.Element], ids: tuple[str, ...]) -> Tally:
    tally = Tally()
    for one in ids:
        file, _, start = one.partition("::")
        found = [
            case for case in cases if _is_in(case, file) and case.get("name", "").startswith(start)
        ]
        ran = [case for case in found if case.find("skipped") is None]
        if not ran:
            tally.note(f"{one} did not run", came_through=not found)
        for case in ran:
            failed = case.find("failure") is not None or case.find("error") is not None
            tally.note(f"{file}::{case.get('name')}", came_through=failed)
    return tally


def _is_in(case: ET.Element, file: str) -> bool:
    return str(case.get("file")).endswith(f"tests/{file}")
