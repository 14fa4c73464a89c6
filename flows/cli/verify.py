"""The command that checks a finished run."""

from __future__ import annotations

import sys
from typing import cast

from flows.cli.finished import finished_run
from tasks.core.files import read_json
from tasks.core.manifest import Manifest, ended_well
from tasks.core.paths import DERIVED, RunPaths
from tasks.finished.verify import verify

__all__ = ["verify_run"]


def verify_run(place: str) -> int:
    """Say whether the run at `place`, a folder or a URL, is whole; returns the exit code.

    0: it is, and complete, or with gaps that were accepted. 3: it is, and was marked INCOMPLETE. 2: it
    is not, or is no run.

    Raises:
        ConfigError, OutputError: the URL cannot be opened or read.
    """
    with finished_run(place, also=DERIVED) as paths:
        return _verified(paths)


def _verified(paths: RunPaths) -> int:
    manifest = read_json(paths.manifest)
    if not isinstance(manifest, dict) or "outputs" not in manifest:
        print(f"error: {paths.place} has no manifest.json: name a finished run", file=sys.stderr)
        return 2
    findings = verify(paths, cast("Manifest", manifest))
    for finding in findings:
        print(f"error: {finding}", file=sys.stderr)
    if findings:
        print(f"{paths.place} is not as the run {manifest['run_id']} left it", file=sys.stderr)
        return 2
    counts, files = manifest["counts"], len(manifest["outputs"])
    ends = {name: count for name, count in counts["cells"].items() if name != "planned" and count}
    cells = ", ".join(f"{count:,} {name}" for name, count in ends.items())
    print(f"verified: {files} files, {counts['inputs']:,} inputs, checks and reviews: {cells}")
    print(f"run {manifest['run_id']}: {manifest['result']}")
    return 0 if ended_well(manifest) else 3
