#!/usr/bin/env bash
# Environments that the runner is timed with, beside the checkout's own: one for the stub endpoint, one for each other harness.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -m venv .venv-stub
.venv-stub/bin/pip install -q uvloop orjson
