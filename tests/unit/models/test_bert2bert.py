"""The autoregressive model as a whole: its options, where its weights come from, and which of them are trained."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import transformers
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY
from safetensors.torch import load_file
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.models.bert2bert import (
    Bert2Bert,
    Bert2BertConfig,
    bert2bert_small,
    bert2bert_tiny,
    refuse_attention_options,
)
from bnb_fairseq.models.config import SIZE_FIELDS
from bnb_fairseq.start.bert_import import ImportReport
from bnb_fairseq.start.from_bert import load_berts, resolve_berts

from ...facts import names

BERT_BASE = [12, 768, 3072, 12, 512]
# <s> 0, <pad> 1, </s> 2, <unk> 3, words from 4; two words to translate, and six.
SRC_TOKENS = torch.tensor([[0, 5, 7, 2, 1, 1, 1, 1], [0, 13, 4, 9, 8, 4, 6, 2]])
SRC_LENGTHS = torch.tensor([4, 8])
PREV_OUTPUT_TOKENS = torch.tensor([[0, 4, 15, 8, 5], [0, 6, 1, 1, 1]])
TARGET = torch.tensor([[4, 15, 8, 5, 2], [6, 2, 1, 1, 1]])
MakeConfig = Callable[..., Bert2BertConfig]
MakeBert2Bert = Callable[..., Bert2Bert]
WriteBert = Callable[..., Path]


@pytest.fixture
def make_bert2bert(
    make_config: MakeConfig, small_task: SimpleNamespace, random_parameters: Callable[[nn.Module, int], None]
) -> MakeBert2Bert:
    """Build a small model in eval mode, every parameter random."""

    def make(**options: object) -> Bert2Bert:
        model = Bert2Bert.build_model(make_config(Bert2BertConfig, **options), small_task)
        random_parameters(model, 3)
        return model.eval()

    return make


def sizes(config: Bert2BertConfig, side: str) -> list[int | None]:
    return [getattr(config, f"{side}_{name}") for name in SIZE_FIELDS]


def logits_of(model: Bert2Bert) -> Tensor:
    logits: Tensor = model(SRC_TOKENS, SRC_LENGTHS, PREV_OUTPUT_TOKENS)[0]
    return logits


def started(config: Bert2BertConfig, source: Path, target: Path) -> tuple[Bert2Bert, list[ImportReport]]:
    """A model started from BERTs, between the vocabularies of two BERTs, and the reports on its two sides."""
    berts = resolve_berts(config)
    assert berts is not None
    dictionaries = {
        "source_dictionary": load_dictionary(str(source)),
        "target_dictionary": load_dictionary(str(target)),
    }
    model = Bert2Bert.build_model(config, SimpleNamespace(**dictionaries))
    return model.eval(), load_berts(model, berts, str(config.cross_attention_init))


def test_sizes_left_open_are_those_of_bert_base(small_task: SimpleNamespace) -> None:
    config = Bert2BertConfig(encoder_layers=6)
    with torch.device("meta"):  # weights without memory: the model has 200 million
        model = Bert2Bert.build_model(config, small_task)
    assert sizes(config, "encoder") == [6, *BERT_BASE[1:]]
    assert sizes(config, "decoder") == BERT_BASE
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (6, 12)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for side in ("encoder", "decoder"):
        assert shapes[f"{side}.layers.5.fc1.weight"] == (3072, 768)
        assert shapes[f"{side}.embeddings.positions.weight"] == (512, 768)
        assert model.get_submodule(f"{side}.layers.5.self_attn").num_heads == 12
    assert shapes["decoder.layers.11.encoder_attn.k_proj.weight"] == (768, 768)


@pytest.mark.parametrize(
    ("name", "fill", "expected"),
    [
        ("bert2bert_small", bert2bert_small, [6, 384, 1536, 12, 512]),
        ("bert2bert_tiny", bert2bert_tiny, [2, 128, 512, 4, 512]),
    ],
)
def test_architectures(name: str, fill: Callable[[object], None], expected: list[int]) -> None:
    assert ARCH_MODEL_NAME_REGISTRY[name] == "bert2bert"
    assert ARCH_CONFIG_REGISTRY[name] is fill
    config = Bert2BertConfig(decoder_layers=1)
    fill(config)
    assert sizes(config, "encoder") == expected
    assert sizes(config, "decoder") == [1, *expected[1:]]
    with_bert = Bert2BertConfig(bert_encoder="some-bert", encoder_layers=5)
    fill(with_bert)
    assert with_bert == Bert2BertConfig(bert_encoder="some-bert", encoder_layers=5)


def test_all_bad_options_are_in_one_error(make_bert2bert: MakeBert2Bert) -> None:
    with pytest.raises(ValueError, match=names("bert2bert")) as refusal:
        make_bert2bert(
            encoder_attention_heads=0,
            decoder_layers=0,
            decoder_embed_dim=10,
            decoder_attention_heads=4,
            dropout=2.0,
            attention_dropout=-0.1,
        )
    expected = [
        ["--encoder-attention-heads", "1", "0"],
        ["--encoder-attention-heads", "16", "0"],
        ["--decoder-layers", "1", "0"],
        ["--decoder-attention-heads", "10", "4"],
        ["--dropout", "0", "1", "2.0"],
        ["--attention-dropout", "0", "1", "-0.1"],
    ]
    for problem, facts in zip(str(refusal.value).split("; "), expected, strict=True):
        assert re.match(names(*facts), problem)


@pytest.mark.parametrize(
    "options", [{}, {"decoder_layers": 1}, {"decoder_embed_dim": 32, "decoder_attention_heads": 4}]
)
def test_logits_depend_on_no_batch_mate_and_no_padding(
    options: dict[str, object], make_bert2bert: MakeBert2Bert
) -> None:
    model = make_bert2bert(**options)
    assert len(model.decoder.layers) == options.get("decoder_layers", 2)
    with torch.no_grad():
        together = logits_of(model)
        alone, _ = model(SRC_TOKENS[:1, :4], SRC_LENGTHS[:1], PREV_OUTPUT_TOKENS[:1])
    assert together.shape == (2, 5, 17)
    assert (alone[0] - together[0]).abs().max() <= 1e-5


@torch.no_grad()
def test_output_layer_is_tied_to_the_token_embeddings(make_bert2bert: MakeBert2Bert) -> None:
    model = make_bert2bert()
    assert sum(tuple(parameter.shape) == (17, 16) for parameter in model.decoder.parameters()) == 1
    before = logits_of(model)
    model.decoder.embeddings.tokens.weight[11] += 1  # a word that the decoder does not read
    changed = (logits_of(model) - before).abs() > 1e-4
    assert changed[..., 11].all()
    assert changed.sum() == changed[..., 11].sum()


def test_positions(make_bert2bert: MakeBert2Bert) -> None:
    model = make_bert2bert(encoder_positions=30, decoder_positions=20)
    assert model.max_positions() == (30, 20)
    logits, _ = model(torch.full((1, 30), 5), torch.tensor([30]), torch.full((1, 20), 6))
    assert logits.shape == (1, 20, 17)


def test_gradients_reach_every_parameter(make_bert2bert: MakeBert2Bert) -> None:
    """What stays untouched are rows: positions that no sentence has, and the type of BERT's second sentence.

    A bias of keys moves all scores of a query alike, so that its gradient is rounding.
    """
    model = make_bert2bert()
    loss = F.cross_entropy(logits_of(model).flatten(0, 1), TARGET.flatten(), ignore_index=1, reduction="sum")
    torch.autograd.backward(loss)
    gradients = {name: torch.zeros(1) if p.grad is None else p.grad.abs() for name, p in model.named_parameters()}
    untouched = {name for name, gradient in gradients.items() if float(gradient.max()) < 1e-4}
    assert untouched == {name for name in gradients if name.endswith("k_proj.bias")}
    for side, longest in (("encoder", 8), ("decoder", 5)):
        positions, types = (
            gradients[f"{side}.embeddings.{table}.weight"].sum(dim=1) for table in ("positions", "types")
        )
        assert positions.gt(0).tolist() == [True] * longest + [False] * (40 - longest)
        assert types.gt(0).tolist() == [True, False]


@torch.no_grad()
def test_two_berts(tmp_path: Path, write_bert: WriteBert) -> None:
    encoder = write_bert(tmp_path / "encoder", hidden_size=24, num_attention_heads=2, seed=1)
    decoder = write_bert(tmp_path / "decoder", words=["[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "das"], seed=2)
    config = Bert2BertConfig(bert_encoder=str(encoder), bert_decoder=str(decoder), decoder_layers=2)
    with pytest.raises(ValueError, match=names("random", "24", "32", "self")):
        started(config, encoder, decoder)
    config.cross_attention_init = "random"
    model, reports = started(config, encoder, decoder)
    tokens = torch.tensor([[3, 6, 7, 8, 4]])
    expected = transformers.BertModel.from_pretrained(encoder).eval()(input_ids=tokens).last_hidden_state
    assert torch.allclose(
        model.encoder(tokens, torch.tensor([5]))["encoder_out"][0].transpose(0, 1), expected, atol=1e-5
    )
    saved, loaded = load_file(decoder / "model.safetensors"), model.decoder.state_dict()
    assert torch.equal(loaded["embeddings.tokens.weight"], saved["bert.embeddings.word_embeddings.weight"])
    assert torch.equal(loaded["head.bias"], saved["cls.predictions.bias"])
    for ours, theirs in ((0, 0), (1, 3)):
        name = f"bert.encoder.layer.{theirs}.intermediate.dense.weight"
        assert torch.equal(loaded[f"layers.{ours}.fc1.weight"], saved[name])
    assert loaded["layers.0.encoder_attn.k_proj.weight"].shape == (32, 24)
    assert reports[0].new == []
    assert reports[1].new == [name for name, _ in model.decoder.named_parameters() if "encoder_attn" in name]


@pytest.mark.parametrize("init", ["random", "self"])
def test_cross_attention_starts_from_self_attention_if_asked_to(
    init: str, tmp_path: Path, write_bert: WriteBert
) -> None:
    bert = write_bert(tmp_path)
    model, _ = started(Bert2BertConfig(bert_encoder=str(bert), cross_attention_init=init, decoder_layers=1), bert, bert)
    (layer,) = model.decoder.layers
    for part in ("attn", "attn_layer_norm"):
        own_state = layer.get_submodule(f"self_{part}").state_dict()
        for name, tensor in layer.get_submodule(f"encoder_{part}").state_dict().items():
            assert torch.equal(tensor, own_state[name]) == (init == "self"), name


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"print_alignment": "hard"}, ["--print-alignment", "hard"]),
        (
            {"replace_unk": "align.txt", "print_alignment": "soft"},
            ["--print-alignment", "soft", "--replace-unk", "align.txt"],
        ),
    ],
)
def test_options_that_need_attention_weights_are_refused(options: dict[str, str], facts: list[str]) -> None:
    with pytest.raises(ValueError, match=names("bert2bert", *facts)):
        refuse_attention_options(SimpleNamespace(**options))


def test_other_generation_options_are_not() -> None:
    refuse_attention_options(SimpleNamespace(print_alignment=None, replace_unk=None, beam=5))
    refuse_attention_options(SimpleNamespace(print_alignment=False))
