"""The speed benchmark as a user runs it, on a tiny BERT."""

import json
from pathlib import Path

import pytest

from ..conftest import ROOT
from . import forked
from .conftest import Setting

SYSTEMS = {
    "bnb-ctc": ["bnb ctc, one pass", "floor of bnb ctc"],
    "bert2bert": ["bert2bert, greedy", "bert2bert, beam 5"],
    "nat": ["nonautoregressive_transformer, one pass"],
    "ctranslate2-int8": ["CTranslate2 int8, greedy", "CTranslate2 int8, beam 5"],
}


@pytest.mark.slow
def test_table_json_and_picture(setting: Setting, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    command = ["python", ROOT / "scripts" / "benchmarks" / "speed.py", "--device", "cpu", "--threads", "1"]
    command += ["--sizes", setting.bert, "--batches", "1", "largest", "--largest", "3", "--runs", "1"]
    command += ["--source-tokens", "6", "--target-tokens", "9", "--memory-batch", "2", "--output", tmp_path]
    command += ["--systems", *SYSTEMS]
    done = forked.capture(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    table = (tmp_path / "table.md").read_text()
    assert table in done.stdout
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    names = [name for several in SYSTEMS.values() for name in several]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[2:]] == names
    cells = [row.strip("| ").split(" | ") for row in rows[2:]]
    assert not any("-" in (row[2], *row[4:]) for row in cells), "a system has no time or no memory"
    assert [row[3] != "-" for row in cells] == [name.startswith("CTranslate2") for name in names], "a file has a size"
    written = json.loads((tmp_path / "speed.json").read_text())
    assert [system["batches"]["largest"]["batch"] for system in written["systems"]] == [3] * len(names)
    assert written["settings"]["options"]["source_tokens"] == 6
    assert (tmp_path / "speed.png").stat().st_size > 10_000
