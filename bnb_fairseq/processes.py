"""Several processes that train one model: joined under torchrun, refused if they would train separately.

fairseq starts processes on GPUs only. Without GPUs it starts none and exits with status 0, and under torchrun each
process trains alone.
"""

import os
import sys
from argparse import ArgumentError, ArgumentParser
from collections.abc import Callable, Sequence

import torch
from fairseq import utils
from omegaconf import DictConfig

from .checkpoints.commands import fairseq_command
from .compat import torchrun_address

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # environment of its processes
STARTING = ("train", "validate", "interactive", "eval_lm")  # fairseq's commands that start processes
FOR_GPUS = ("pytorch_ddp", "c10d")  # --ddp-backend
FOR_CPUS = "legacy_ddp"
SEEDS_APART = 1_000_003


def torchrun_command(processes: int) -> str:
    """Command that trains with several processes on this machine."""
    return f"torchrun --nproc_per_node {processes} -m bnb_fairseq.cli.train DATA ..."


def launched() -> int:
    """Number of processes that torchrun has started on all machines; 1 without torchrun."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in TORCHRUN) else 1


def join_torchrun(parser: ArgumentParser) -> None:
    """Set options of ``fairseq-train`` from torchrun's environment; without torchrun, do nothing.

    Args:
        parser: fairseq's; its defaults are changed.

    Raises:
        ValueError: if the command line sets such an option to another value, there are fewer GPUs than processes, or
            restarted processes would not find each other.
    """
    if not all(name in os.environ for name in TORCHRUN):
        return
    fixed = {
        "distributed_world_size": launched(),
        "distributed_rank": int(os.environ["RANK"]),
        "device_id": int(os.environ["LOCAL_RANK"]),
        "distributed_init_method": torchrun_address(),
        "distributed_no_spawn": True,
    }
    parser.set_defaults(**fixed)
    given = parser.parse_known_args()[0]
    problems = [
        f"--{name.replace('_', '-')} must be omitted under torchrun, which sets it to {value}, but is "
        f"{getattr(given, name)}"
        for name, value in fixed.items()
        if getattr(given, name) != value
    ]
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if given.cpu or not torch.cuda.is_available():
        parser.set_defaults(distributed_backend="gloo", ddp_backend=FOR_CPUS)
    elif here > gpus:
        problems.append(
            f"torchrun --nproc_per_node must be at most {gpus}, the number of GPUs, but is {here}; for more, use --cpu"
        )
    machines, shared = int(os.environ.get("GROUP_WORLD_SIZE", 1)), os.environ.get("TORCHELASTIC_USE_AGENT_STORE")
    if machines > 1 and shared == "True" and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0:
        problems.append(  # the machines may count restarts differently, and find processes of an earlier one
            f"torchrun --max-restarts on {machines} machines needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the "
            "environment, and --rdzv_backend c10d"
        )
    if problems:
        raise ValueError("; ".join(problems))


def check_command_line(argv: Sequence[str] | None = None) -> None:
    """Refuse a command line for which fairseq would start no process.

    Args:
        argv: the command and its arguments; None: ``sys.argv``.

    Raises:
        ValueError: naming the option, and the command that works.
    """
    line = argv if argv is not None else sys.argv
    command = fairseq_command(line)
    if command not in STARTING:
        return
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--distributed-world-size", type=int)
    parser.add_argument("--distributed-init-method")
    parser.add_argument("--distributed-no-spawn", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--tpu", action="store_true")
    try:
        found = parser.parse_known_args(line[1:])[0]
    except ArgumentError:  # fairseq says what is wrong with the line
        return
    gpus, processes = torch.cuda.device_count(), found.distributed_world_size
    default = max(1, gpus) if command == "train" else 1
    by_hand = found.distributed_no_spawn and found.distributed_init_method is not None
    if (processes or default) <= 1 or by_hand or found.tpu or (gpus > 0 and not found.cpu):
        return
    value = f"is {processes}" if processes else f"is {default} by default, the number of GPUs"
    way = f"use {torchrun_command(processes or 2)} --cpu" if command == "train" else "omit it"
    raise ValueError(
        f"--distributed-world-size must be 1 for fairseq-{command.replace('_', '-')} "
        f"{'with --cpu' if found.cpu else 'without GPUs'}, which starts processes on GPUs only, but {value}; {way}"
    )


def check_joined(whole: DictConfig) -> None:
    """Refuse processes that do not train together; ``whole`` is all of fairseq's options.

    Raises ValueError, naming the option or torchrun's variable, and the command that works.
    """
    training = whole.distributed_training
    if whole.common.tpu:
        return
    options, started = int(training.distributed_world_size), launched()
    together = torch.distributed.get_world_size() if _is_joined() else 1
    on_cpu = whole.common.cpu or not torch.cuda.is_available()
    most = max(options, started)
    command = f"{torchrun_command(most)}{' --cpu' if on_cpu else ''}"
    if started > together:
        raise ValueError(
            f"torchrun has started {started} processes (WORLD_SIZE), but each would train for itself into --save-dir "
            f"{whole.checkpoint.save_dir}; use {command}"
        )
    if options != together:
        raise ValueError(
            f"--distributed-world-size must be the number of processes that train together, {together}, but is "
            f"{options}; use {command} without this option"
        )
    if on_cpu and together > 1 and training.ddp_backend in FOR_GPUS:
        raise ValueError(
            f"--ddp-backend must be {FOR_CPUS} for several processes on CPUs, but is {training.ddp_backend}"
        )


def _is_joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def is_first() -> bool:
    """Whether this process is the first of those that train together, or the only one."""
    return not _is_joined() or torch.distributed.get_rank() == 0


def do_in_first(do: Callable[[], object]) -> None:
    """Call ``do`` in the first of several processes while the others wait; all raise its OSError or ValueError."""
    error: list[Exception | None] = [None]
    if is_first():
        try:
            do()
        except (OSError, ValueError) as raised:
            error = [raised]
    if _is_joined():
        torch.distributed.broadcast_object_list(error)
    if error[0] is not None:
        raise error[0]


def draw_other_numbers() -> None:
    """Give each process after the first its own random numbers; fairseq gives all the same at each update."""
    if not is_first():
        seed = torch.initial_seed() * SEEDS_APART + torch.distributed.get_rank()
        utils.set_torch_seed(seed % 2**63)
