"""Encoder and decoder as plain BERT directories for HuggingFace's transformers."""

from pathlib import Path

from safetensors.torch import save
from torch import Tensor
from transformers import BertConfig

from ..checkpoints.writing import new_folder
from ..data.dictionary import BnbDictionary, SubwordDictionary
from ..data.wordpiece import WordPiece
from ..start.bert_checkpoint import CONFIG_KEYS
from ..start.bert_import import ROW_NAMES
from ..start.bert_names import CROSS_ATTENTION_NAMES, OUR_LAYER, bert_name
from .fairseq_side import Trained, find_dictionaries, read_checkpoint
from .seed_checkpoint import POOLER
from .seed_config import SIDES

CLASSES = {"encoder": "BertModel", "decoder": "BertForMaskedLM"}


def fairseq_to_hf(checkpoint: Path, directory: Path, data: Path | None) -> list[str]:
    """Write encoder and decoder of a checkpoint as BERT directories.

    Args:
        checkpoint: of ``bnb_transformer`` or ``bert2bert``.
        directory: the folder to make, with ``encoder`` and ``decoder`` in it.
        data: folder of the dictionaries; None: see ``find_dictionaries``.

    Returns:
        Lines for the user.

    Raises:
        ValueError: if anything does not fit; then nothing is written.
    """
    trained = read_checkpoint(checkpoint)
    if trained.cfg.untie_output:
        raise ValueError(
            f"{checkpoint}: --untie-output must be off, because a BERT's output layer is its token embeddings"
        )
    dictionaries = dict(zip(SIDES, find_dictionaries(trained, data), strict=True))
    vocabularies = {side: wordpiece_of(dictionary, side) for side, dictionary in dictionaries.items()}
    lines = []
    with new_folder(directory) as lent:
        for side, vocabulary in vocabularies.items():
            tensors, dropped = bert_tensors(trained, side, len(vocabulary.symbols))
            folder = lent / side
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
            write_config(trained, side, dictionaries[side], folder)
            vocabulary.export(folder, int(trained.cfg[f"{side}_positions"]))
            told = f"; without {', '.join(dropped)}, which a BERT does not have" if dropped else ""
            lines.append(f"{directory / side}: {CLASSES[side]}, {len(tensors)} tensors{told}")
    others = {name.partition(".")[0]: None for name in trained.parameters if not name.startswith(SIDES)}
    return [*lines, f"in neither of them: {', '.join(others).replace('_', ' ')}"] if others else lines


def wordpiece_of(dictionary: BnbDictionary, side: str) -> WordPiece:
    """The dictionary's WordPiece tokenizer; a ValueError that names ``side`` for any other, unfit for a BERT."""
    if isinstance(dictionary, SubwordDictionary):
        if isinstance(dictionary.tokenizer, WordPiece):
            return dictionary.tokenizer
        kind = type(dictionary.tokenizer).__name__
    else:
        kind = "plain (text split at spaces)"
    raise ValueError(f"the {side}'s dictionary must be WordPiece to become a BERT's tokenizer, but is {kind}")


def bert_tensors(trained: Trained, side: str, symbols: int) -> tuple[dict[str, Tensor], list[str]]:
    """One side's tensors under BERT's names.

    Args:
        trained: the checkpoint.
        side: ``encoder`` or ``decoder``.
        symbols: size of the vocabulary; a blank's row after it is dropped.

    Returns:
        The tensors, float32, and the names of dropped parts.

    Raises:
        ValueError: if the checkpoint was trained with a vocabulary of another size.
    """
    blanks = int(side == "decoder" and trained.has_blank_row)
    rows = len(trained.parameters[f"{side}.embeddings.tokens.weight"])
    if rows != symbols + blanks:
        raise ValueError(f"the {side}'s dictionary must have {rows - blanks:,} symbols, but has {symbols:,}")
    tensors: dict[str, Tensor] = {}
    dropped = ["the blank's row"] if blanks else []
    for name, tensor in trained.parameters.items():
        if not name.startswith(f"{side}."):
            continue
        ours = name.removeprefix(f"{side}.")
        theirs, layer = bert_name(ours), OUR_LAYER.fullmatch(ours)
        if theirs is None or (layer is not None and layer[2] in CROSS_ATTENTION_NAMES.values()):
            what = "cross-attention" if theirs else ours.removesuffix(".weight").removesuffix(".bias").replace("_", " ")
            dropped += [] if what in dropped else [what]
            continue
        prefix = "bert." if side == "decoder" and not theirs.startswith("cls.") else ""
        tensors[prefix + theirs] = (tensor[:symbols] if ours in ROW_NAMES else tensor).float().clone()
    if side == "encoder" and trained.keepsake is not None:
        kept = trained.keepsake.tensors
        tensors |= {name.removeprefix("encoder."): kept[name].float() for name in kept if name.startswith(POOLER)}
    return tensors, dropped


def write_config(trained: Trained, side: str, dictionary: BnbDictionary, folder: Path) -> None:
    """Write one side's ``config.json``."""
    cfg = trained.cfg
    BertConfig(
        **{theirs: cfg[f"{side}_{ours}"] for ours, theirs in CONFIG_KEYS.items()},
        architectures=[CLASSES[side]],
        vocab_size=len(dictionary),
        type_vocab_size=2,
        hidden_act="gelu",
        layer_norm_eps=cfg.layer_norm_eps,
        hidden_dropout_prob=cfg.dropout,
        attention_probs_dropout_prob=cfg.attention_dropout,
        pad_token_id=dictionary.pad(),
    ).save_pretrained(folder)
