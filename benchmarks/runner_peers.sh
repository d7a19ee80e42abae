#!/usr/bin/env bash
# Environments that the runner is timed with, beside the checkout's own: one for the stub endpoint, one for each other harness.
# Several gigabytes; one after another and with low priority. What cannot be installed is said to be missing, here and by the runner.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

into() {  # an environment's name, then what pip installs into it
  "$python" -m venv ".venv-$1"
  nice -n 19 ".venv-$1/bin/pip" install -q "${@:2}" || echo "missing: $1"
}

into stub uvloop orjson
into inspect-ai inspect-ai==0.3.285 openai
into deepeval deepeval==4.3.1
into rubricon-eval 'rubricon-eval[judge]==0.3.0'
into lm-eval 'lm-eval[api]==0.4.13'
if command -v npm > /dev/null; then
  nice -n 19 npm install --silent --no-audit --no-fund --prefix .venv-promptfoo promptfoo@0.121.20 || echo "missing: promptfoo"
else
  echo "missing: promptfoo needs npm"
fi
