"""All attacks against real processes, and what came through: nothing, or exit code 1.

python -m tests.attacks [--only WORD]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.attacks.contents import contents
from tests.attacks.files import state_files
from tests.attacks.people import another_user, web_pages, without_login
from tests.attacks.replies import endpoints, numbers, wires
from tests.attacks.repositories import injections, names, settings
from tests.attacks.suite import run_suite
from tests.attacks.tally import Tally

ATTACKS: dict[str, Callable[[Path], Tally]] = {
    "every route of Prefect's API without a login, by other names, from other origins": without_login,
    "pages in Chromium, one of them by DNS rebinding": web_pages,
    "another user of the machine, umask 0": another_user,
    "settings, hooks, variables and objects of a clone": settings,
    "options and commands as ranges and branches": injections,
    "names of files": names,
    "what is no HTTP, never ends, is sent twice, unpacks to 600 MB": wires,
    "numbers and contents of replies": numbers,
    "redirects with the key, keys that come back, waits of a week": endpoints,
    "a run of hostile code, names, models and answers": contents,
    "faults of journal and ledger under a quota": state_files,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--only", default="", help="attacks with this word, and not the suite")
    word = parser.parse_args().only
    rows = [(name, *_tried(name, attack)) for name, attack in ATTACKS.items() if word in name]
    if not word:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = run_suite(Path(folder))
        rows += [
            (f"tests: {name}", tally, time.monotonic() - begun) for name, tally in found.items()
        ]
    print("\n| what was tried | how often | came through |")
    print("|---|---:|---:|")
    for name, tally, _ in rows:
        through = f"not tried: {tally.skipped}" if tally.skipped else len(tally.through)
        print(f"| {name} | {tally.tried:,} | {through} |")
    tried, through = (sum(row[1].tried for row in rows), sum(len(row[1].through) for row in rows))
    print(f"| all | {tried:,} | {through} |")
    for name, tally, _ in rows:
        for what in tally.through:
            print(f"\ncame through: {name}: {what}")
    return 1 if through else 0


def _tried(name: str, attack: Callable[[Path], Tally]) -> tuple[Tally, float]:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally = attack(Path(folder))
        except Exception:  # noqa: BLE001  (the table has a line for it, and the others still run)
            traceback.print_exc()
            tally = Tally(through=["broke off: see above; what it would have shown is not known"])
    seconds = time.monotonic() - begun
    print(f"  {name}: {tally.tried:,} in {seconds:.0f} s", file=sys.stderr)
    return tally, seconds


if __name__ == "__main__":
    sys.exit(main())
