"""Every example: its README's commands, in order, on a few made lines, with a tiny BERT for those it names."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from fairseq.distributed.utils import infer_init_method
from omegaconf import OmegaConf

from ..conftest import ROOT
from ..squad_files import make_articles, write_squad
from . import forked
from .conftest import make_bert
from .experiments import CONFIGS, EXAMPLES, Line, blocks, config_name, lines, parse

Write = Callable[[Path, Sequence[str]], Path]
Data = Callable[[str, int], list[tuple[str, str]]]
OUR_OWN = "techdoc-en-de"  # its data are here, it is what scripts/demo.sh does, and test_hydra runs its config
NAMES = ["glue", "iwslt14_de_en", "pretrain_wikipedia", "squad_qg", "wmt14_en_de", "wmt16_ro_en", "xsum"]
CHAPTERS = ("# ", "## Data", "## Expected scores")
PARTS = {"train": 40, "valid": 8, "test": 8}
BERTS = ("bert-base-cased", "bert-base-uncased", "bert-base-german-cased", "bert-base-multilingual-cased")
QUICK = (
    *("common.fp16=false", "optimization.max_update=5", "dataset.num_workers=0", "dataset.data_buffer_size=0"),
    *("dataset.validate_interval_updates=1", "checkpoint.save_interval_updates=1"),
)
DATASETS = """import json
from pathlib import Path

def load_dataset(name, part=None, split=None, revision=None):
    made = json.loads(Path("made.json").read_text(encoding="utf-8"))[name]
    return made[split] if split else made
"""


def make_pairs(folder: Path, name: str, sides: tuple[str, str], small_data: Data, write: Write) -> None:
    for part, count in PARTS.items():
        rows = small_data("train" if part == "train" else part, count)
        rows = [(target, source) if sides[1] == "en" else (source, target) for source, target in rows]
        for i, side in enumerate(sides):
            write(folder / "data" / name / f"{part}.{side}", [row[i] for row in rows])


def documents(small_data: Data) -> Iterator[str]:
    text = [source for source, _ in small_data("train", 600)]
    for start in range(0, len(text), 10):
        yield "\n".join(text[start : start + 10])


def make_datasets(folder: Path, small_data: Data) -> None:
    """What the READMEs load with HuggingFace's datasets."""
    texts = list(documents(small_data))
    summaries = [{"document": text, "summary": " ".join(text.split()[:5])} for text in texts]
    pairs = [{"translation": {"ro": target, "en": source}} for source, target in small_data("train", 40)]
    made = {
        "EdinburghNLP/xsum": {"train": summaries[:40], "validation": summaries[40:48], "test": summaries[48:56]},
        "wikimedia/wikipedia": {"train": [{"text": text.replace("\n", "\n\n", 3)} for text in texts]},
        "wmt/wmt16": {"train": [*pairs, {"translation": {"ro": "", "en": "nothing"}}]},
    }
    (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "stand-ins").mkdir()
    (folder / "stand-ins" / "datasets.py").write_text(DATASETS, encoding="utf-8")


def make_squad(folder: Path, write: Write) -> None:
    """SQuAD's two files, and the titles that divide the first of them."""
    raw = folder / "data" / "squad_qg" / "raw"
    raw.mkdir()
    articles = make_articles(PARTS["train"] // 4 + PARTS["test"] // 4)
    titles = [str(article["title"]) for article in articles]
    write_squad(raw / "train-v1.1.json", articles)
    write_squad(raw / "dev-v1.1.json", make_articles(PARTS["valid"] // 4, first=20))
    write(raw / "doclist-train.txt", titles[: PARTS["train"] // 4])
    write(raw / "doclist-test.txt", titles[PARTS["train"] // 4 :])


def make_glue(folder: Path, small_data: Data, write: Write) -> None:
    for part, count in (("train", 40), ("dev", 8)):
        rows = [source for source, _ in small_data("train", 2 * count)]
        labels = ("entailment", "not_entailment")
        examples = [f"{i}\t{rows[2 * i]}\t{rows[2 * i + 1]}\t{labels[i % 2]}" for i in range(count)]
        write(folder / "data" / "glue" / "RTE" / f"{part}.tsv", ["index\tsentence1\tsentence2\tlabel", *examples])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, small_data: Data, write: Write) -> Path:
    """A folder in which the READMEs' commands can be typed, with data as their preparations leave them."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("bnb_fairseq", "examples", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    for name in (*NAMES, "glue/RTE"):
        (folder / "data" / name).mkdir(parents=True)
    text = write(folder / "text", [x for pair in small_data("train", 300) for x in pair])
    bert = make_bert(folder / "tiny", [text], symbols=600, width=32, layers=2, positions=512)
    for name in BERTS:
        (folder / name).symlink_to(bert)
    for name, sides in (("wmt14_en_de", ("en", "de")), ("wmt16_ro_en", ("ro", "en")), ("iwslt14_de_en", ("de", "en"))):
        make_pairs(folder, name, sides, small_data, write)
    make_datasets(folder, small_data)
    make_squad(folder, write)
    make_glue(folder, small_data, write)
    return folder


# What a teacher that was trained for a moment writes fits no canvas.
OTHERS = {"wmt14_en_de/ctc": ("task.data=data-bin/wmt14_en_de",)}


def run_readme(name: str, folder: Path, device: str) -> list[tuple[Line, str]]:
    """Run what a README has in ```python and ```bash, but each config once only, and return what was printed."""
    readme, cuda, printed = EXAMPLES / name / "README.md", device == "cuda", []
    logs, trained = folder / "logs" / name, set()
    logs.mkdir(parents=True)
    for i, text in enumerate(blocks(readme, "python")):
        script = logs / f"{i}.py"
        script.write_text(text, encoding="utf-8")
        forked.run(["python", str(script)], folder, logs / f"{i}.txt", [str(folder / "stand-ins")])
    for i, line in enumerate(line for block in blocks(readme, "bash") for line in lines(block)):
        words, log = line.words, logs / f"{i}.log" if line.output is None else folder / line.output
        if line.hydra is not None:
            config = line.hydra[0]
            if config in trained:
                continue
            trained.add(config)
            words = [*words, *QUICK, f"common.cpu={str(not cuda).lower()}", *OTHERS.get(config, ())]
        elif words[1] == "examples/glue/run_glue.py" and not cuda:
            words = [*words, "--cpu"]
        elif words[1:3] == ["--best", "5"]:  # BLEU stays 0 here, and of equal ones fairseq keeps one or two
            words = [*words[:2], "1", *words[3:]]
        printed.append((line, forked.run(words, folder, log, cuda=cuda)))
    return printed


def test_there_are_eight_examples() -> None:
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir()) == sorted([*NAMES, OUR_OWN])
    assert len(NAMES) == 7
    assert {path.parent.name for path in CONFIGS} == {*NAMES, OUR_OWN}, "an example without a config"
    assert sorted(path.name for path in EXAMPLES.iterdir() if path.is_file()) == ["base.yaml", "train.slurm"]


@pytest.mark.parametrize("name", [*NAMES, OUR_OWN])
def test_readme_is_complete(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^```(\w*)$", text, flags=re.MULTILINE)
    assert set(kinds) <= {"bash", "sh", "python", ""}
    if name != OUR_OWN:
        assert [chapter for chapter in CHAPTERS if not re.search(f"(?m)^{chapter}", text)] == []
        assert "https://" in text.partition("## Data")[2].partition("\n## ")[0], "where the data come from"
        assert "no figure of its own" in text
        started = re.findall(r"examples/train\.slurm ([\w/]+)", text)
        assert started
        assert set(started) <= {config_name(path) for path in CONFIGS if path.parent.name == name}
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (EXAMPLES / name / link).exists(), link
    for block in [*blocks(EXAMPLES / name / "README.md", "sh"), *blocks(EXAMPLES / name / "README.md", "bash")]:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.parent.name != OUR_OWN], ids=config_name)
def test_one_and_eight_gpus_make_the_same_updates(path: Path) -> None:
    readme = EXAMPLES / path.parent.name / "README.md"
    found = [line.hydra for kind in ("bash", "sh") for block in blocks(readme, kind) for line in lines(block)]
    wanted = [hydra[1] for hydra in found if hydra is not None and hydra[0] == config_name(path)]
    assert len(wanted) == 2, f"{readme} must have a command for one GPU, and then one for eight"
    sizes = []
    for gpus, overrides in zip((1, 8), wanted, strict=True):
        config = parse(config_name(path), overrides)
        assert len(config.optimization.update_freq) == 1
        batch = config.dataset.max_tokens or config.dataset.batch_size
        sizes.append(gpus * batch * config.optimization.update_freq[0])
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    "name", [name if name == "squad_qg" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_dry_run(name: str, workplace: Path, device: str) -> None:
    printed = run_readme(name, workplace, device)
    trained = [(line.hydra[0], text) for line, text in printed if line.hydra is not None]
    assert sorted(config for config, _ in trained) == [config_name(x) for x in CONFIGS if x.parent.name == name]
    for config, text in trained:
        assert "done training" in text
        state = torch.load(workplace / parse(config).checkpoint.save_dir / "checkpoint_best.pt")
        assert state["cfg"]["model"]["_name"] == parse(config).model._name
    for line, text in printed:
        if line.words[0] == "fairseq-generate":
            assert len(re.findall(r"(?m)^D-\d+\t", text)) == PARTS["test"]
        elif line.words[0] == "fairseq-validate":
            assert re.search(r"valid on 'valid' subset \| loss [\d.]+", text), text[-2000:]


def test_preparations_name_real_options(workplace: Path) -> None:
    """Commands of this project in ```sh: their parsers take them."""
    found = [line for name in NAMES for block in blocks(EXAMPLES / name / "README.md", "sh") for line in lines(block)]
    assert len(found) >= 3
    for i, line in enumerate(found):
        if line.hydra is not None:
            parse(*line.hydra)
        else:
            forked.run(line.words, workplace, workplace / f"{i}.txt", only_parse=True)


@pytest.fixture
def slurm(workplace: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run train.slurm where srun tells what it was to run, and scontrol names two nodes."""
    stand_ins = {"srun": 'printf "%s\\n" "$@"', "scontrol": 'printf "%s\\n" node-a node-b'}
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def submit(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **path, "SLURM_SUBMIT_DIR": str(workplace), **variables}
        script = ["bash", str(EXAMPLES / "train.slurm"), *arguments]
        return subprocess.run(script, capture_output=True, text=True, env=environment, check=False)

    return submit


@pytest.mark.parametrize(("nodes", "gpus", "update_freq"), [(1, 1, 8), (1, 4, 2), (1, 8, 1), (2, 8, 1), (1, 3, 3)])
def test_slurm_script_asks_for_the_processes_that_there_are(
    nodes: int, gpus: int, update_freq: int, slurm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    job = {"SLURM_NNODES": str(nodes), "SLURM_GPUS_ON_NODE": str(gpus), "SLURM_JOB_ID": "123456"}
    words = slurm("xsum/ctc", "optimization.max_update=7", **job).stdout.splitlines()
    hydra = Line(words, None).hydra
    assert hydra is not None
    config = parse(*hydra)
    assert hydra[0] == "xsum/ctc"
    assert config.distributed_training.distributed_world_size == nodes * gpus
    assert config.distributed_training.distributed_port == 33456
    assert list(config.optimization.update_freq) == [update_freq]
    assert config.optimization.max_update == 7


def test_fairseq_finds_ranks_in_slurms_environment(
    slurm: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the second of two nodes of eight GPUs."""
    job = {"SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8", "SLURM_JOB_ID": "1", "SLURM_NTASKS_PER_NODE": "1"}
    words = slurm("wmt14_en_de/ctc", **job).stdout.splitlines()
    hydra = Line(words, None).hydra
    assert hydra is not None
    config = OmegaConf.create(parse(*hydra).distributed_training)
    for name, value in {**job, "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_NODEID": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    infer_init_method(config)
    assert config.distributed_init_method == "tcp://node-a:10001"
    assert (config.distributed_rank, config.distributed_world_size, config.distributed_num_procs) == (8, 16, 8)


def test_slurm_script_wants_a_config(slurm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = slurm()
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sbatch" in done.stderr
