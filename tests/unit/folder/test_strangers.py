"""Folders whose files are as config.json says, but damaged, absurd or hostile: one line, no memory, no code."""

import json
import pickle
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bnb_fairseq.folder.manifest import SEARCH, SOURCE, TARGET, WEIGHTS
from bnb_fairseq.folder.vocabulary import PLAIN, SENTENCEPIECE, WORDPIECE
from bnb_fairseq.translator import Translator

Reseal = Callable[..., Path]
ROOM = 2 << 30  # bytes of address space that loading may take beside what is there


@pytest.fixture(autouse=True)
def little_room() -> Iterator[None]:
    """Let what allocates an absurd size fail, rather than the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(folder: Path) -> str:
    """Return the error, one line that names the folder."""
    with pytest.raises(ValueError) as refusal:
        Translator.load(folder)
    said = str(refusal.value)
    assert "\n" not in said
    assert said.startswith(str(folder))
    return said.removeprefix(str(folder)).lstrip("/: ")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("encoder.layers", 10**9, "encoder.layers must be at most 16,777,216, but is 1000000000"),
        ("encoder.layers", 10**7, "encoder.layers must be the number of layers in the weights, but is 10000000"),
        ("decoder.layers", 2, "the weights do not fit the options: decoder.layers.1.self_attn."),
        ("decoder.layers", 0, "--decoder-layers must be at least 1, but is 0"),
        ("decoder.layers", -1, "--decoder-layers must be at least 1, but is -1"),
        ("encoder_positions", 10**12, "encoder_positions must be at most 16,777,216, but is 1000000000000"),
        ("encoder_positions", 10**7, "encoder.embeddings.positions.weight must be (10000000, 8), but is (24, 8)"),
        ("decoder_positions", 0, "--decoder-positions must be at least 1, but is 0"),
        ("decoder.embed_dim", 10**7, "10000000"),
        ("encoder.ffn_embed_dim", 16_000_000, "encoder.layers.0.fc1.weight must be (16000000, 8), but is (8, 8)"),
        ("encoder.attention_heads", 0, "--encoder-attention-heads must be at least 1, but is 0"),
        ("encoder.attention_heads", 3, "--encoder-attention-heads must divide the width 8, but is 3"),
        ("encoder.attention_heads", True, "encoder.attention_heads must be a int, but is True"),
        ("encoder.layers", 1.0, "encoder.layers must be a int, but is 1.0"),
        ("encoder.dropout", float("nan"), "encoder.dropout must be at most 16,777,216, but is nan"),
        ("encoder.layer_norm_eps", "0", "encoder.layer_norm_eps must be a float, but is '0'"),
        ("encoder", [], "encoder must be an object, but is []"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "beams"])
def test_absurd_sizes(
    kind: str, name: str, value: Any, said: str, request: pytest.FixtureRequest, reseal: Reseal
) -> None:
    assert said in refused(reseal(request.getfixturevalue(kind), {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ctc_upsample", float("inf"), "ctc_upsample must be at most 16,777,216, but is inf"),
        ("ctc_upsample", 0, "--ctc-upsample must be above 0 and finite, but is 0"),
        ("length_control", "exec", "--length-control must be ctc or length, but is 'exec'"),
        ("ctc_canvas", "", "--ctc-canvas must be mask or repeat, but is ''"),
        ("ctc_blank", "old", "--ctc-blank must be new or pad or mask, but is 'old'"),
        ("ctc_canvas_length", 25, "--ctc-canvas-length must lie between 0 and the 24 positions"),
        ("ctc_canvas_length", -5, "--ctc-canvas-length must lie between 0 and the 24 positions"),
        ("latent_size", -1, "--latent-size must not be negative, but is -1"),
        ("latent_size", 10**7, "decoder.latent_projection.weight"),
        ("vae", True, "--latent-size must be positive with --latent vae, but is 0"),
        ("length_range", 0, "--length-range must be at least 1, but is 0"),
        ("untie_output", True, "decoder.head.weight is missing"),
        ("canvas_tokens", 1, "canvas_tokens must be a bool, but is 1"),
        ("auto_map", "evil.py", "auto_map is unknown"),
    ],
)
def test_options_that_do_not_fit(name: str, value: Any, said: str, folder: Path, reseal: Reseal) -> None:
    assert said in refused(reseal(folder, {name: value}))


def test_lengths_of_another_model(folder: Path, reseal: Reseal) -> None:
    reseal(folder, {"length_control": "length", "length_range": 10**7})
    assert "length_head.projection.weight is missing" in refused(folder)


Change = Callable[[dict[str, Tensor]], Any]
FIRST = "decoder.layers.0.fc1.weight"


@pytest.mark.parametrize("kind", ["folder", "beams"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(FIRST), f"{FIRST} is missing"),
        (lambda weights: weights.update(other=torch.zeros(1)), "other is unknown"),
        (lambda weights: weights.update({FIRST: torch.zeros(8, 9)}), f"{FIRST} must be (8, 8), but is (8, 9)"),
        (
            lambda weights: weights.update({FIRST: torch.zeros(8, 8).int()}),
            f"{FIRST} must be float32, bfloat16, float16, ",
        ),
        (lambda weights: weights[FIRST].fill_(float("nan")), f"{FIRST} must be finite, but has NaN or infinite values"),
        (lambda weights: weights.clear(), "encoder.layers must be the number of layers in the weights, but is 1"),
    ],
    ids=["missing", "unknown", "shape", "type", "nan", "none"],
)
def test_weights_that_do_not_fit(
    kind: str, change: Change, said: str, request: pytest.FixtureRequest, reseal: Reseal
) -> None:
    folder = request.getfixturevalue(kind)
    weights = load_file(folder / WEIGHTS)
    weights = {name: tensor.clone() for name, tensor in weights.items()}
    change(weights)
    save_file(weights, folder / WEIGHTS)
    assert said in refused(reseal(folder))


@pytest.mark.parametrize("kind", ["folder", "beams"])
def test_damaged_weights(kind: str, request: pytest.FixtureRequest, reseal: Reseal) -> None:
    folder = request.getfixturevalue(kind)
    whole = (folder / WEIGHTS).read_bytes()
    huge = (1 << 60).to_bytes(8, "little")
    overlapping = json.dumps({FIRST: {"dtype": "F32", "shape": [8, 8], "data_offsets": [0, 1 << 50]}}).encode()
    for content in (
        *(b"", whole[:7], whole[: len(whole) // 2], whole[:-1], huge + whole[8:], b"{}" * 100),
        len(overlapping).to_bytes(8, "little") + overlapping,
        pickle.dumps({"weights": 1}),
    ):
        (folder / WEIGHTS).write_bytes(content)
        assert refused(reseal(folder)).startswith(f"{WEIGHTS}: cannot be read")


class Touch:
    """Code, in a pickle."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("kind", ["folder", "beams"])
def test_no_file_runs_code(kind: str, request: pytest.FixtureRequest, reseal: Reseal, tmp_path: Path) -> None:
    """Whichever of the folder's files is a pickle that does."""
    folder, mark = request.getfixturevalue(kind), tmp_path / "it ran"
    code = pickle.dumps(Touch(mark))
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    for name in names:
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(code)
        if name.name == "README.md":
            Translator.load(folder)
        else:
            if name.name != "config.json":
                reseal(folder)
            refused(folder)
        (folder / name).write_bytes(before)
    for name in ("model.py", "modeling.py", "pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(code)
    Translator.load(reseal(folder))
    assert not mark.exists()


@pytest.mark.parametrize(("side", "name"), [(TARGET, WORDPIECE), (SOURCE, PLAIN), (TARGET, SENTENCEPIECE)])
def test_damaged_vocabularies(side: str, name: str, folder: Path, reseal: Reseal) -> None:
    if name == SENTENCEPIECE:
        (folder / side / WORDPIECE).unlink()
    for content in (b"", b"\xff\xfe", b"{}", b"[" * 100_000, b"\0" * 1000):
        (folder / side / name).write_bytes(content)
        assert refused(reseal(folder)).startswith(side)


def test_a_vocabulary_of_another_size(folder: Path, reseal: Reseal) -> None:
    path = folder / SOURCE / PLAIN
    path.write_text(path.read_text().replace("cell\n", "cell\ntwo\n"))
    assert "encoder.embeddings.tokens.weight must be (9, 8), but is (8, 8)" in refused(reseal(folder))


def search(folder: Path, reseal: Reseal, text: str) -> Path:
    (folder / SEARCH).write_text(text)
    return reseal(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must hold a JSON object, but holds a list"),
        ('{"beam": 5}', "there is no option beam; did you mean ctc_beam?"),
        ('{"__class__": "x"}', "there is no option __class__"),
        ('{"ctc_beam": "5"}', "ctc_beam must be of type int, but is '5'"),
        ('{"ctc_beam": 5.0}', "ctc_beam must be of type int, but is 5.0"),
        ('{"ctc_beam": true}', "ctc_beam must be of type int, but is True"),
        ('{"iter_decode_force_max_iter": 1}', "iter_decode_force_max_iter must be of type bool, but is 1"),
        ('{"ctc_token_bonus": NaN}', "ctc_token_bonus must be finite, but is nan"),
        ('{"ctc_beam": 1000000000}', "numbers must be at most 10,000, but are ctc_beam 1000000000"),
        ('{"ctc_beam": -1}', "decoding: --ctc-beam must not be negative, but is -1"),
        ('{"ctc_token_bonus": 1.0}', "decoding: --ctc-token-bonus must stand beside --ctc-beam, but is 1.0"),
        ('{"iter_decode_max_iter": 2}', "--iter-decode-max-iter must be 0 for a model trained without --canvas-tokens"),
        ('{"ctc_beam": 3, "ctc_lm_weight": 0.5}', "ctc_lm_weight must be 0 for a model without a language model"),
        ('{"ctc_beam": 3, "ctc_lm_path": "/etc/passwd"}', "there is no option ctc_lm_path"),
        ('{"calibration": 5}', "calibration must have the numbers slope and intercept, but is 5"),
        ('{"calibration": null}', "calibration must have the numbers slope and intercept, but is None"),
        ('{"calibration": {"slope": 1}}', "calibration must have the numbers slope and intercept, but is {'slope': 1}"),
        ('{"calibration": {"slope": true, "intercept": 0}}', "calibration must have the numbers slope and intercept"),
        (
            '{"calibration": {"slope": 1, "intercept": Infinity}}',
            "calibration must have the numbers slope and intercept",
        ),
    ],
)
def test_search(text: str, said: str, folder: Path, reseal: Reseal) -> None:
    assert refused(search(folder, reseal, text)).startswith(f"{SEARCH}: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"ctc_beam": 5}', "there is no option ctc_beam; did you mean beam?"),
        ('{"beam": 0}', "beam must be at least 1, but is 0"),
        (
            '{"max_len_b": -1, "max_len_a": -0.5}',
            "max_len_a must be at least 0, but is -0.5; max_len_b must be at least",
        ),
    ],
)
def test_search_of_an_autoregressive_model(text: str, said: str, beams: Path, reseal: Reseal) -> None:
    assert refused(search(beams, reseal, json.dumps({**json.loads((beams / SEARCH).read_text()), **json.loads(text)})))
    assert re.search(re.escape(said), refused(beams))


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"not gzip", b"mmap lm http://kheafield.com/code" + b"\0" * 500])
def test_damaged_language_model(content: bytes, folder: Path, reseal: Reseal) -> None:
    pytest.importorskip("kenlm")
    (folder / "lm.arpa.gz").write_bytes(content)
    search(folder, reseal, '{"ctc_beam": 3, "ctc_lm_weight": 0.5}')
    translator = Translator.load(folder)
    with pytest.raises(ValueError, match=r"^--ctc-lm-path must be an ARPA file .*lm.arpa.gz is none"):
        translator.translate(["the cell"])
    assert translator.translate(["the cell"], search="none")[0].error is None
