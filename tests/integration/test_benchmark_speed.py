"""The speed benchmark as a user runs it, on a tiny BERT."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Setting

ROOT = Path(__file__).resolve().parents[2]


def test_table_json_and_picture(setting: Setting, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    command = [sys.executable, str(ROOT / "scripts" / "benchmark_speed.py"), "--device", "cpu", "--threads", "1"]
    command += ["--sizes", str(setting.bert), "--batches", "1", "largest", "--largest", "3", "--runs", "1"]
    command += ["--source-tokens", "6", "--target-tokens", "9", "--memory-batch", "2", "--output", str(tmp_path)]
    command += ["--systems", "bnb-ctc", "bert2bert", "nat", "ctranslate2-int8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "table.md").read_text()
    assert table in done.stdout
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    names = ["bnb ctc, one pass", "floor of bnb ctc", "bert2bert, greedy", "bert2bert, beam 5"]
    names += ["nonautoregressive_transformer, one pass", "CTranslate2 int8, greedy", "CTranslate2 int8, beam 5"]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == names
    assert not any(" - " in row for row in rows[2:]), "a system has no time or no memory"
    written = json.loads((tmp_path / "speed.json").read_text())
    assert [system["batches"]["largest"]["batch"] for system in written["systems"]] == [3] * 7
    assert written["settings"]["options"]["source_tokens"] == 6
    assert (tmp_path / "speed.png").stat().st_size > 10_000
