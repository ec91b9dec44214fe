"""Which settings the command tries, and what it refuses."""

from pathlib import Path

import pytest

from bnb_fairseq.cli.tune import COMMAND, make_settings
from bnb_fairseq.evaluation.tuning import Outcome, Setting, table

from ...facts import check_faults


def test_every_combination_once(tmp_path: Path) -> None:
    line = [str(tmp_path), "--path", "x.pt", "--ctc-beam", "4", "2", "--ctc-lm-path", "lm", "--ctc-token-bonus", "1"]
    settings = make_settings(COMMAND.parse([*line, "--ctc-lm-weight", "0", "0.5", "0.5"]))
    assert settings == [
        *(Setting(4, None, 0.0, 1.0), Setting(4, "lm", 0.5, 1.0)),
        *(Setting(2, None, 0.0, 1.0), Setting(2, "lm", 0.5, 1.0)),
    ]


def test_one_pass_has_only_the_penalty(tmp_path: Path) -> None:
    line = [str(tmp_path), "--path", "x.pt", "--ctc-beam", "0", "4", "--ctc-token-bonus", "1", "2"]
    settings = make_settings(COMMAND.parse([*line, "--ctc-blank-penalty", "0", "-0.5"]))
    assert settings == [
        *(Setting(0, None, 0.0, 0.0, penalty) for penalty in (0.0, -0.5)),
        *(Setting(4, None, 0.0, bonus, penalty) for bonus in (1.0, 2.0) for penalty in (0.0, -0.5)),
    ]


def test_all_faults_at_once(tmp_path: Path) -> None:
    line = [str(tmp_path / "no"), "--path", "x.pt", "--batch-size", "0", "--ctc-beam", "3", "-1", "--ctc-lm-path", "lm"]
    with pytest.raises(ValueError) as caught:
        COMMAND.execute(line)
    faults = [
        f"DATA_BIN ... a folder made by fairseq-preprocess ... {tmp_path}/no",
        "--batch-size ... at least 1 ... 0",
        "--ctc-beam ... at least 0 ... -1",
        "--ctc-lm-path and --ctc-lm-weight ... given together ... lm and None",
    ]
    check_faults(caught.value, faults)


def test_the_best_comes_first_with_its_options() -> None:
    outcomes = [
        Outcome(Setting(10, None, 0.0, 0.0), 20.0, 44.4, 0.9, 7.0),
        Outcome(Setting(4, "a.arpa", 0.25, 1.5, 0.5), 30.0, 55.5, 1.0, 5.0),
    ]
    assert table(outcomes).splitlines()[2:] == [
        "| 4 | 0.25 | 1.5 | 0.5 | 30.0 | 55.5 | 1.00 | 5.0 |",
        "| 10 | 0 | 0 | 0 | 20.0 | 44.4 | 0.90 | 7.0 |",
        "",
        "best: --ctc-beam 4 --ctc-lm-path a.arpa --ctc-lm-weight 0.25 --ctc-token-bonus 1.5 --ctc-blank-penalty 0.5",
    ]
    assert outcomes[0].setting.command_line() == "--ctc-beam 10"
