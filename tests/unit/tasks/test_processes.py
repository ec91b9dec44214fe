"""Which processes train together, and which starts are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.tasks import TASK_REGISTRY
from omegaconf import DictConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from bnb_fairseq.compat import torchrun_address
from bnb_fairseq.processes import TORCHRUN, check_command_line, check_joined, draw_other_numbers, join_torchrun

from .conftest import NON_AUTOREGRESSIVE
from .test_training_step import one_step

Config = Callable[..., DictConfig]
TASKS = ("translation_bnb", "pretraining_bnb", "question_generation_bnb", "sentence_prediction_bnb")
TRAIN, VALIDATE = "/venv/bin/fairseq-train", "/site-packages/fairseq_cli/validate.py"
WORLD = ("--distributed-world-size", "2")
METHOD = ("--distributed-init-method", "tcp://127.0.0.1:1234")


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    set_gpus(monkeypatch, 0)


def set_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)


def set_torchrun(monkeypatch: pytest.MonkeyPatch, processes: int, rank: int = 0, here: int | None = None) -> None:
    here = here or processes
    values = (rank, rank % here, processes, "127.0.0.1", 29500)
    for name, value in zip(TORCHRUN, values, strict=True):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))


def set_joined(monkeypatch: pytest.MonkeyPatch, processes: int, rank: int = 0) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: processes)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)


@pytest.mark.parametrize(
    ("gpus", "line", "message"),
    [
        (0, [TRAIN, "data", *WORLD], "train without GPUs, .* is 2; use torchrun --nproc_per_node 2 .* --cpu"),
        (0, [TRAIN, "data", *WORLD, *METHOD, "--cpu"], "train with --cpu, .* is 2; use torchrun"),
        (0, [TRAIN, *WORLD, "--distributed-no-spawn", "--distributed-port", "1"], "train .* is 2; use torchrun"),
        (4, [TRAIN, "data", "--cpu"], "train with --cpu, .* is 4 by default, the number of GPUs; use torchrun"),
        (1, [TRAIN, "--cpu", "--distributed-world-size=3", *METHOD], "train .* is 3; use .*nproc_per_node 3"),
        (0, [VALIDATE, "data", *WORLD, *METHOD], "validate without GPUs, .* is 2; omit it"),
    ],
)
def test_command_lines_for_which_fairseq_starts_no_process(
    gpus: int, line: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_gpus(monkeypatch, gpus)
    with pytest.raises(ValueError, match=f"--distributed-world-size must be 1 for fairseq-{message}"):
        check_command_line(line)


@pytest.mark.parametrize(
    ("gpus", "line"),
    [
        (0, [TRAIN, "data"]),
        (0, [TRAIN, "data", *WORLD, *METHOD, "--distributed-no-spawn", "--cpu"]),
        (0, [TRAIN, "data", "--distributed-world-size", "two"]),  # fairseq ends with its usage
        (1, [TRAIN, "data", *WORLD, *METHOD]),  # two machines
        (4, [TRAIN, "data"]),
        (4, [VALIDATE, "data", "--cpu"]),
        (0, ["train.py", "data", *WORLD]),  # somebody's own program
    ],
)
def test_other_command_lines(gpus: int, line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpus(monkeypatch, gpus)
    check_command_line(line)


@pytest.mark.parametrize("name", TASKS)
def test_no_task_trains_beside_processes_that_torchrun_has_started(
    name: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_torchrun(monkeypatch, 2)
    cfg = config(*NON_AUTOREGRESSIVE, "--cpu", "--save-dir", "mine")
    task: Any = object.__new__(TASK_REGISTRY[name])
    task.cfg = cfg.task
    with pytest.raises(ValueError, match=r"started 2 processes .* --save-dir mine; use torchrun .* DATA \.\.\. --cpu"):
        task.build_model(cfg.model)


def test_options_for_processes_that_are_not_there(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    check_joined(config(*NON_AUTOREGRESSIVE))
    two = config(*NON_AUTOREGRESSIVE, *WORLD, "--ddp-backend", "legacy_ddp")
    with pytest.raises(ValueError, match=r"--distributed-world-size must be .* together, 1, but is 2; use torchrun"):
        check_joined(two)
    set_joined(monkeypatch, 2)
    check_joined(two)
    with pytest.raises(ValueError, match=r"--ddp-backend must be legacy_ddp .* on CPUs, but is pytorch_ddp"):
        check_joined(config(*NON_AUTOREGRESSIVE, *WORLD))
    with pytest.raises(ValueError, match=r"--distributed-world-size must be .* together, 2, but is 1"):
        check_joined(config(*NON_AUTOREGRESSIVE))
    set_gpus(monkeypatch, 2)
    check_joined(config(*NON_AUTOREGRESSIVE, *WORLD))


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def parse(*line: str) -> Any:
        monkeypatch.setattr("sys.argv", ["train.py", "data", *line])
        parser = options.get_training_parser()
        join_torchrun(parser)
        return parser.parse_known_args()[0]

    return parse


def test_torchrun_sets_the_options(joined: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    alone = joined()
    assert (alone.distributed_world_size, alone.distributed_init_method) == (1, None)
    set_torchrun(monkeypatch, 8, rank=5, here=4)
    cpu = joined()
    assert (cpu.distributed_world_size, cpu.distributed_rank, cpu.device_id) == (8, 5, 1)
    assert (cpu.distributed_init_method, cpu.distributed_no_spawn) == ("torchrun://", True)
    assert (cpu.distributed_backend, cpu.ddp_backend) == ("gloo", "legacy_ddp")
    set_gpus(monkeypatch, 4)
    gpu = joined()
    assert (gpu.distributed_world_size, gpu.device_id) == (8, 1)
    assert (gpu.distributed_backend, gpu.ddp_backend) == ("nccl", "pytorch_ddp")
    assert joined("--distributed-backend", "gloo").distributed_backend == "gloo"
    assert joined("--cpu").distributed_backend == "gloo"


def test_options_that_contradict_torchrun(joined: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    set_torchrun(monkeypatch, 2)
    with pytest.raises(
        ValueError, match=r"--distributed-world-size must be omitted .* 2, but is 3; --distributed-init"
    ):
        joined("--distributed-world-size", "3", *METHOD)
    set_gpus(monkeypatch, 1)
    with pytest.raises(ValueError, match="--nproc_per_node must be at most 1, the number of GPUs, but is 2"):
        joined()
    set_gpus(monkeypatch, 2)
    for name, value in {"USE_AGENT_STORE": True, "MAX_RESTARTS": 1}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", str(value))
    joined()
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="--max-restarts on 2 machines needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        joined()


def test_processes_that_are_started_again_do_not_meet_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True)
    set_torchrun(monkeypatch, 2)
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    stores = []
    for start in ("0", "1", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", start)
        store, rank, processes = next(rendezvous(torchrun_address(), rank=1, world_size=2))
        assert (rank, processes) == (1, 2)
        stores.append(store)
    stores[0].set("address", "of a dead process")
    assert not stores[1].check(["address"])
    stores[1].set("address", "of a living one")
    assert stores[2].get("address") == b"of a living one"


def test_each_process_draws_numbers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws(rank: int) -> list[float]:
        """Of the two batches of an update."""
        set_joined(monkeypatch, 3, rank)
        torch.manual_seed(5)  # as fairseq does before each update
        found = []
        for _ in range(2):
            draw_other_numbers()
            found.append(float(torch.rand(())))
        return found

    torch.manual_seed(5)
    first = [float(torch.rand(())) for _ in range(2)]
    assert draws(0) == first, "as in a single process"
    assert len({number for rank in range(3) for number in draws(rank)}) == 6
    assert draws(2) == draws(2)


def test_dropout_differs_between_processes(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {}
    for dropout in ("0", "0.5"):
        cfg = config(*NON_AUTOREGRESSIVE, "--dropout", dropout, "--attention-dropout", dropout)
        for rank in (None, 0, 1):
            with monkeypatch.context() as patch:
                if rank is not None:
                    # The check of the options, which are a single process's, stands in the way.
                    patch.setattr("bnb_fairseq.tasks.dictionary_task.check_joined", lambda _: None)
                    patch.setattr("bnb_fairseq.processes.is_first", lambda rank=rank: rank == 0)
                    patch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
                losses[dropout, rank] = one_step(cfg)[0]
    assert losses["0", None] == losses["0", 0] == losses["0", 1]
    assert losses["0.5", None] == losses["0.5", 0] != losses["0.5", 1]
