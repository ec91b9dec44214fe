"""The experiments' configs: every one is complete and valid, and one is run with fairseq-hydra-train."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

import bnb_fairseq  # noqa: F401  (registers task, model and criterion)

from .conftest import Setting

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "examples").rglob("*.yaml"))
GROUPS = ("common", "task", "model", "criterion", "optimizer", "lr_scheduler", "optimization", "dataset", "checkpoint")
COMMENTS = ("fairseq-hydra-train", "Data:", "Expected:")
Command = Callable[..., str]


def dataclass_of(group: str, name: str) -> Any:
    """The dataclass that fairseq finds for ``group: {_name: name}``; a KeyError if there is none."""
    if group == "task":
        return TASK_DATACLASS_REGISTRY[name]
    if group == "model":
        return MODEL_DATACLASS_REGISTRY[ARCH_MODEL_NAME_REGISTRY.get(name, name)]
    return REGISTRIES[group]["dataclass_registry"][name]


def parse(text: str) -> DictConfig:
    """Read a config with the dataclasses of fairseq and the plugin, in which an unknown key is an error."""
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    for key in ("defaults", "hydra"):
        config.pop(key)
    schema = OmegaConf.structured(FairseqConfig)
    for group in config:
        if "_name" in config[group]:
            schema[group] = OmegaConf.structured(dataclass_of(str(group), config[group]._name))
    parsed = OmegaConf.merge(schema, config)
    assert isinstance(parsed, DictConfig)
    return parsed


def test_there_are_configs() -> None:
    assert ROOT / "examples" / "techdoc-en-de" / "ctc.yaml" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_config_is_valid_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = parse(text)
    assert config.task._name == "translation_bnb"
    assert config.lr_scheduler._name, "fairseq-hydra-train needs lr_scheduler"
    head = text[: text.index("\ndefaults:")]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    assert [word for word in COMMENTS if word not in head] == []
    assert str(path.parent.relative_to(ROOT)) in head, "the command must name the config's folder"
    assert f"--config-name {path.stem}" in head


@pytest.mark.parametrize(
    ("right", "wrong", "error"),
    [
        ("decoder_layers: 2", "decoder_layer: 2", ConfigKeyError),
        ("eval_bleu: true", "eval_blue: true", ConfigKeyError),
        ("label_smoothing: 0.1", "label_smoothing: 0.1\n  smooth: 1", ConfigKeyError),
        ("warmup_updates: 100", "warm_up: 100", ConfigKeyError),
        ("max_tokens: 1024", "maximal_tokens: 1024", ConfigKeyError),
        ("\ncommon:", "\ncommons: {}\ncommon:", ConfigKeyError),
        ("encoder_layers: 3", "encoder_layers: three", ValidationError),
        ("length_control: ctc", "length_control: magic", ValidationError),
        ("_name: bnb_loss", "_name: bnb_los", KeyError),
    ],
)
def test_wrong_key_or_value_is_found(right: str, wrong: str, error: type[Exception]) -> None:
    text = (ROOT / "examples" / "techdoc-en-de" / "ctc.yaml").read_text(encoding="utf-8")
    assert text.count(right) == 1
    with pytest.raises(error):
        parse(text.replace(right, wrong))


@pytest.fixture(scope="module")
def trained(setting: Setting, fairseq: Command, device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the shipped config for a few updates on the small data."""
    folder = tmp_path_factory.mktemp("hydra")
    overrides = [f"task.data={setting.data_bin}", f"model.bert_encoder={setting.bert}", "optimization.max_update=4"]
    overrides += [f"checkpoint.save_dir={folder}", f"common.cpu={str(device == 'cpu').lower()}"]
    command = ["--config-dir", Path("examples") / "techdoc-en-de", "--config-name", "ctc"]
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
    values = {"$demo": "demo", "$1": "demo/hydra", "$2": "1500", "$3": "5e-4", "$updates": "1500"}
    line = found[1].replace("\\\n", " ").replace('"${plugin[@]}" ${device[@]+"${device[@]}"}', "--task translation_bnb")
    for name, value in values.items():
        line = line.replace(name, value)
    assert "$" not in line
    parser = options.get_training_parser()
    demo = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, input_args=shlex.split(line)))
    config = parse((ROOT / "examples" / "techdoc-en-de" / "ctc.yaml").read_text(encoding="utf-8"))
    config.common.user_dir = None
    config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    demo = OmegaConf.to_container(demo, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    assert isinstance(demo, dict)
    assert {group: config[group] for group in GROUPS} == {group: demo[group] for group in GROUPS}
