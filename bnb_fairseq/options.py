"""Print the options of the package: ``python -m bnb_fairseq.options``, or with names such as ``bnb_loss`` behind it.

``--help`` of fairseq's commands prints none of them: it ends before fairseq adds the options of a task, a model, a
criterion and an optimizer. Hydra uses the same names: ``--ctc-beam`` of a task is ``task.ctc_beam``.
"""

import argparse
import sys
from argparse import Action, ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import ARCH_MODEL_INV_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import MISSING

from . import plugin  # noqa: F401  (registers what is listed)
from .criterions.bnb_loss import DERIVED, LOGGED

USUAL = ("translation_bnb", "bnb_transformer")  # the first of their kind on the page; others follow by their names
GENERATION = (  # fairseq's options of generation that a non-autoregressive model reads
    "iter_decode_max_iter",
    "iter_decode_force_max_iter",
    "iter_decode_with_beam",
    "iter_decode_with_external_reranker",
    "nbest",
    "print_step",
    "retain_iter_history",
)
METAVARS = {int: "INT", float: "FLOAT"}
HEAD = """# Options

`python -m bnb_fairseq.options --markdown` generates this page. `python -m bnb_fairseq.options bnb_loss` prints the
options of one part in a terminal. `fairseq-train --help` prints none of them: it ends before fairseq adds those of
a task, a model, a criterion and an optimizer.

On a command line, write `--ctc-beam 10`. In a config of `fairseq-hydra-train`, set the field of its part: `ctc_beam` of
`task`. Switches are off by default.
"""


class Part(NamedTuple):
    """A task, model, criterion or optimizer of the package.

    Attributes:
        kind: such as ``task``.
        names: its names on the command line; several for a model with named architectures.
        actions: its options in argparse's form.
    """

    kind: str
    names: tuple[str, ...]
    actions: tuple[Action, ...]

    @property
    def title(self) -> str:
        """Its choice on the command line."""
        flag = {"model": "arch", "generation": ""}.get(self.kind, self.kind)
        return " ".join([f"--{flag}", " | ".join(self.names)]) if flag else self.names[0]


def parts() -> list[Part]:
    """Every part of the package that has options, the usual ones of each kind first."""
    registries: dict[str, dict[str, Any]] = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}
    for kind in ("criterion", "optimizer"):
        registries[kind] = REGISTRIES[kind]["dataclass_registry"]
    found = [generation()]
    for kind, registry in registries.items():
        ours = [name for name, dataclass in registry.items() if _is_ours(dataclass)]
        for name in sorted(ours, key=lambda name: (name not in USUAL, name)):
            names = tuple(ARCH_MODEL_INV_REGISTRY[name]) if kind == "model" else (name,)
            found.append(Part(kind, names, tuple(_actions(registry[name]()))))
    return [*found[1:], found[0]]


def generation() -> Part:
    """Fairseq's options of generation that a non-autoregressive model reads, with the tasks' defaults."""
    parser = ArgumentParser()
    TASK_REGISTRY["translation_bnb"].add_args(parser)
    actions = [action for action in _actions(GenerationConfig()) if action.dest in GENERATION]
    for action in actions:
        set_by_tasks = parser.get_default(action.dest)
        action.default = action.default if set_by_tasks is None else set_by_tasks
    return Part("generation", ("generation",), tuple(actions))


def _is_ours(dataclass: Any) -> bool:
    return str(dataclass.__module__).partition(".")[0] == __package__


def _actions(options: Any) -> Iterator[Action]:
    parser = ArgumentParser(add_help=False)
    gen_parser_from_dataclass(parser, options)
    for action in parser._actions:
        if action.nargs != 0 and action.choices is None:
            action.metavar = METAVARS.get(action.type, "TEXT")  # type: ignore[call-overload]
        yield action


def default_of(action: Action) -> str:
    """The default as typed; "" for none and for a switch that is off."""
    unset = action.default is None or action.default is False or action.default == MISSING
    return "" if unset else str(action.default)


def text(part: Part) -> str:
    """Help of a part for a terminal."""
    parser = ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    group = parser.add_argument_group(part.title)
    for action in part.actions:
        default = default_of(action)
        said = action.help or ""
        action.help = said if not default or "(default" in said else f"{said} (default: {default})"
        group._add_action(action)
    return parser.format_help()


def markdown(found: Sequence[Part]) -> str:
    """Markdown page of all options; a part lists only those that no earlier one of its kind has."""
    sections = [HEAD]
    for i, part in enumerate(found):
        base, shared = _nearest(part, found[:i])
        own = [action for action in part.actions if _row(action) not in shared]
        lines = [f"## `{part.title}`", ""]
        if part.kind == "generation":
            lines[0] = "## Generation"
            lines += ["Of fairseq's options, a non-autoregressive model reads these ([decoding](decoding.md)).", ""]
        if base is not None:
            lines += [f"The options of `{base.names[0]}`{_but(base, shared)}{', and:' if own else '.'}", ""]
        if own:
            lines += ["| option | values | default | meaning |", "|---|---|---|---|", *map(_row, own), ""]
        sections.append("\n".join(lines))
    return "\n".join(sections).rstrip() + "\n"


def logged() -> str:
    """Table of the values that ``bnb_loss`` logs."""
    lines = ["## What `bnb_loss` logs", "", "| value | unit | meaning |", "|---|---|---|"]
    for each in (*LOGGED, *DERIVED):
        meaning = each.meaning.replace("|", "\\|")
        lines.append(f"| `{each.name}` | {each.unit} | {meaning} |")
    return "\n".join(lines) + "\n"


def _nearest(part: Part, earlier: Iterable[Part]) -> tuple[Part | None, set[str]]:
    """The part of the same kind that shares most options, and their rows."""
    rows = set(map(_row, part.actions))
    shared = [(other, rows & set(map(_row, other.actions))) for other in earlier if other.kind == part.kind]
    base, common = max(shared, key=lambda pair: len(pair[1]), default=(part, set()))
    return (base, common) if len(common) * 2 > len(rows) else (None, set())


def _but(base: Part, shared: set[str]) -> str:
    missing = [_names(action).partition(", ")[0] for action in base.actions if _row(action) not in shared]
    return f" except {', '.join(missing)}" if missing else ""


def _names(action: Action) -> str:
    return ", ".join(f"`{name}`" for name in sorted(action.option_strings, key=len, reverse=True)) or "`DATA`"


def _row(action: Action) -> str:
    values = str(action.metavar or "switch")
    if action.choices is not None:
        values = ", ".join(f"`{choice}`" for choice in action.choices)
    default = default_of(action)
    said = " ".join((action.help or "").split()).replace("%%", "%").replace("|", "\\|")
    return f"| {_names(action)} | {values} | {f'`{default}`' if default else ''} | {said} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the options of the named parts, or of all."""
    found = parts()
    names = sorted({part.kind for part in found} | {name for part in found for name in part.names})
    parser = ArgumentParser(prog="python -m bnb_fairseq.options", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to print (default: all): {', '.join(names)}")
    parser.add_argument("--markdown", action="store_true", help="write a page in Markdown")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in names]
    if unknown:
        parser.error(f"NAME must be one of {', '.join(names)}, but is {', '.join(unknown)}")
    chosen = [part for part in found if not given.names or {part.kind, *part.names} & set(given.names)]
    sys.stdout.write(f"{markdown(chosen)}\n{logged()}" if given.markdown else "\n".join(map(text, chosen)))


if __name__ == "__main__":
    main()
