"""The KL schedule by hand, and options of the criterion that are refused."""

import pytest

from bnb_fairseq.criterions.config import BnbLossConfig, KlSchedule, check_options, kl_schedule


def options(**changes: object) -> BnbLossConfig:
    config = BnbLossConfig(max_update=0)  # fairseq's default
    for name, value in changes.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    return config


def test_constant() -> None:
    schedule = kl_schedule(options(kl_factor=0.3))
    assert {schedule.at(update) for update in (0, 1, 1000, 10**9)} == {0.3}


def test_cycles_by_hand() -> None:
    """Two cycles of 10 updates: 2 at zero, 4 rising from 0, 4 at the full factor, which then stays."""
    cfg = options(
        kl_factor=2.0, kl_schedule="cyclic", kl_cycles=2, kl_total_updates=20, kl_zero_share=0.2, kl_increase_share=0.4
    )
    check_options(cfg)
    cycle = [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    found = [kl_schedule(cfg).at(update) for update in range(30)]
    assert found == pytest.approx([*cycle, *cycle, *([2.0] * 10)], abs=1e-12)


def test_default_cycles_are_those_of_the_paper() -> None:
    """Fu et al. (2019): four cycles, the first half of each rises, nothing at zero."""
    schedule = kl_schedule(options(kl_schedule="cyclic", kl_total_updates=400))
    assert schedule == KlSchedule(1.0, 4, 400, 0.0, 0.5)
    assert [schedule.at(update) for update in (0, 25, 50, 99, 100, 125, 400)] == [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]


def test_cycles_take_the_whole_training_by_default() -> None:
    assert kl_schedule(options(kl_schedule="cyclic", max_update=70)).total_updates == 70
    assert kl_schedule(options(kl_schedule="cyclic", max_update=70, kl_total_updates=50)).total_updates == 50


@pytest.mark.parametrize(("zero", "increase"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.7, 0.3)])
def test_shares_at_their_limits(zero: float, increase: float) -> None:
    cfg = options(
        kl_schedule="cyclic", kl_cycles=3, kl_total_updates=31, kl_zero_share=zero, kl_increase_share=increase
    )
    check_options(cfg)
    factors = [kl_schedule(cfg).at(update) for update in range(31)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert (factors[0] == 0.0) == (zero > 0 or increase > 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kl_schedule": "cyclic", "kl_total_updates": 10, "kl_zero_share": 0.6, "kl_increase_share": 0.5},
            r"--kl-zero-share .*--kl-increase-share .*1.*0\.6.*0\.5",
        ),
        (
            {"kl_schedule": "cyclic", "kl_total_updates": 10, "kl_zero_share": -0.1},
            r"--kl-zero-share .*--kl-increase-share .*-0\.1.*0\.5",
        ),
        ({"kl_schedule": "cyclic", "kl_total_updates": 9, "kl_cycles": 0}, "--kl-cycles .*1.* 0"),
        (
            {"kl_schedule": "cyclic"},
            "--kl-total-updates .*--max-update .*--kl-cycles.* 0",
        ),
        (
            {"kl_schedule": "cyclic", "max_update": 100, "kl_total_updates": 3},
            "--kl-total-updates .*--max-update .*--kl-cycles.* 3",
        ),
        ({"kl_factor": -1.0}, r"--kl-factor .*negative.* \-1\.0"),
        ({"kl_factor": float("inf")}, r"--kl-factor .*negative.* inf"),
        ({"axe_skip_target": -1.0}, r"--axe-skip-target .*negative.* \-1\.0"),
        ({"oaxe_margin": 1.0}, r"--oaxe-margin .*\[0, 1\).* 1\.0"),
        ({"oaxe_warmup_updates": -5}, r"--oaxe-warmup-updates .*negative.* \-5"),
        ({"length_loss_factor": -3.0}, r"--length-loss-factor .*negative.* \-3\.0"),
        ({"label_smoothing": float("nan")}, r"--label-smoothing .*\[0, 1\).* nan"),
        ({"label_smoothing": 1.0}, r"--label-smoothing .*\[0, 1\).* 1\.0"),
    ],
)
def test_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^bnb_loss: {message}$"):
        check_options(options(**changes))


def test_everything_that_is_wrong_comes_at_once() -> None:
    with pytest.raises(ValueError, match=r"^bnb_loss: --label-smoothing .*; --oaxe-margin .*; --kl-factor .*-2"):
        check_options(options(label_smoothing=-1.0, oaxe_margin=2.0, kl_factor=-2))


def test_shares_do_not_matter_where_nothing_is_cyclic() -> None:
    check_options(options(kl_zero_share=3.0))
