#!/usr/bin/env bash
# Makes .venv and installs what training, translating and testing need. Safe to interrupt and to run again: pip installs
# only what is missing. demo.sh and test.sh begin with it; by hand:
#
#   bash scripts/bootstrap.sh && source .venv/bin/activate
#
# BNB_PYTHON   the Python to use, 3.11 or 3.12 (default: the first one found)
# BNB_TORCH    cpu or cuda (default: cuda where nvidia-smi lists a GPU); a torch that is installed already is kept
# TORCH_ARGS   what to hand to `pip install` for torch instead, such as "torch==2.13.0 --index-url URL"

bnb_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bnb_venv=$bnb_root/.venv
bnb_log=$bnb_venv/bootstrap.log
bnb_fairseq="fairseq-fixed==0.12.3.1" # upstream fairseq made to work on Python 3.11 and later

bnb_fail() {
    echo "bootstrap: $*" >&2
    exit 1
}

bnb_find_python() {
    local name
    for name in ${BNB_PYTHON:-python3.11 python3.12 python3 python}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    bnb_fail "needs Python 3.11 or 3.12, but ${BNB_PYTHON:+BNB_PYTHON=$BNB_PYTHON is }$("${BNB_PYTHON:-python3}" --version 2>&1 |
        tail -n 1); install one of them, or name one with BNB_PYTHON=/path/to/python3.11"
}

# bnb_run TITLE COMMAND...: one step; its output goes to the log, its last line is shown every 15 seconds.
bnb_run() {
    local title=$1 begun=$SECONDS watcher
    shift
    echo "== $title"
    (
        waited=0
        while sleep 1 && kill -0 $$ 2>/dev/null; do
            waited=$((waited + 1))
            if ((waited % 15 == 0)); then
                echo "      $waited s: $(tail -n 1 "$bnb_log" 2>/dev/null | tr '\r' ' ' | cut -c1-100)"
            fi
        done
    ) &
    watcher=$!
    if ! "$@" >>"$bnb_log" 2>&1; then
        kill "$watcher" 2>/dev/null
        tail -n 25 "$bnb_log" >&2
        bnb_fail "installing $title failed; the whole log is $bnb_log. Run the same command again to go on from here."
    fi
    kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null || true
    echo "      done in $((SECONDS - begun)) s"
}

bnb_pip() {
    "$bnb_venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off "$@"
}

# bnb_has NAME: whether a folder NAME.dist-info, in which * may stand, is among the installed packages.
bnb_has() {
    compgen -G "$bnb_venv/lib/python3*/site-packages/$1.dist-info" >/dev/null
}

# Let pip forget what it was installing when it was killed; it writes RECORD last.
bnb_forget_incomplete() {
    local folder
    for folder in "$bnb_venv"/lib/python3*/site-packages/*.dist-info; do
        [[ -f $folder/RECORD ]] || rm -rf "$folder"
    done
}

bnb_install_torch() {
    local wanted=${BNB_TORCH:-}
    if [[ -n ${TORCH_ARGS:-} ]]; then
        # shellcheck disable=SC2086  # several arguments
        bnb_pip $TORCH_ARGS
        return
    fi
    if [[ -z $wanted ]]; then
        wanted=cpu
        if nvidia-smi -L 2>/dev/null | grep -q GPU; then wanted=cuda; fi
    fi
    case $wanted in
        # A build marked +cpu exists where pip's indexes offer one; elsewhere the plain one (on macOS it is for the CPU).
        cpu) bnb_pip "torch==2.13.0+cpu" || bnb_pip "torch==2.13.0" ;;
        cuda) bnb_pip "torch==2.13.0" ;;
        *)
            echo "BNB_TORCH must be cpu or cuda, but is $wanted"
            return 1
            ;;
    esac
}

bnb_install_fairseq() {
    bnb_pip "numpy<2.4" cython wheel "setuptools<81" || return 1
    # Not in parallel, and without debug information: two minutes instead of four. --no-deps leaves out torchaudio,
    # which nothing here uses and which breaks `import transformers` where its build does not match torch's.
    CFLAGS="-O1 -g0 -fwrapv -DNDEBUG" bnb_pip --no-build-isolation --no-deps --no-binary fairseq-fixed \
        "$bnb_fairseq"
}

bnb_install_rest() {
    bnb_pip -r "$bnb_root/scripts/requirements.txt" && bnb_pip --no-deps --no-build-isolation -e "$bnb_root"
}

bnb_bootstrap() {
    local python new=
    if ! "$bnb_venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(bnb_find_python) || exit 1
        echo "Making $bnb_venv with $("$python" --version)"
        "$python" -m venv --clear "$bnb_venv" || bnb_fail "$python cannot make a virtual environment"
    fi
    "$bnb_venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' ||
        bnb_fail ".venv must hold Python 3.11 or 3.12, but holds $("$bnb_venv/bin/python" --version); remove .venv"
    bnb_forget_incomplete
    if ! bnb_has 'torch-*'; then
        bnb_run "PyTorch" bnb_install_torch
        new=yes
    fi
    if ! bnb_has "fairseq_fixed-${bnb_fairseq#*==}"; then
        command -v c++ >/dev/null || command -v g++ >/dev/null ||
            bnb_fail "building fairseq needs a C++ compiler (on Debian: apt-get install g++ python3-dev)"
        bnb_run "fairseq, compiled here: about two minutes on two cores" bnb_install_fairseq
        new=yes
    fi
    bnb_run "libraries, tools and the plugin" bnb_install_rest
    if [[ -n $new ]]; then
        "$bnb_venv/bin/python" - <<'PYTHON' || bnb_fail "what was installed does not work; see $bnb_log"
import sys
import fairseq
import torch
import bnb_fairseq.plugin
print(f"Ready: Python {sys.version.split()[0]}, torch {torch.__version__} (CUDA {torch.version.cuda}), "
      f"fairseq {fairseq.__version__}, bnb_fairseq {bnb_fairseq.__version__}")
PYTHON
    fi
}

bnb_bootstrap
# shellcheck disable=SC1091
source "$bnb_venv/bin/activate"
