#!/usr/bin/env bash
# Every check of the project, quick ones first: ruff, mypy --strict, pydoclint, then unit, system and integration tests.
#
#   bash scripts/test.sh                       checks, unit tests, a test of each command and feature, three trainings
#   bash scripts/test.sh --all                 checks and all tests, those marked `slow`, too
#   bash scripts/test.sh -k ctc                tests whose names have this, without the checks
#   bash scripts/test.sh tests/unit/losses     tests of a file or folder, without the checks
#
# --all works with the last two as well. All other arguments go to pytest: `bash scripts/test.sh --device cuda`.
# Installs what is missing. Without -k, file or folder the tests run in up to four processes of one thread each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

arguments=()
some=
for argument in "$@"; do
    case $argument in
        --all) arguments+=(-m "") ;; # in place of the marker expression in pyproject.toml
        *) arguments+=("$argument") ;;
    esac
    if [[ $argument == -k* || -e ${argument%%::*} ]]; then some=yes; fi
done

if [[ -n $some && -x .venv/bin/pytest ]]; then
    # shellcheck disable=SC1091
    source .venv/bin/activate
    exec pytest "${arguments[@]}"
fi
source scripts/bootstrap.sh
[[ -z $some ]] || exec pytest "${arguments[@]}"

check() {
    local begun=$SECONDS
    echo "== $*"
    "$@"
    echo "   $((SECONDS - begun)) s"
}

check ruff check .
check ruff format --check .
check mypy
check pydoclint bnb_fairseq scripts examples
python examples/techdoc-en-de/fetch_bert.py demo/bert || echo "no BERT could be fetched: the parity test on a real one is skipped"
# Each process takes a run of neighbouring tests, whose fixtures it makes once; one that is done takes half of another's.
# Trainings come before the many short commands: at the end no process waits for another one's last training.
spread=(--numprocesses auto --maxprocesses 4 --dist worksteal)
check pytest tests/unit tests/system tests/integration "${spread[@]}" --durations 10 ${arguments[@]+"${arguments[@]}"}
