#!/usr/bin/env bash
# The whole job on real text: install, fetch a BERT, binarize, train, count a language model, translate, score.
# Run again, it reuses what is done; killed, it resumes.
#
# DEMO_DIR      where everything that it makes lies (default: demo)
# DEMO_UPDATES  updates of the training (default: 3300)
# DEMO_DEVICE   cpu or cuda (default: cuda where torch sees a GPU)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

started=$SECONDS
source scripts/bootstrap.sh
installed=$((SECONDS - started))

demo=${DEMO_DIR:-demo}
updates=${DEMO_UPDATES:-3300}
plugin=(--user-dir bnb_fairseq --task translation_bnb)
[[ -n "${DEMO_DEVICE:-}" ]] || DEMO_DEVICE=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
device=()
[[ $DEMO_DEVICE == cuda ]] || device=(--cpu --distributed-world-size 1) # else one process a GPU
# Idle threads sleep. By default they spin, which on a machine that other programs use can take the core that the working
# thread waits for, and slows the training many times over.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
# A warning must not fall into the middle of a translation where both go to the same file.
export PYTHONUNBUFFERED=1
mkdir -p "$demo/stages" "$demo/output"
[[ -f $demo/updates ]] || echo "$updates" >"$demo/updates"
if [[ $(cat "$demo/updates") != "$updates" ]]; then
    echo "demo: DEMO_UPDATES is $updates, but $demo holds a run of $(cat "$demo/updates"); name another DEMO_DIR" >&2
    exit 1
fi

# stage NAME COMMAND...: run a command unless it is done; its seconds are kept for the table at the end.
stage() {
    local name=$1 record="$demo/stages/$1" begun=$SECONDS
    shift
    if [[ -f $record ]]; then
        echo "== $name: done before, reused"
        return
    fi
    echo "== $name"
    "$@"
    echo "$((SECONDS - begun))" >"$record.partial"
    mv "$record.partial" "$record"
}

# quietly FILE COMMAND...: keep the command's output in a file; show its end if the command fails.
quietly() {
    local output=$1
    shift
    "$@" >"$output.partial" 2>&1 || {
        tail -n 30 "$output.partial" >&2
        return 1
    }
    mv "$output.partial" "$output"
}

# watched LOG COMMAND...: append the command's output to a log and show how the training goes on.
watched() {
    local log=$1
    shift
    "$@" 2>&1 | tee -a "$log" | { grep --line-buffered -oE "(train_inner|valid on|Loaded checkpoint).*" || true; } || {
        tail -n 30 "$log" >&2
        return 1
    }
}

preprocess() {
    rm -rf "$demo/data-bin"
    quietly "$demo/output/preprocess.txt" fairseq-preprocess "${plugin[@]}" --source-lang en --target-lang de \
        --trainpref "$demo/text/train" --validpref "$demo/text/valid" --testpref "$demo/text/test" \
        --srcdict "$demo/en-bert" --tgtdict "$demo/text/de.model" --destdir "$demo/data-bin" --workers 2
    grep -oE "[[]..[]] .*sents.*" "$demo/output/preprocess.txt"
}

# train FOLDER UPDATES LEARNING-RATE: continues from checkpoint_last.pt where there is one. After two thirds of the updates
# the learning rate, which has fallen to nearly 0, rises once more, to 0.6 of its first height. Dropout would slow the
# learning, and seven passes over the data are few.
train() {
    watched "$1.log" fairseq-train "$demo/data-bin" "${plugin[@]}" ${device[@]+"${device[@]}"} --save-dir "$1" \
        --arch bnb_transformer --bert-encoder "$demo/bert" --encoder-layers 3 --decoder-layers 2 \
        --dropout 0 --attention-dropout 0 --length-control ctc --float32-matmul-precision medium \
        --criterion bnb_loss --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1 \
        --lr "$3" --lr-scheduler cosine --warmup-updates 100 --lr-period-updates "$((updates * 2 / 3))" --t-mult 0.5 \
        --lr-shrink 0.6 --max-update "$2" --max-tokens 1024 --seed 1 --num-workers 0 --data-buffer-size 0 \
        --eval-bleu --best-checkpoint-metric bleu --maximize-best-checkpoint-metric \
        --validate-interval-updates 250 --save-interval-updates 250 --keep-interval-updates 1 \
        --no-epoch-checkpoints --log-format simple --log-interval 50
}

# translate FOLDER OUTPUT OPTIONS...
translate() {
    quietly "$demo/output/$2" fairseq-generate "$demo/data-bin" "${plugin[@]}" ${device[@]+"${device[@]}"} \
        --path "$1/checkpoint_best.pt" --batch-size 32 --scoring sacrebleu "${@:3}"
}

evaluate() {
    bnb-score texts --source "$demo/text/test.en" --reference "$demo/text/test.de" --samples 10 \
        "folder, with search=$demo/output/folder.txt" "int8 folder, with search=$demo/output/int8.txt" \
        "trained, with search=$demo/output/searched.txt" "trained=$demo/output/trained.txt" \
        "untrained=$demo/output/untrained.txt" --card "$demo/model" | tee "$demo/output/report.txt"
}

stage bert python examples/techdoc-en-de/fetch_bert.py "$demo/bert"
stage text python examples/techdoc-en-de/prepare_text.py examples/techdoc-en-de/data "$demo/text"
# The symbols that the training text uses are a third of the BERT's, and those that the model needs.
stage vocabulary python -m bnb_fairseq.vocabulary "$demo/text/train.en" --trim "$demo/bert" --output "$demo/en-bert"
stage preprocess preprocess
stage untrained train "$demo/untrained" 1 0
stage training train "$demo/trained" "$updates" 5e-4
stage language-model bnb-ngram "$demo/data-bin" --order 4 --digits 3 --output "$demo/lm.arpa"
stage translate-untrained translate "$demo/untrained" untrained.txt
stage translate translate "$demo/trained" trained.txt
# What bnb-tune found best on the validation part.
stage search translate "$demo/trained" searched.txt \
    --ctc-beam 10 --ctc-lm-path "$demo/lm.arpa" --ctc-lm-weight 0.3 --ctc-token-bonus 2
# export_folder FOLDER OPTIONS...
export_folder() {
    local calibrate=(--calibrate valid)
    ((updates >= 500)) || calibrate=() # a model that has hardly learnt is no surer of what is right
    rm -rf "$1"
    bnb-export --checkpoint "$demo/trained/checkpoint_best.pt" --data "$demo/data-bin" --lm "$demo/lm.arpa" \
        --search '{"ctc_beam": 10, "ctc_lm_weight": 0.3, "ctc_token_bonus": 2.0}' ${calibrate[@]+"${calibrate[@]}"} --name techdoc-en-de \
        --description "English to German, trained on techdoc: LibreOffice's help (MPL-2.0) and Home Assistant (Apache-2.0)." \
        --output "$@"
}

# A model folder needs neither the checkpoint nor the data-bin folder, nor fairseq; with an int8 graph nor torch.
stage export export_folder "$demo/model"
# int8 loses about 0.2 BLEU. On 630 sentences chance adds as much, so the limit of 0.3 would sometimes end the demo.
stage export-int8 export_folder "$demo/int8" --onnx int8 --no-torch-weights --force
stage translate-folder bnb-translate "$demo/model" --input "$demo/text/test.en" --output "$demo/output/folder.txt"
stage translate-int8 bnb-translate "$demo/int8" --input "$demo/text/test.en" --output "$demo/output/int8.txt"
echo "== report"
evaluate

echo
printf '%-22s%10s\n' stage seconds
printf '%-22s%10s\n' "installation" "$installed"
for name in bert text vocabulary preprocess untrained training language-model translate-untrained translate search export \
    export-int8 translate-folder translate-int8; do
    printf '%-22s%10s\n' "$name" "$(cat "$demo/stages/$name")"
done
echo "this run: $((SECONDS - started)) s; checkpoints, outputs and the log of the training lie in $demo/"
