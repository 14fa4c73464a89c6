"""A run whose key expires: the shard's process reads it anew, and nobody reads it in a file."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from deployments.sandbox import Sandbox
from tests.conftest import Job

CONFIG = """
mode = "check"
processes = 1
shards = 1
[app_ids.rotating]
key = '''cmd:sh -c "echo x >> reads; printf planted-token-%%04d $(wc -l < reads)"'''
base_url = "%s"
quota = []
[[check]]
name = "one"
model = "m"
"""


def test_a_key_that_expired_before_the_shard_began(
    sandbox: Sandbox, make_job: Callable[[str], Job]
) -> None:
    """The run and its shard read a key each, the third is good: one refusal, all inputs complete."""
    sandbox.control(keys={"good": {"key": "planted-token-0003"}}, strict_keys=True)
    job = make_job(CONFIG % sandbox.base_url)
    rows = [{"input_id": f"i{n}", "content": f"x = {n}\n", "path": "a.py"} for n in range(12)]
    (job.folder / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    finished = job.run("in.jsonl")

    assert finished.code == 0, finished.err
    assert (job.folder / "reads").read_text() == "x\n" * 3
    statuses = [row["status"] for row in sandbox.log()]
    assert (statuses.count(401), statuses.count(200)) == (1, 12)
    files = [path for path in job.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"planted-token-0" in path.read_bytes()]
    assert "planted-token-0" not in finished.out + finished.err
