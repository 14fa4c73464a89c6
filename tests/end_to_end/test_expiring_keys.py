"""A run whose keys expire: the shard's process reads them anew, and nobody reads them in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import orjson

from deployments.sandbox import Sandbox
from tests.conftest import Job
from tests.runs import await_condition

CONFIG = """
mode = "check"
processes = 1
shards = 1
threads = 2
[app_ids.rotating]
key = '''cmd:sh -c "echo x >> reads; printf planted-token-%04d $(wc -l < reads)"'''
base_url = "{0}"
quota = []
[app_ids.block]
key = "secret:planted-block"
base_url = "{0}"
quota = []
[[check]]
name = "one"
model = "m"
"""
INPUTS = 60


def _save_block(value: str) -> None:
    # Prefect takes two seconds to import, which most tests and xdist's own process do without.
    from prefect.blocks.system import Secret  # noqa: PLC0415

    Secret(value=value).save("planted-block", overwrite=True, _sync=True)  # type: ignore[call-arg]


def _rotate(sandbox: Sandbox) -> None:
    """Once the run is under way, the block's key is replaced, and the old one revoked."""
    await_condition(lambda: sandbox.stats()["statuses"].get("200", 0) >= INPUTS // 4, "a quarter")
    # Prefect's server takes its time, in which nothing is answered.
    sandbox.control(script=[{"fault": "status_429"}], fault_wait=0.5)
    _save_block("planted-token-new")
    sandbox.control(script=[], revoke=["old"])


def test_keys_that_expire_before_and_in_mid_run(
    sandbox: Sandbox, make_job: Callable[[str], Job]
) -> None:
    """
    A command's key has expired when the shard begins, a Secret block's does while it works.

    The run and its shard read a key each, the third of the command is good: one refusal. The block is
    read once more, after the refusal of what was in flight. All inputs are complete.
    """
    keys = {"third": "0003", "old": "old", "new": "new"}
    sandbox.control(
        keys={alias: {"key": f"planted-token-{end}"} for alias, end in keys.items()},
        strict_keys=True,
        latency=0.1,
    )
    job = make_job(CONFIG.format(sandbox.base_url))
    _save_block("planted-token-old")
    rows = [{"input_id": f"i{n}", "content": f"x = {n}\n", "path": "a.py"} for n in range(INPUTS)]
    (job.folder / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with ThreadPoolExecutor(1) as executor:
        # Which server is Prefect's stands in the context, which a thread does not take along.
        rotation = executor.submit(copy_context().run, _rotate, sandbox)
        finished = job.run("in.jsonl")
        rotation.result(60)

    assert finished.code == 0, finished.err
    assert (job.folder / "reads").read_text() == "x\n" * 3
    sent = Counter((row["key"], row["status"]) for row in sandbox.log())
    statuses = Counter(row["status"] for row in sandbox.log())
    assert min(sent["third", 200], sent["old", 200], sent["new", 200]) > 1
    assert 1 <= sent["old", 401] <= 2, "what was in flight"
    assert (statuses[200], statuses[401]) == (INPUTS, sent["old", 401] + 1)
    written = b"".join(path.read_bytes() for path in job.folder.rglob("*") if path.is_file())
    written += (finished.out + finished.err).encode()
    assert not [end for end in keys.values() if f"planted-token-{end}".encode() in written]
