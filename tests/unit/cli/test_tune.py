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


def test_an_autoregressive_model(tmp_path: Path) -> None:
    line = [str(tmp_path), "--path", "x.pt", "--beam", "5", "10", "--ctc-lm-path", "lm", "--ctc-lm-weight", "0", "0.5"]
    settings = make_settings(COMMAND.parse([*line, "--lenpen", "0", "1"]))
    assert settings == [
        Setting(beam, "lm" if weight else None, weight, 0.0, 0.0, lenpen)
        for beam in (5, 10)
        for weight in (0.0, 0.5)
        for lenpen in (0.0, 1.0)
    ]
    assert [one.command_line() for one in settings[:4]] == [
        "--beam 5 --lenpen 0",
        "--beam 5",
        "--beam 5 --ctc-lm-path lm --ctc-lm-weight 0.5 --lenpen 0",
        "--beam 5 --ctc-lm-path lm --ctc-lm-weight 0.5",
    ]
    assert settings[2].search() == {"beam": 5, "ctc_lm_weight": 0.5, "ctc_token_bonus": 0.0, "lenpen": 0.0}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["--beam", "5", "--ctc-beam", "4"], "--ctc-beam ... without --beam ... [4]"),
        (["--beam", "5", "--ctc-blank-penalty", "1"], "--ctc-blank-penalty ... without --beam ... [1.0]"),
        (["--lenpen", "1"], "--lenpen ... need --beam ... [1.0]"),
        (["--beam", "0"], "--beam ... at least 1 ... 0"),
    ],
)
def test_options_of_the_other_kind(given: list[str], fault: str, tmp_path: Path) -> None:
    (tmp_path / "dict.de.txt").touch()
    with pytest.raises(ValueError) as caught:
        COMMAND.execute([str(tmp_path), "--path", str(tmp_path / "dict.de.txt"), *given])
    check_faults(caught.value, [fault])


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
