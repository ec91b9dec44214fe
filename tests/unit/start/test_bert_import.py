"""Every tensor of the file and every parameter of the module is accounted for, and all misfits are in one error."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.models.fairseq_layers import decoder_layers, encoder_layers
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_encoder import BertEncoder
from bnb_fairseq.network.nar_decoder import NarDecoder
from bnb_fairseq.start.bert_checkpoint import BertCheckpoint, open_bert
from bnb_fairseq.start.bert_import import (
    ImportReport,
    import_bert,
    select_layers,
    start_cross_attention_from_self_attention,
    translate_name,
)

WriteBert = Callable[..., Path]
SizesOf = Callable[..., LayerSizes]
EditBert = Callable[[Path, Callable[[dict[str, Tensor]], None]], None]
NOT_SELECTED = "its layer was not selected"
NO_HEAD = "an encoder has no masked-word head"
POOLER = "the sentence vector is not used"
NEXT_SENTENCE = "next-sentence prediction is not used"
TIED = "the output layer is tied to the token embeddings"


def encoder_and_rows(directory: Path, sizes: LayerSizes) -> tuple[BertEncoder, Tensor]:
    dictionary = load_dictionary(str(directory))
    return BertEncoder(dictionary, sizes, 24, encoder_layers), torch.arange(len(dictionary))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_complete(report: ImportReport, bert: BertCheckpoint, module: nn.Module) -> None:
    """Each name is there once, on the side where it belongs."""
    theirs = [name for name, _ in report.used] + [name for name, _ in report.ignored]
    ours = [name for _, name in report.used] + report.new
    assert sorted(theirs) == sorted(bert.tensors)
    assert sorted(ours) == sorted(name for name, _ in module.named_parameters())


@pytest.mark.parametrize(
    ("kind", "old", "ignored"),
    [
        ("BertModel", False, {"pooler.dense.weight": POOLER, "pooler.dense.bias": POOLER}),
        (
            "BertForPreTraining",
            True,
            {
                "bert.pooler.dense.weight": POOLER,
                "bert.pooler.dense.bias": POOLER,
                "bert.embeddings.position_ids": "a constant: 0, 1, 2, ...",
                "cls.seq_relationship.weight": NEXT_SENTENCE,
                "cls.seq_relationship.bias": NEXT_SENTENCE,
                "cls.predictions.decoder.weight": TIED,
                "cls.predictions.decoder.bias": "the same as cls.predictions.bias",
            },
        ),
    ],
)
def test_report_of_encoder_and_decoder(
    kind: str, old: bool, ignored: dict[str, str], tmp_path: Path, write_bert: WriteBert, sizes_of: SizesOf
) -> None:
    bert = open_bert(str(write_bert(tmp_path, kind, old=old)), "--bert-encoder")
    encoder, rows = encoder_and_rows(tmp_path, sizes_of(bert))
    report = import_bert(encoder, bert, 4, rows, "encoder")
    assert_complete(report, bert, encoder)
    head = [name for name in bert.tensors if name.startswith("cls.predictions.") and name not in ignored]
    assert len(head) == (5 if kind == "BertForPreTraining" else 0)
    assert dict(report.ignored) == ignored | dict.fromkeys(head, NO_HEAD)
    assert report.new == []
    assert len(report.used) == 5 + 4 * 16

    decoder = NarDecoder(load_dictionary(str(tmp_path)), sizes_of(bert), 8, 24, partial(decoder_layers, encoder_dim=32))
    report = import_bert(decoder, bert, 4, rows, "decoder")
    assert_complete(report, bert, decoder)
    assert dict(report.ignored) == ignored
    attention = [f"encoder_attn.{part}_proj.{kind}" for part in ("k", "v", "q", "out") for kind in ("weight", "bias")]
    attention += ["encoder_attn_layer_norm.weight", "encoder_attn_layer_norm.bias"]
    new = {f"layers.{i}.{name}" for i in range(4) for name in attention}
    new |= {"latent_projection.weight", "latent_projection.bias"}
    if kind == "BertModel":
        new |= {"head.transform.weight", "head.transform.bias", "head.layer_norm.weight", "head.layer_norm.bias"}
        new |= {"head.bias"}
    assert set(report.new) == new


def test_values_of_selected_layers_and_rows(tmp_path: Path, write_bert: WriteBert, sizes_of: SizesOf) -> None:
    bert = open_bert(str(write_bert(tmp_path)), "--bert-encoder")
    tensors = load_file(tmp_path / "model.safetensors")
    decoder = NarDecoder(
        load_dictionary(str(tmp_path)),
        sizes_of(bert, 2),
        8,
        24,
        partial(decoder_layers, encoder_dim=32),
        extra_symbols=1,
    )
    before = state(decoder)
    rows = torch.full((22,), -1)
    rows[[0, 5, 21]] = torch.tensor([7, 5, 0])
    report = import_bert(decoder, bert, 2, rows, "decoder")
    assert report.title == f"decoder from {tmp_path}, layers [0, 3]"
    assert (report.matched, report.symbols) == (3, 22)
    assert [name for name, reason in report.ignored if reason == NOT_SELECTED] == [
        name for name in bert.tensors if ".layer.1." in name or ".layer.2." in name
    ]
    after = decoder.state_dict()
    for ours, theirs in ((0, 0), (1, 3)):
        for name, other in (
            ("self_attn.k_proj.bias", "attention.self.key.bias"),
            ("fc1.weight", "intermediate.dense.weight"),
            ("fc2.bias", "output.dense.bias"),
            ("self_attn_layer_norm.weight", "attention.output.LayerNorm.weight"),
        ):
            assert torch.equal(after[f"layers.{ours}.{name}"], tensors[f"bert.encoder.layer.{theirs}.{other}"])
    for name, other in (
        ("embeddings.tokens.weight", "bert.embeddings.word_embeddings.weight"),
        ("head.bias", "cls.predictions.bias"),
    ):
        expected = before[name].clone()
        expected[0], expected[5], expected[21] = tensors[other][7], tensors[other][5], tensors[other][0]
        assert torch.equal(after[name], expected)  # fresh rows and the blank's keep their values
    assert not torch.equal(after["embeddings.tokens.weight"][:1], before["embeddings.tokens.weight"][:1])


def check_refused(
    directory: Path, sizes: LayerSizes, messages: list[str], rows: Tensor | None = None, positions: int = 24
) -> None:
    """Import into an encoder; the error lists exactly these problems, and the encoder is as before."""
    bert = open_bert(str(directory), "--bert-encoder")
    encoder = BertEncoder(load_dictionary(str(directory)), sizes, positions, encoder_layers)
    before = state(encoder)
    start = f"--bert-encoder {directory}: the encoder cannot be imported: "
    with pytest.raises(ValueError, match=re.escape(start)) as refusal:
        import_bert(encoder, bert, sizes.layers, torch.arange(22) if rows is None else rows, "encoder")
    assert sorted(str(refusal.value).removeprefix(start).split("; ")) == sorted(messages)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_missing_unknown_and_misshapen_tensors_are_in_one_error(
    tmp_path: Path, write_bert: WriteBert, edit_bert: EditBert, sizes_of: SizesOf
) -> None:
    sizes = sizes_of(open_bert(str(write_bert(tmp_path)), "--bert-encoder"))

    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors["bert.encoder.layer.2.attention.self.value.bias"]
        del tensors["bert.embeddings.LayerNorm.weight"]
        tensors["bert.encoder.layer.1.intermediate.dense.weight"] = torch.zeros(47, 32)
        tensors["bert.encoder.layer.0.adapter.weight"] = torch.zeros(3)
        tensors["classifier.weight"] = torch.zeros(2, 32)

    edit_bert(tmp_path, spoil)
    expected = [
        "nothing for layers.2.self_attn.v_proj.bias",
        "nothing for embeddings.layer_norm.weight",
        "bert.encoder.layer.1.intermediate.dense.weight has shape (47, 32), layers.1.fc1.weight (48, 32)",
        "bert.encoder.layer.0.adapter.weight is an unknown BERT tensor",
        "classifier.weight is an unknown BERT tensor",
    ]
    check_refused(tmp_path, sizes, expected)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("bert.embeddings.token_type_embeddings.weight", None, "nothing for embeddings.types.weight"),
        ("bert.encoder.layer.3.output.LayerNorm.bias", None, "nothing for layers.3.final_layer_norm.bias"),
        ("bert.embeddings.word_embeddings.weight", None, "nothing for embeddings.tokens.weight"),
        (
            "bert.embeddings.word_embeddings.weight",
            torch.zeros(22, 31),
            "bert.embeddings.word_embeddings.weight has shape (22, 31), embeddings.tokens.weight (22, 32)",
        ),
        (
            "bert.embeddings.word_embeddings.weight",
            torch.zeros(21, 32),
            "bert.embeddings.word_embeddings.weight has 21 rows, the vocabulary 22 symbols",
        ),
        (
            "embeddings.word_embeddings.weight",
            torch.zeros(22, 32),
            "embeddings.word_embeddings.weight is a second tensor for embeddings.tokens.weight",
        ),
    ],
)
def test_one_misfit(
    name: str,
    change: Tensor | None,
    message: str,
    tmp_path: Path,
    write_bert: WriteBert,
    edit_bert: EditBert,
    sizes_of: SizesOf,
) -> None:
    sizes = sizes_of(open_bert(str(write_bert(tmp_path)), "--bert-encoder"))

    def edit(tensors: dict[str, Tensor]) -> None:
        if change is None:
            del tensors[name]
        else:
            tensors[name] = change

    edit_bert(tmp_path, edit)
    check_refused(tmp_path, sizes, [message])


def test_positions_of_another_number_are_refused(tmp_path: Path, write_bert: WriteBert, sizes_of: SizesOf) -> None:
    sizes = sizes_of(open_bert(str(write_bert(tmp_path)), "--bert-encoder"))
    theirs = "bert.embeddings.position_embeddings.weight has shape (24, 32)"
    check_refused(tmp_path, sizes, [f"{theirs}, embeddings.positions.weight (23, 32)"], positions=23)


def test_table_with_more_rows_than_symbols_is_used(
    tmp_path: Path, write_bert: WriteBert, edit_bert: EditBert, sizes_of: SizesOf
) -> None:
    bert = open_bert(str(write_bert(tmp_path)), "--bert-encoder")
    name = "bert.embeddings.word_embeddings.weight"
    edit_bert(tmp_path, lambda tensors: tensors.update({name: torch.cat([tensors[name], torch.ones(2, 32)])}))
    encoder, rows = encoder_and_rows(tmp_path, sizes_of(bert))
    import_bert(encoder, bert, 4, rows, "encoder")
    assert torch.equal(encoder.embeddings.tokens.weight, bert.tensors[name][:22])


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (12, 12, list(range(12))),
        (12, 6, [0, 2, 4, 6, 8, 11]),
        (12, 4, [0, 3, 7, 11]),
        (12, 3, [0, 5, 11]),
        (12, 2, [0, 11]),
        (12, 1, [0]),
        (6, 4, [0, 1, 3, 5]),
        (6, 5, [0, 1, 2, 3, 5]),
        (1, 1, [0]),
    ],
)
def test_select_layers(available: int, wanted: int, expected: list[int]) -> None:
    assert select_layers(available, wanted) == expected


def test_select_layers_never_takes_one_twice() -> None:
    for available in range(1, 25):
        for wanted in range(1, available + 1):
            chosen = select_layers(available, wanted)
            assert chosen == sorted(set(chosen))
            assert len(chosen) == wanted
            assert min(chosen) >= 0 and max(chosen) < available


@pytest.mark.parametrize(
    ("name", "with_head", "expected"),
    [
        ("embeddings.word_embeddings.weight", False, ("embeddings.tokens.weight", "")),
        ("bert.embeddings.LayerNorm.gamma", False, ("embeddings.layer_norm.weight", "")),
        ("bert.encoder.layer.4.attention.output.LayerNorm.beta", False, ("layers.1.self_attn_layer_norm.bias", "")),
        ("encoder.layer.11.output.dense.weight", True, ("layers.2.fc2.weight", "")),
        ("encoder.layer.0.attention.output.dense.bias", True, ("layers.0.self_attn.out_proj.bias", "")),
        ("encoder.layer.1.output.dense.weight", True, (None, NOT_SELECTED)),
        ("encoder.layer.44.output.dense.weight", True, (None, NOT_SELECTED)),
        ("cls.predictions.transform.LayerNorm.gamma", True, ("head.layer_norm.weight", "")),
        ("cls.predictions.transform.dense.bias", False, (None, NO_HEAD)),
        ("cls.predictions.decoder.weight", True, (None, TIED)),
        ("bert.pooler.dense.weight", True, (None, POOLER)),
        ("cls.seq_relationship.weight", True, (None, NEXT_SENTENCE)),
        ("encoder.layer.0.output.dense.scale", True, (None, "")),
        ("encoder.layer.0.output.dense.weight.more", True, (None, "")),
        ("roberta.embeddings.word_embeddings.weight", True, (None, "")),
        ("embeddings_word_embeddings_weight", True, (None, "")),
    ],
)
def test_translate_name(name: str, with_head: bool, expected: tuple[str | None, str]) -> None:
    assert translate_name(name, [0, 4, 11], with_head) == expected


def test_report_as_text() -> None:
    report = ImportReport(
        "decoder from x, layers [0]",
        used=[("bert.a", "a"), ("bert.b", "b")],
        ignored=[("bert.pooler.c", "not used")],
        new=["d"],
        matched=1500,
        symbols=2000,
    )
    assert report.summary() == (
        "decoder from x, layers [0]: 2 tensors used, 1 ignored, 1 parameters new; embedding rows: 1,500 of 2,000 "
        "(75.0%) matched by text, 500 (25.0%) start fresh"
    )
    assert report.lines() == [
        "used     bert.a -> a",
        "used     bert.b -> b",
        "ignored  bert.pooler.c (not used)",
        "new      d",
    ]


def test_cross_attention_from_self_attention(random_parameters: Callable[[nn.Module, int], None]) -> None:
    sizes = LayerSizes(2, 8, 12, 2, dropout=0.0, attention_dropout=0.0, layer_norm_eps=1e-12)
    layers = decoder_layers(sizes, 8)
    random_parameters(layers, 1)
    before = state(layers)
    start_cross_attention_from_self_attention(layers)
    after = layers.state_dict()
    for name, tensor in after.items():
        source = name.replace("encoder_attn", "self_attn")
        assert torch.equal(tensor, before[source]), name
    assert not torch.equal(after["0.encoder_attn.q_proj.weight"], after["1.encoder_attn.q_proj.weight"])


def test_a_dictionary_of_words_takes_the_rows_it_can(tmp_path: Path, write_bert: WriteBert, sizes_of: SizesOf) -> None:
    bert = open_bert(str(write_bert(tmp_path)), "--bert-encoder")
    dictionary = BnbDictionary()
    dictionary.add_mask()
    encoder = BertEncoder(dictionary, sizes_of(bert), 24, encoder_layers)
    report = import_bert(encoder, bert, 4, torch.full((5,), -1), "encoder")
    assert report.matched == 0
    assert "0 of 5 (0.0%) matched" in report.summary()
