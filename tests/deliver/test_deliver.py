"""Outputs in a bucket: a whole run on a real S3 server, and what that server may do to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployments.sandbox import Sandbox
from tasks.core.paths import DERIVED, RunPaths
from tasks.deliver.task import deliver_outputs
from tasks.finished.export import EXPORTS
from tests.bucket import Bucket, start_bucket
from tests.conftest import Finished, Job
from tests.runs import await_condition, config, numbered

MakeJob = Callable[..., Job]

INPUTS = 12
OUTPUTS = {
    "calls.parquet", "comments.parquet", "manifest.json", "rejected.jsonl", "report.html",
    "report.md", "reviews.json", "reviews.parquet",
}  # fmt: skip


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """One for all that leave its server alive; a driver keeps the first address that it was given."""
    with start_bucket() as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A few inputs."""
    return numbered(tmp_path / "inputs.jsonl", INPUTS)


@pytest.fixture
def job(sandbox: Sandbox, make_job: MakeJob, bucket: Bucket) -> Job:
    """A job whose processes may use the bucket."""
    return make_job(config(sandbox, processes=1)).using(bucket.environment)


def run(job: Job, source: Path, output: str, *more: str) -> Finished:
    """Run it into a URL, which pathlib would take the second slash from."""
    return job.run(source, "--output", output, *more)


def verify(job: Job, source: Path, url: str) -> Finished:
    return job.run(source, "--verify", url)


def local(job: Job) -> Path:
    """The one folder that the run has worked in."""
    (folder,) = (job.folder / "data" / "runs").iterdir()
    return folder


def test_outputs_are_in_the_bucket_and_the_next_run_finds_them(
    sandbox: Sandbox, job: Job, bucket: Bucket, source: Path
) -> None:
    """Byte for byte, told under their URLs, compared with; the checksums show what was changed there."""
    first = f"{bucket.url}/first/"
    done = run(job, source, first)

    assert done.code == 0, done.err
    found = bucket.files("first")
    folder = local(job)
    assert found.keys() == OUTPUTS
    assert found == {name: (folder / name).read_bytes() for name in OUTPUTS}
    assert f"{bucket.url}/first/reviews.parquet" in done.out
    assert verify(job, source, first).code == 0

    paid = sandbox.stats()["requests"]
    again = run(job, source, first, "--previous", first)
    assert again.code == 0, again.err
    assert sandbox.stats()["requests"] == paid
    history = json.loads(bucket.files("first")["manifest.json"])["history"]
    assert history["folder"] == f"{bucket.url}/first"
    assert history["new"] == history["gone"] == 0
    assert not (folder / ".previous").exists()

    bucket.put("first/reviews.json", b"{}")
    changed, nothing = verify(job, source, first), verify(job, source, f"{bucket.url}/nothing")
    assert (changed.code, nothing.code) == (2, 2)
    assert "reviews.json" in changed.err
    assert f"{bucket.url}/nothing has no manifest.json" in nothing.err


def test_a_bucket_that_cannot_be_written_is_met_before_the_first_call(
    sandbox: Sandbox, job: Job, source: Path
) -> None:
    """No such bucket, or no driver: exit 2 with the URL and the remedy, and nothing is paid."""
    missing = run(job, source, "s3://nobody-has-made-it/night")
    unknown = run(job, source, "gs://bucket/night")

    assert (missing.code, unknown.code) == (2, 2)
    assert "--output s3://nobody-has-made-it/night cannot be written" in missing.err
    assert "gcsfs" in unknown.err
    assert sandbox.stats()["requests"] == 0


@pytest.mark.chaos
def test_a_bucket_that_dies_in_mid_run_costs_no_answer(
    sandbox: Sandbox, job: Job, source: Path
) -> None:
    """The outputs are whole on this machine, the message says where, and a rerun pays for nothing."""
    sandbox.control(latency=1.0)
    with start_bucket() as dying:
        process = job.using(dying.environment).start(source, "--output", f"{dying.url}/night")
        await_condition(lambda: sandbox.stats()["requests"] > 0, "first calls")
    out, err = process.communicate(timeout=240)

    assert process.returncode == 2, out
    assert f"the outputs are whole in {local(job)}" in err
    assert "Traceback" not in err
    assert verify(job, source, str(local(job))).code == 0

    paid = sandbox.stats()["requests"]
    with start_bucket() as another:
        again = job.using(another.environment).command(source, "--output", f"{another.url}/night")
        assert again.code == 0, again.err
        assert another.files("night").keys() == OUTPUTS
    assert sandbox.stats()["requests"] == paid


def test_a_password_in_the_url_is_refused(sandbox: Sandbox, job: Job, source: Path) -> None:
    """It would be stored with the run: exit 2, nothing sent, and the message does not repeat it."""
    done = run(job, source, "ftp://night:planted-password@127.0.0.1/reviews")

    assert done.code == 2
    assert "must not hold a password" in done.err
    assert "planted-password" not in done.out + done.err
    assert sandbox.stats()["requests"] == 0


@pytest.mark.parametrize("carries", [True, False])
def test_only_the_outputs_of_the_run_are_delivered(tmp_path: Path, *, carries: bool) -> None:
    """An export of an earlier run beside them would speak of findings that are not these.

    Nor does one that was delivered before stay there; what is nobody's of ours does.
    """
    there = tmp_path / "there"
    there.mkdir()
    for name in (*DERIVED, "carried.jsonl", "report.md", "notes.txt"):
        (there / name).write_text("of an earlier run")
    paths = RunPaths(tmp_path / "out", f"file://{tmp_path}/there")
    paths.root.mkdir()
    expected = {*OUTPUTS, *(["carried.jsonl"] if carries else [])}
    for name in (*expected, "review.sarif", "evaluation.md"):
        (paths.root / name).write_text("x")
    tables = {name: {} for name in OUTPUTS if name.endswith(".parquet") or name == "reviews.json"}
    paths.manifest.write_text(json.dumps({"outputs": tables}))

    deliver_outputs(paths)

    assert {one.name for one in there.iterdir()} == {*expected, "notes.txt"}
    assert {(there / name).read_text() for name in expected - {"manifest.json"}} == {"x"}


def test_what_is_derived_from_a_run_is_known() -> None:
    """A new export is one of the files that go when another run takes their place."""
    run = RunPaths(Path("out"))
    evaluation = {run.evaluation.name, run.evaluation_json.name}
    assert set(DERIVED) == evaluation | {export.file for export in EXPORTS.values()}
