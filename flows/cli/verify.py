"""The command that checks a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from tasks.core.files import read_json
from tasks.core.locations import is_url
from tasks.core.manifest import Manifest
from tasks.core.paths import RunPaths
from tasks.finished.verify import verify
from tasks.outputs.fetch import fetch_outputs

__all__ = ["verify_command"]


def verify_command(folder: str) -> int:
    """Say whether the run in `folder`, which may be a URL, is whole; returns the exit code.

    0: it is, and complete. 3: it is, and was marked INCOMPLETE. 2: it is not, or is no run.

    Raises:
        ConfigError, OutputError: the URL cannot be opened or read.
    """
    if is_url(folder):
        with TemporaryDirectory() as copy:
            return _verified(fetch_outputs(folder.rstrip("/"), Path(copy)))
    return _verified(RunPaths(Path(folder)))


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
    cells, files = manifest["counts"]["cells"], len(manifest["outputs"])
    print(f"verified: {files} files, {manifest['counts']['inputs']:,} inputs, {cells}")
    print(f"run {manifest['run_id']}: {manifest['result']}")
    return 0 if manifest["complete"] else 3
