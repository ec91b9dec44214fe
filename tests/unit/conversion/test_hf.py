"""Checkpoints of fairseq as plain BERT directories, read by transformers; and what is refused on the way."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from bnb_fairseq.cli import convert
from bnb_fairseq.conversion import fairseq_side, hf, seed
from bnb_fairseq.data.dictionary import BnbDictionary, SubwordDictionary, load_dictionary
from bnb_fairseq.data.subword import SentencePiece
from bnb_fairseq.start.bert_checkpoint import open_bert
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import naming
from ..checkpoint_files import save_checkpoint

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIZES = {"layers": 3, "embed-dim": 16, "ffn-embed-dim": 24, "attention-heads": 4, "positions": 40}
TEXT = "  Hello, wörld: CAFÉ 7 (x.y)?  don't "


@pytest.fixture
def vocabulary(tmp_path: Path) -> Callable[[str], BnbDictionary]:
    """An uncased WordPiece vocabulary of letters, special symbols anywhere, and words of its own."""

    def make(name: str, *words: str) -> BnbDictionary:
        symbols = ["[PAD]", *words, "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",:()?.'", *LETTERS]
        symbols += [f"##{letter}" for letter in LETTERS]
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text("".join(f"{symbol}\n" for symbol in symbols))
        return load_dictionary(str(tmp_path / name))

    return make


@pytest.fixture
def make_checkpoint(
    tmp_path: Path,
    vocabulary: Callable[..., BnbDictionary],
    random_parameters: Callable[[nn.Module, int], None],
) -> Callable[..., Path]:
    """A checkpoint of a random model as fairseq-train writes it, with its dictionaries in a data folder."""

    def make(
        arch: str, *more: str, target: BnbDictionary | None = None, folder: str = "data", layers: int | None = None
    ) -> Path:
        data = tmp_path / folder
        data.mkdir()
        dictionaries = [vocabulary("source", "he", "##llo"), target or vocabulary("target", "wo", "##rld", "##de")]
        for language, dictionary in zip(("xx", "yy"), dictionaries, strict=True):
            dictionary.save(str(data / f"dict.{language}.txt"))
        sizes = [x for s in ("encoder", "decoder") for name, n in SIZES.items() for x in (f"--{s}-{name}", str(n))]
        criterion = "bnb_loss" if arch.startswith("bnb") else "cross_entropy"
        line = [str(data), "--task", "translation_bnb", "-s", "xx", "-t", "yy", "--arch", arch, *sizes, *more]
        line += ["--criterion", criterion, "--layer-norm-eps", "0.01", "--optimizer", "adam"]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
        task = TranslationBnbTask(cfg.task, *dictionaries)
        model = task.build_model(cfg.model, from_checkpoint=True)
        random_parameters(model, 5)
        return save_checkpoint(tmp_path / "model.pt", cfg, task, model)

    return make


@torch.no_grad()
@pytest.mark.parametrize("arch", ["bnb_transformer", "bert2bert", "bnb_transformer_tiny"])
def test_encoder_is_the_same_function(arch: str, make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint(arch)
    told = hf.fairseq_to_hf(checkpoint, checkpoint.with_name("hf"), None)
    trained = fairseq_side.read_checkpoint(checkpoint)
    dictionary = load_dictionary(str(checkpoint.parent / "data" / "dict.xx.txt"))
    task = SimpleNamespace(
        source_dictionary=dictionary,
        target_dictionary=load_dictionary(str(checkpoint.parent / "data" / "dict.yy.txt")),
    )
    model = trained.model.build_model(trained.cfg, task)
    model.load_state_dict(trained.parameters)
    ids = torch.randint(5, len(dictionary), (3, 12), generator=torch.Generator().manual_seed(1))
    ids[1, 7:] = ids[2, 3:] = dictionary.pad()
    padding = ids.eq(dictionary.pad())
    ours = model.eval().encoder(ids, (~padding).sum(1), return_all_hiddens=True)["encoder_states"]

    bert = AutoModel.from_pretrained(checkpoint.with_name("hf") / "encoder").eval()
    assert bert.config.layer_norm_eps == 0.01
    theirs = bert(ids, attention_mask=(~padding).long(), output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.transpose(0, 1), other, rtol=0, atol=1e-5)
    assert f"{checkpoint.with_name('hf')}/encoder: BertModel, 53 tensors" in told


@pytest.mark.parametrize(
    ("arch", "more", "dropped", "others"),
    [
        (
            "bnb_transformer",
            ["--latent-size", "8"],
            ["the blank's row", "cross-attention", "latent projection"],
            ["latent"],
        ),
        (
            "bnb_transformer",
            ["--ctc-blank", "pad", "--latent", "vae", "--latent-size", "8"],
            ["cross-attention", "latent projection"],
            ["latent"],
        ),
        (
            "bnb_transformer",
            ["--length-control", "length", "--latent-size", "0"],
            ["latent scale", "cross-attention"],
            ["length head", "length converter"],
        ),
        ("bert2bert", [], ["cross-attention"], []),
    ],
)
def test_decoder_has_the_same_tensors(
    arch: str, more: list[str], dropped: list[str], others: list[str], make_checkpoint: Callable[..., Path]
) -> None:
    checkpoint = make_checkpoint(arch, *more)
    folder = checkpoint.with_name("hf")
    told = hf.fairseq_to_hf(checkpoint, folder, None)
    text = f"; without {', '.join(dropped)}, which a BERT does not have"
    assert told[1:] == [
        f"{folder}/decoder: BertForMaskedLM, 58 tensors{text}",
        *([f"in neither of them: {', '.join(others)}"] if others else []),
    ]
    model = torch.load(checkpoint)["model"]
    bert = AutoModelForMaskedLM.from_pretrained(folder / "decoder")
    tensors, symbols = bert.state_dict(), bert.config.vocab_size
    assert type(bert).__name__ == "BertForMaskedLM"
    assert symbols == len(load_dictionary(str(checkpoint.parent / "data" / "dict.yy.txt")))
    for theirs, ours in (
        ("bert.embeddings.position_embeddings.weight", "embeddings.positions.weight"),
        ("bert.embeddings.LayerNorm.bias", "embeddings.layer_norm.bias"),
        ("bert.encoder.layer.2.attention.self.value.weight", "layers.2.self_attn.v_proj.weight"),
        ("bert.encoder.layer.0.attention.output.LayerNorm.weight", "layers.0.self_attn_layer_norm.weight"),
        ("bert.encoder.layer.1.output.LayerNorm.weight", "layers.1.final_layer_norm.weight"),
        ("cls.predictions.transform.dense.bias", "head.transform.bias"),
    ):
        assert torch.equal(tensors[theirs], model[f"decoder.{ours}"]), theirs
    table = model["decoder.embeddings.tokens.weight"][:symbols]
    assert torch.equal(tensors["bert.embeddings.word_embeddings.weight"], table)
    assert torch.equal(tensors["cls.predictions.decoder.weight"], table)
    assert torch.equal(tensors["cls.predictions.bias"], model["decoder.head.bias"][:symbols])


def test_tokenizers_and_sizes(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = make_checkpoint("bnb_transformer")
    hf.fairseq_to_hf(checkpoint, checkpoint.with_name("hf"), None)
    for side, language in (("encoder", "xx"), ("decoder", "yy")):
        folder = checkpoint.with_name("hf") / side
        dictionary = load_dictionary(str(checkpoint.parent / "data" / f"dict.{language}.txt"))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for text in (TEXT, "hello world"):
            ids = [dictionary.bos(), *dictionary.encode_line(text).tolist()]
            assert len(ids) > 4
            assert tokenizer(text).input_ids == ids
        assert tokenizer("a", "b").token_type_ids == [0, 0, 0, 1, 1]
        assert tokenizer.decode(tokenizer("hello").input_ids, skip_special_tokens=True) == "hello"
        specials = (tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id)
        assert specials == (dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.mask())
        assert tokenizer.model_max_length == 40
        bert = open_bert(str(folder), "--bert-encoder")  # and it can start another model
        assert bert.sizes == {name.replace("-", "_"): size for name, size in SIZES.items()}
        assert bert.tokenizer.symbols == dictionary.symbols
        assert (folder / "vocab.txt").read_text().split() == dictionary.symbols


def test_the_seeds_pooler_is_kept(tmp_path: Path) -> None:
    seed.seed_to_fairseq(SEED, tmp_path / "x.pt", (None, None), None, ("src", "tgt"))
    hf.fairseq_to_hf(tmp_path / "x.pt", tmp_path / "hf", None)
    found = load_file(tmp_path / "hf" / "encoder" / "model.safetensors")
    original = torch.load(SEED / "pytorch_model.bin")
    expected = {
        name.removeprefix("encoder."): tensor for name, tensor in original.items() if name.startswith("encoder.")
    }
    for name in ("embeddings.position_ids", "linear.weight", "linear.bias"):
        del expected[name]
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def check_refused(message: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["bnb-convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as refusal:
        convert.main()
    assert re.match(naming(*f"bnb-convert: {message}".split("; ")), str(refusal.value.code))


def test_dictionaries_that_are_no_wordpiece(
    make_checkpoint: Callable[..., Path],
    make_dictionary: Callable[[int], BnbDictionary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = [f"{first}{second} {second}{first}" for first in LETTERS for second in LETTERS]
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(text), model_prefix=str(tmp_path / "sp"), vocab_size=60, minloglevel=2
    )
    message = "the decoder's dictionary must be WordPiece to become a BERT's tokenizer, but is "
    with pytest.raises(ValueError, match=f"^{message}SentencePiece$"):
        hf.wordpiece_of(SubwordDictionary(SentencePiece(tmp_path / "sp.model")), "decoder")
    checkpoint = make_checkpoint("bnb_transformer", target=make_dictionary(7))
    output = checkpoint.with_name("hf")
    check_refused(f"{message}plain (text split at spaces)", monkeypatch, "fairseq-to-hf", checkpoint, output)
    assert not output.exists()


def test_dictionaries_are_looked_for_and_compared(
    make_checkpoint: Callable[..., Path],
    vocabulary: Callable[..., BnbDictionary],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, output = make_checkpoint("bnb_transformer"), tmp_path / "hf"
    (tmp_path / "data").rename(tmp_path / "moved")
    message = f"--data ... dict.xx.txt and dict.yy.txt ... {tmp_path} or {tmp_path}/data"
    check_refused(message, monkeypatch, "fairseq-to-hf", checkpoint, output)
    message = f"--data ... dict.xx.txt and dict.yy.txt ... {SEED}"
    check_refused(message, monkeypatch, "fairseq-to-hf", checkpoint, output, "--data", SEED)
    hf.fairseq_to_hf(checkpoint, tmp_path / "from-moved", tmp_path / "moved")
    for path in (tmp_path / "moved").iterdir():
        path.rename(tmp_path / path.name)  # beside the checkpoint
    hf.fairseq_to_hf(checkpoint, tmp_path / "from-beside", None)
    vocabulary("other", "one", "two").save(str(tmp_path / "dict.yy.txt"))
    mine = f"the target dictionary of the data, {tmp_path}/dict.yy.txt (...)"
    message = f"{mine}, is not ... checkpoint ...; ..."
    check_refused(message, monkeypatch, "fairseq-to-hf", checkpoint, output)


def test_what_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, path = tmp_path / "out", tmp_path / "x.pt"
    start = f"{path}: must be a checkpoint of fairseq, but"
    for command in ("fairseq-to-hf", "fairseq-to-seed"):
        check_refused(f"{start} there is no such file", monkeypatch, command, path, output)
    for content, end in (
        ({"module": nn.Linear(1, 1)}, "names torch.nn.modules.linear.Linear, which is not loaded"),
        ({"a": torch.ones(1)}, "lacks its entries (...)"),
        ([1], "holds a list"),
    ):
        torch.save(content, path)
        check_refused(f"{start} {end}", monkeypatch, "fairseq-to-hf", path, output)
    path.write_bytes(b"x")
    check_refused(f"{start} cannot be read (...)", monkeypatch, "fairseq-to-hf", path, output)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_what_the_original_cannot_express(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, output = make_checkpoint("bnb_transformer", "--latent-size", "0"), tmp_path / "out"
    message = "... --ctc-blank ... pad ... new; --ctc-canvas-length ... 1 ... 0; --latent-size ... 1 ... 0"
    check_refused(message, monkeypatch, "fairseq-to-seed", checkpoint, output)
    (tmp_path / "data").rename(tmp_path / "moved")  # and without the dictionaries
    check_refused(message, monkeypatch, "fairseq-to-seed", checkpoint, output)
    assert not output.exists()


@pytest.mark.parametrize("arch", ["bnb_transformer", "bert2bert"])
def test_an_output_layer_of_its_own(
    arch: str,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = make_checkpoint(arch, "--untie-output")
    message = f"{checkpoint}: --untie-output must be off, ..."
    check_refused(message, monkeypatch, "fairseq-to-hf", checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_architecture(
    make_checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_checkpoint("bert2bert")
    message = "... --arch ... bnb_transformer ... bert2bert"
    check_refused(message, monkeypatch, "fairseq-to-seed", checkpoint, tmp_path / "out")
    state = torch.load(checkpoint)
    state["cfg"]["model"]["_name"] = "transformer"
    torch.save(state, checkpoint)
    message = f"{checkpoint}: ... --arch ... bnb_transformer or bert2bert ... transformer"
    check_refused(message, monkeypatch, "fairseq-to-hf", checkpoint, tmp_path / "out")
