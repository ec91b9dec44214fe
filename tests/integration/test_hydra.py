"""The experiments' configs: every one is complete and valid, and one is run with fairseq-hydra-train."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

from ..conftest import ROOT
from ..facts import named
from .conftest import Setting
from .experiments import CONFIGS, EXAMPLES, config_name, parse

OURS = "techdoc-en-de/ctc"
GROUPS = ("common", "task", "model", "criterion", "optimizer", "lr_scheduler", "optimization", "dataset", "checkpoint")
COMMENTS = ("fairseq-hydra-train", "Data:", "Expected:")
Command = Callable[..., str]


def test_there_are_configs() -> None:
    assert EXAMPLES / f"{OURS}.yaml" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=config_name)
def test_config_is_valid_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = parse(config_name(path))
    assert config.common.user_dir == "bnb_fairseq"
    head = text[: text.index("\ndefaults:")]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    assert [word for word in COMMENTS if word not in head] == []
    assert f"--config-dir examples --config-name {config_name(path)}\n" in head


@pytest.mark.slow
def test_configs_do_not_share_their_checkpoints() -> None:
    assert len({parse(config_name(path)).checkpoint.save_dir for path in CONFIGS}) == len(CONFIGS)


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("decoder_layers: 2", "decoder_layer: 2", ConfigKeyError),
        ("eval_bleu: true", "eval_blue: true", ConfigKeyError),
        ("warmup_updates: 100", "warm_up: 100", ConfigKeyError),
        ("\noptimizer:", "\ncriterion:\n  smooth: 1\n\noptimizer:", ConfigKeyError),
        ("max_tokens: 1024", "maximal_tokens: 1024", ConfigCompositionException),
        ("\ncommon:", "\ncommons: {}\ncommon:", AssertionError),
        ("encoder_layers: 3", "encoder_layers: three", ValidationError),
        ("decoder_layers: 2", "length_control: magic", ValidationError),
        ("\noptimizer:", "\ncriterion:\n  _name: bnb_los\n\noptimizer:", KeyError),
        ("- /base", "- /bass", MissingConfigException),
    ],
)
def test_wrong_key_or_value_is_found(right: str, wrong: str, error: type[Exception], tmp_path: Path) -> None:
    text = (EXAMPLES / f"{OURS}.yaml").read_text(encoding="utf-8")
    assert text.count(right) == 1
    (tmp_path / OURS).parent.mkdir()
    (tmp_path / f"{OURS}.yaml").write_text(text.replace(right, wrong), encoding="utf-8")
    shutil.copy(EXAMPLES / "base.yaml", tmp_path)
    with pytest.raises(error):
        parse(OURS, folder=tmp_path)


@pytest.fixture(scope="module")
def trained(setting: Setting, fairseq: Command, device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the shipped config for a few updates on the small data."""
    folder = tmp_path_factory.mktemp("hydra")
    overrides = [f"task.data={setting.data_bin}", f"model.bert_encoder={setting.bert}", "optimization.max_update=4"]
    overrides += [f"hydra.run.dir={folder}", f"common.cpu={str(device == 'cpu').lower()}"]
    command = ["--config-dir", "examples", "--config-name", OURS]
    before = set(ROOT.iterdir())
    output = fairseq("hydra-train", *command, *overrides, plugin=False, cwd=ROOT)
    assert "done training" in output
    assert set(ROOT.iterdir()) == before, "hydra left files behind"
    return folder


def test_hydra_trains_what_the_config_says(trained: Path) -> None:
    config = torch.load(trained / "checkpoint_last.pt")["cfg"]
    assert (config["task"]["_name"], config["model"]["_name"]) == ("translation_bnb", "bnb_transformer")
    assert (config["model"]["encoder_layers"], config["model"]["decoder_layers"]) == (3, 2)
    assert (config["model"]["cross_attention_init"], config["model"]["latent_size"]) == ("random", 0)
    assert config["criterion"]["label_smoothing"] == 0.1
    assert config["optimization"]["lr"] == [0.0005]
    assert config["task"]["eval_bleu"] is True


@pytest.fixture(scope="module")
def sweep(setting: Setting, fairseq: Command, device: str) -> Callable[..., str]:
    """Train the shipped config as a sweep over two learning rates."""
    data = [f"task.data={setting.data_bin}", "model._name=bnb_transformer_tiny", "model.bert_encoder=null"]
    layers = ["model.encoder_layers=1", "model.decoder_layers=1", f"common.cpu={str(device == 'cpu').lower()}"]
    command = ["--config-dir", "examples", "--config-name", OURS, "-m", *data, *layers, "task.eval_bleu=false"]
    command += ["checkpoint.best_checkpoint_metric=loss", "checkpoint.maximize_best_checkpoint_metric=false"]

    def train(*overrides: str, fails: bool = False) -> str:
        return fairseq("hydra-train", *command, *overrides, plugin=False, cwd=ROOT, fails=fails)

    return train


def rates(folder: Path) -> dict[str, tuple[list[float], int]]:
    """Learning rate and updates of each run's checkpoint."""
    found = {}
    for path in folder.rglob("checkpoint_last.pt"):
        state = torch.load(path)
        updates = state["optimizer_history"][-1]["num_updates"]
        found[str(path.parent.relative_to(folder))] = (state["cfg"]["optimization"]["lr"], updates)
    return found


@pytest.mark.slow
def test_runs_of_a_sweep_do_not_resume_each_other(sweep: Callable[..., str], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    both = "optimization.lr=[0.001],[0.002]"
    tensorboard = "common.tensorboard_logdir=${checkpoint.save_dir}/tensorboard"
    sweep(both, "optimization.max_update=2", f"hydra.sweep.dir={tmp_path / 'own'}", tensorboard)
    assert len(list((tmp_path / "own" / "0" / "tensorboard" / "valid").iterdir())) == 1
    assert len(list((tmp_path / "own" / "1" / "tensorboard" / "valid").iterdir())) == 1
    assert rates(tmp_path / "own") == {"0": ([0.001], 2), "1": ([0.002], 2)}
    sweep(both, "optimization.max_update=3", f"hydra.sweep.dir={tmp_path / 'own'}", tensorboard)
    assert rates(tmp_path / "own") == {"0": ([0.001], 3), "1": ([0.002], 3)}
    folders = (f"hydra.sweep.dir={tmp_path / 'logs'}", f"checkpoint.save_dir={shared}")
    output = sweep(both, "optimization.max_update=2", *folders, fails=True)
    assert named(output, shared, "optimization.lr=[0.001]", "optimization.lr=[0.002]")
    assert rates(shared) == {".": ([0.001], 2)}


def test_documentation_shows_what_the_examples_have() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), flags=re.DOTALL)
    shown, base = OmegaConf.create(block), OmegaConf.load(EXAMPLES / "base.yaml")
    assert OmegaConf.to_container(shown.hydra.sweep) == OmegaConf.to_container(base.hydra.sweep)
    assert OmegaConf.to_container(shown.checkpoint)["save_dir"] == OmegaConf.to_container(base.checkpoint)["save_dir"]


def test_generate_from_a_checkpoint_of_hydra(
    trained: Path, setting: Setting, fairseq: Command, translations: Callable[[str], dict[int, str]]
) -> None:
    output = fairseq("generate", setting.data_bin, "--path", trained / "checkpoint_best.pt", "--batch-size", 64)
    assert sorted(translations(output)) == list(range(300))


def test_config_trains_what_the_demo_trains() -> None:
    """Option by option, but for the folder it writes to and for --cpu, which the demo adds where there is no GPU."""
    script = (ROOT / "scripts" / "demo.sh").read_text(encoding="utf-8")
    found = re.search(r"fairseq-train (.*?)\n\}", script, flags=re.DOTALL)
    assert found is not None
    values = {"$demo": "demo", "$1": "demo/hydra", "$2": "3300", "$3": "5e-4", "$((updates * 2 / 3))": "2200"}
    line = found[1].replace("\\\n", " ").replace('"${plugin[@]}" ${device[@]+"${device[@]}"}', "--task translation_bnb")
    for name, value in values.items():
        line = line.replace(name, value)
    assert "$" not in line
    parser = options.get_training_parser()
    demo = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=shlex.split(line)))
    config = parse(OURS)
    config.common.user_dir = None
    config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    demo = OmegaConf.to_container(demo, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    assert isinstance(demo, dict)
    assert {group: config[group] for group in GROUPS} == {group: demo[group] for group in GROUPS}
