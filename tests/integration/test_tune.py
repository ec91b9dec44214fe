"""The search's options, tried on a validation set, beside what fairseq-generate makes of the same."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu

from bnb_fairseq.data.dictionary import load_dictionary

from ..conftest import ROOT
from ..facts import says
from . import forked
from .conftest import Setting

Command = Callable[..., str]


def tune(*arguments: object, fails: bool = False) -> str:
    done = forked.capture("python", "-m", "bnb_fairseq.cli.tune", *arguments, "--cpu")
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr if fails else done.stdout


@pytest.fixture
def language_model(setting: Setting, tmp_path: Path) -> Path:
    path = tmp_path / "lm.arpa"
    script = ["python", "-m", "bnb_fairseq.cli.ngram", str(setting.data_bin), "--order", "2"]
    forked.run([*script, "--output", str(path)], tmp_path, tmp_path / "log", [str(ROOT)])
    return path


def test_every_combination_is_as_fairseq_generate_has_it(
    setting: Setting,
    checkpoint: Path,
    language_model: Path,
    fairseq: Command,
    translations: Callable[[str], dict[int, str]],
) -> None:
    grid = ["--ctc-beam", 2, 4, "--ctc-lm-path", language_model, "--ctc-lm-weight", 0, 0.5, "--ctc-token-bonus", 0, 3]
    grid += ["--ctc-blank-penalty", 0, 0.5]
    search = language_model.with_name("search.json")
    output = tune(setting.data_bin, "--path", checkpoint, *grid, "--output", search)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines()[2:-2]]
    settings = {tuple(row[:4]) for row in rows}
    assert settings == set(itertools.product("24", ("0", "0.5"), "03", ("0", "0.5")))
    assert len(rows) == 16
    scores = [float(row[4]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(row[4:7]) for row in rows}) > 1  # BLEU, chrF and length ratio

    dictionary = load_dictionary(str(setting.data_bin / "dict.de.txt"))
    references = (setting.text / "valid.de").read_text(encoding="utf-8").splitlines()
    best = output.splitlines()[-1]
    values = json.loads(search.read_text())
    names = ("ctc_beam", "ctc_lm_weight", "ctc_token_bonus", "ctc_blank_penalty")
    assert [f"{values[name]:g}" for name in names] == rows[0][:4]
    lm, others = r"( --ctc-lm-path \S+ --ctc-lm-weight 0\.5)?", r"( --ctc-token-bonus 3)?( --ctc-blank-penalty 0\.5)?"
    assert re.fullmatch(rf"best: --ctc-beam [24]{lm}{others}", best)
    for row in (rows[0], rows[-1]):
        options = ["--ctc-beam", row[0], "--ctc-token-bonus", row[2], "--ctc-blank-penalty", row[3]]
        options += ["--ctc-lm-path", str(language_model), "--ctc-lm-weight", row[1]] if row[1] != "0" else []
        generate = [setting.data_bin, "--path", checkpoint, "--gen-subset", "valid", *options]
        hypotheses = translations(fairseq("generate", *generate))
        texts = [hypotheses[i].replace(dictionary.unk_word, "UNKNOWNTOKENINHYP") for i in range(len(references))]
        bleu = sacrebleu.corpus_bleu(texts, [references])
        assert float(row[4]) == pytest.approx(bleu.score, abs=0.051)
        assert float(row[5]) == pytest.approx(sacrebleu.corpus_chrf(texts, [references]).score, abs=0.051)
        assert float(row[6]) == pytest.approx(bleu.sys_len / bleu.ref_len, abs=0.0051)


def test_one_line_says_what_is_wrong(setting: Setting, checkpoint: Path, tmp_path: Path) -> None:
    line = [setting.data_bin, "--path", checkpoint]
    error = tune(*line, "--ctc-beam", 4, -1, "--ctc-lm-weight", 0.3, "--batch-size", 0, fails=True)
    faults = (
        "bnb-tune: --batch-size ... at least 1 ... 0; --ctc-beam ... at least 0 ... -1; "
        "--ctc-lm-path and --ctc-lm-weight ... given together ... None and [0.3]"
    )
    assert says(error, faults)
    assert len(error.splitlines()) == 1
    error = tune(*line, "--ctc-lm-path", tmp_path / "none", "--ctc-lm-weight", 0.3, fails=True)
    assert error.startswith("bnb-tune: ")
    assert "--ctc-lm-path" in error
    assert len(error.splitlines()) == 1
