"""Reading the experiments in ``examples``: their configs as fairseq-hydra-train does, their READMEs' commands."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

import bnb_fairseq.plugin  # noqa: F401  (registers tasks, models and criterion)

from ..conftest import ROOT

EXAMPLES = ROOT / "examples"
CONFIGS = sorted(EXAMPLES.glob("*/*.yaml"))
NAMED = ("task", "model", "criterion", "optimizer", "lr_scheduler")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
LOOP = re.compile(r"\bfor (\w+) in (\S+)")
ASSIGNMENT = re.compile(r"\w+=")
OURS = re.compile(r"\s*(\w+=\S+ )*(fairseq-|bnb-|python )")


class Line(NamedTuple):
    """A command of this project in a README: its words, and the file that its output goes to."""

    words: list[str]
    output: str | None

    @property
    def hydra(self) -> tuple[str, list[str]] | None:
        """Config and overrides of a fairseq-hydra-train."""
        if self.words[0] != "fairseq-hydra-train":
            return None
        head, name, overrides = self.words[1:4], self.words[4], self.words[5:]
        assert head == ["--config-dir", "examples", "--config-name"], self.words
        return name, overrides


def config_name(path: Path) -> str:
    """What --config-name calls a config."""
    return f"{path.parent.name}/{path.stem}"


def dataclass_of(group: str, name: str) -> Any:
    """The dataclass that fairseq finds for ``group: {_name: name}``; a KeyError if there is none."""
    if group == "task":
        return TASK_DATACLASS_REGISTRY[name]
    if group == "model":
        return MODEL_DATACLASS_REGISTRY[ARCH_MODEL_NAME_REGISTRY.get(name, name)]
    return REGISTRIES[group]["dataclass_registry"][name]


def parse(name: str, overrides: Sequence[str] = (), folder: Path = EXAMPLES) -> DictConfig:
    """Compose a config, with fairseq's and the plugin's dataclasses, in which an unknown key is an error."""
    hydra_init(name)
    with initialize_config_dir(config_dir=str(folder)):
        config = compose(name, list(overrides), return_hydra_config=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = config.hydra.run.dir  # what hydra does for a single run
        HydraConfig.instance().set_config(config)
        del config.hydra
    unknown = set(config) - set(FairseqConfig.__dataclass_fields__)
    assert not unknown, f"fairseq knows no {', '.join(map(str, unknown))}"
    for group in NAMED:
        dataclass_of(group, config[group]._name)
    add_defaults(config)
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True, enum_to_str=True))
    HydraConfig.instance().cfg = None
    return resolved


def blocks(readme: Path, kind: str) -> list[str]:
    """The fenced blocks of a language; what ```bash holds is run by a test, ```sh is what prepares the data."""
    return [text for language, text in FENCE.findall(readme.read_text(encoding="utf-8")) if language == kind]


def lines(block: str) -> Iterator[Line]:
    """The commands of this project; the first item stands for the variable of a loop."""
    for variable, first in LOOP.findall(block):
        block = re.sub(rf'"?\${variable}\b"?', first, block)
    for line in filter(OURS.match, block.replace("\\\n", " ").splitlines()):
        words = [word for word in shlex.split(line, comments=True) if word not in ("&", "2>&1")]
        while ASSIGNMENT.match(words[0]):
            words = words[1:]
        output = words[-1] if words[-2] == ">" else None
        yield Line(words[:-2] if output else words, output)
