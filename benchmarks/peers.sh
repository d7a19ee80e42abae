#!/usr/bin/env bash
# Environments with the packages that the statistics are timed against, beside the checkout's own; irrCAC pins an old scipy.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 -m venv .venv-peers
.venv-peers/bin/pip install -q statsmodels krippendorff evalica ppi-python crowd-kit
python3 -m venv .venv-irrcac
.venv-irrcac/bin/pip install -q irrCAC
