#!/usr/bin/env bash
# Every check of the project, quick ones first: ruff, mypy --strict, pydoclint, then unit, integration and system tests.
# Installs what is missing. Arguments go to pytest: `bash scripts/test.sh --device cuda`, `bash scripts/test.sh -k ctc`.
# Tests run in up to four processes of one thread each, in the order above.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/bootstrap.sh

check() {
    local begun=$SECONDS
    echo "== $*"
    "$@"
    echo "   $((SECONDS - begun)) s"
}

check ruff check .
check ruff format --check .
check mypy
check pydoclint bnb_fairseq scripts
python scripts/fetch_bert.py demo/bert || echo "no BERT could be fetched: the parity test on a real one is skipped"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
check pytest tests/unit tests/integration tests/system --numprocesses auto --maxprocesses 4 --durations 10 "$@"
