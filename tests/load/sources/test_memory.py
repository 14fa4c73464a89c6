from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MEASURE = """
import resource, sys
from itertools import islice
from tasks.load.sources import read_source

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for source in sys.argv[1:]:
    list(islice(read_source(source), 10))
before = peak()
for source in sys.argv[1:]:
    print(sum(1 for row in read_source(source)), peak() - before)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Peak memory, as the kernel counted it, grows by a small part of each file's 50 MB."""
    rows = [
        {"input_id": f"id-{number}", "content": f"x = {number}\n" * 1200} for number in range(5000)
    ]
    sources = [tmp_path / f"in.{ending}" for ending in ("jsonl", "csv", "parquet")]
    with sources[0].open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with sources[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["input_id", "content"])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), sources[2], row_group_size=500, compression="none")
    assert all(source.stat().st_size > 45_000_000 for source in sources)
    command = [sys.executable, "-c", MEASURE, *map(str, sources)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    measured = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [count for count, _ in measured] == [5000] * 3
    assert max(kilobytes for _, kilobytes in measured) < 20_000
