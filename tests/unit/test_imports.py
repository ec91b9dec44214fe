"""Importing the package imports little, and fairseq finds the plugin in whichever order the two are imported."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT
from .export.conftest import trained  # noqa: F401  # a fixture
from .folder.conftest import exported  # noqa: F401  # fixtures

HEAVY = ("torch", "fairseq", "transformers", "numpy", "tokenizers", "hydra", "sacrebleu")
REGISTERED = """
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY
from fairseq.tasks import TASK_REGISTRY
tasks = {"translation_bnb", "question_generation_bnb", "pretraining_bnb", "sentence_prediction_bnb"}
assert tasks <= set(TASK_REGISTRY)
assert {"bnb_transformer", "bert2bert", "bnb_classifier"} <= set(ARCH_MODEL_REGISTRY)
assert "bnb_loss" in CRITERION_REGISTRY and "bnb_adam" in OPTIMIZER_REGISTRY
"""
USER_DIR = f"""
import argparse
from fairseq.utils import import_user_module
import_user_module(argparse.Namespace(user_dir={str(ROOT / "bnb_fairseq")!r}))
"""


def run(program: str, *arguments: object) -> str:
    """Run a program in a fresh process: what it prints."""
    line = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def imported(program: str, *arguments: object) -> set[str]:
    """Run a program and return the packages that it has imported."""
    asked = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(json.loads(run(program + asked, *arguments).splitlines()[-1]))


def test_the_package_alone() -> None:
    assert imported("import bnb_fairseq").isdisjoint(HEAVY)
    assert imported("import bnb_fairseq.cli.translate, bnb_fairseq.cli.export").isdisjoint(HEAVY)
    assert run("import bnb_fairseq; print(bnb_fairseq.__version__, bnb_fairseq.Translator.__name__)").endswith(
        "Translator\n"
    )
    with_error = "import bnb_fairseq\ntry:\n    bnb_fairseq.Missing\nexcept AttributeError as error:\n    print(error)"
    assert run(with_error) == "module 'bnb_fairseq' has no attribute 'Missing'\n"


@pytest.mark.parametrize(
    "program",
    [
        f"import bnb_fairseq.translator\nimport fairseq\n{USER_DIR}",
        f"import fairseq.tasks\nimport bnb_fairseq\n{USER_DIR}",
        "import fairseq\nimport bnb_fairseq",
    ],
    ids=["translator first", "fairseq first", "without a user directory"],
)
@pytest.mark.slow
def test_fairseq_finds_the_plugin(program: str) -> None:
    run(program + REGISTERED)


def test_fairseq_finds_the_plugin_in_a_package_that_was_imported() -> None:
    run(f"import bnb_fairseq\n{USER_DIR}\n{REGISTERED}")


def test_translating_needs_no_fairseq(exported: dict[str, Path]) -> None:  # noqa: F811
    """Not even with a search; nor does it need torch's compiler, which takes a second to import."""
    program = """
import sys
from bnb_fairseq import Translator
translator = Translator.load(sys.argv[1])
for options in ({}, {"ctc_beam": 3, "ctc_token_bonus": 1.0}, {"nbest": 2}):
    assert translator.translate(["the cell opens"], **options)[0].error is None
assert "torch._dynamo" not in sys.modules
"""
    found = imported(program, exported["ctc"])
    assert found.isdisjoint({"fairseq", "transformers", "hydra", "omegaconf", "sacrebleu", "scipy", "sklearn"})
    assert {"torch", "sentencex"} <= found


def test_serving_imports_neither_torch_nor_fairseq() -> None:
    found = imported("import bnb_fairseq.serving.app, bnb_fairseq.serving.server")
    assert found.isdisjoint({"torch", "fairseq", "transformers"})
    assert "starlette" in found


def test_torch_that_is_missing(exported: dict[str, Path]) -> None:  # noqa: F811
    """Is named with the command that installs it; so is fairseq, which an autoregressive model needs."""
    program = """
import importlib.util, sys
real = importlib.util.find_spec
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[2]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
importlib.util.find_spec = lambda name, *others: None if name == sys.argv[2] else real(name, *others)
from bnb_fairseq import Translator
try:
    Translator.load(sys.argv[1])
except ImportError as error:
    print(error)
"""
    said = run(program, exported["ctc"], "torch")
    assert 'pip install "torch==' in said
    assert "fairseq-fixed" not in said
    said = run(program, exported["autoregressive"], "fairseq")
    assert "bnb_fairseq needs fairseq, which pip does not install along with it." in said
    assert 'pip install "torch==' not in said
    assert run(program, exported["ctc"], "fairseq") == ""


def rooms() -> dict[str, int]:
    """Return the places of the rooms in the table of ``CONTRIBUTING.md``, 0 on top."""
    rows = re.findall(r"(?m)^\| ((?:`[\w.]+`(?:, )?)+) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return {name.removesuffix(".py"): i for i, row in enumerate(rows) for name in re.findall(r"`([\w.]+)`", row)}


def test_imports_point_down_the_table_of_rooms() -> None:
    """Those of a function, too; rooms of one row use neither of each other."""
    package, places, found = ROOT / "bnb_fairseq", rooms(), set()
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders <= places.keys()
    for path in package.rglob("*.py"):
        inner = path.relative_to(package).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                target = (*inner[: len(inner) - node.level], *name.split("."))[0]
                if target != inner[0] and places.get(target, 99) <= places.get(inner[0], -1):
                    found.add((f"{'/'.join(inner)}", target))
    assert found == {("models/from_pretrained", "translator")}
