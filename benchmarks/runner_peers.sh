#!/usr/bin/env bash
# Environments that the runner is timed with, beside the checkout's own: one for the stub endpoint, one for each other harness.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -m venv .venv-stub
.venv-stub/bin/pip install -q uvloop orjson
# One after another and with low priority: they are large. The runner says which ones are missing.
for peer in inspect-ai==0.3.285 deepeval==4.3.1 rubricon-eval==0.3.0 'lm-eval[api]==0.4.13'; do
  name="${peer%%[\[=]*}"
  "$python" -m venv ".venv-$name"
  case "$name" in
    inspect-ai) extra=(openai) ;;
    rubricon-eval) peer='rubricon-eval[judge]==0.3.0' extra=() ;;
    *) extra=() ;;
  esac
  nice -n 19 ".venv-$name/bin/pip" install -q "$peer" "${extra[@]}" || echo "missing: $name"
done
