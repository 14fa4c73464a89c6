#!/bin/sh
# Waits for Prefect's server, then makes the pool, the deployments, and what sets lost runs to Crashed;
# doing it twice changes nothing. For compose.yaml and nightly-review-worker.service; in the project
# root, with PREFECT_API_URL. On one machine without either, `nightly-review up` does all of it.
set -eu
PATH="$PWD/.venv/bin:$PATH"
look='import os, urllib.request as u; u.urlopen(os.environ["PREFECT_API_URL"] + "/health", timeout=4)'
for _ in $(seq 60); do
    python -c "$look" 2>/dev/null && break
    sleep 2
done
if ! prefect work-pool inspect local >/dev/null 2>&1; then
    prefect work-pool create local --type process
    prefect work-pool set-concurrency-limit local 4
fi
prefect --no-prompt deploy --prefect-file deployments/prefect.yaml --all
nightly-review automate deployments/automations/lost_runs.yaml
