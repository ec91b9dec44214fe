"""The original's outputs against those of this package's model, on the same seed checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from ..criterions.latent_statistics import kl_to_standard_normal
from ..losses.ctc import ctc_loss, uniform_divergence, words_to_score
from ..models.bnb_transformer import BnbTransformer
from ..models.config import BnbTransformerConfig
from ..start.bert_checkpoint import read_tensors
from .seed_checkpoint import SeedCheckpoint, from_seed, open_seed
from .seed_config import BLANK, SIDES, model_options, special_ids
from .vocabulary import numbered_dictionary

INPUTS = {"input_ids": "attention_mask", "labels": "label_mask"}  # ids and where they are not padding
ARGMAX = "argmax"
LOSSES = ("ctc_loss", "kl_uniform", "kl_vae")
OUTPUTS = ("encoder_hidden", "latent", "logits", ARGMAX, *LOSSES)
LOSS_TOLERANCE = 1e-5  # relative

Tensors = Mapping[str, Tensor]


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: of the output.
        shape: its shape.
        difference: largest absolute difference; of ``argmax`` the number of positions that differ.
        relative: of a loss: the difference relative to the original's.
        tolerance: largest difference allowed; of a loss: largest relative one.
    """

    name: str
    shape: tuple[int, ...]
    difference: float
    relative: float | None
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance; NaN is not."""
        return (self.difference if self.relative is None else self.relative) <= self.tolerance


def verify(directory: Path, expected: Path, tolerance: float) -> list[Row]:
    """Compute the original's outputs with our model, and compare.

    Args:
        directory: the seed checkpoint's folder.
        expected: safetensors file with the original's inputs and outputs.
        tolerance: largest absolute difference of states, latents and logits.

    Returns:
        A row for every output.

    Raises:
        ValueError: if a file cannot be used.
    """
    seed = open_seed(directory)
    theirs = read_expected(expected, seed)
    ours = compute(seed, theirs)
    if misshapen := [
        f"{name} has shape {tuple(theirs[name].shape)}, but must have {tuple(tensor.shape)}"
        for name, tensor in ours.items()
        if theirs[name].shape != tensor.shape
    ]:
        raise ValueError(f"{expected}: {'; '.join(misshapen)}")
    return [compare(name, ours[name], theirs[name], tolerance) for name in OUTPUTS]


def read_expected(path: Path, seed: SeedCheckpoint) -> dict[str, Tensor]:
    """Read the original's ``INPUTS`` and ``OUTPUTS``, and check the inputs against the seed's vocabularies.

    Raises ValueError if there is no such file, or listing everything that is missing, unknown or does not fit.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    tensors = read_tensors(path)
    known = (*INPUTS, *INPUTS.values(), *OUTPUTS)
    problems = [f"{name} is missing" for name in known if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in known]
    for (name, mask), side in zip(INPUTS.items(), SIDES, strict=True):
        if name not in tensors or mask not in tensors:
            continue
        ids, inside, symbols = tensors[name], tensors[mask], int(seed.config[side]["vocab_size"])
        if ids.dim() != 2 or ids.shape != inside.shape or ids.dtype != torch.int64 or not ids.numel():
            problems.append(f"{name} and {mask} must be int64 matrices of the same shape, with rows")
        elif not 0 <= int(ids.min()) <= int(ids.max()) < symbols:
            problems.append(f"{name} must lie between 0 and {symbols - 1}, but goes to {int(ids.max())}")
        elif not torch.equal(ids.ne(BLANK), inside.bool()) or (inside.diff() > 0).any():
            problems.append(f"{mask} must be 0 where {name} is [PAD] ({BLANK}), on the right, and 1 elsewhere")
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}")
    return tensors


@torch.no_grad()
def compute(seed: SeedCheckpoint, inputs: Tensors) -> dict[str, Tensor]:
    """Run the model on inputs B x S, where S is also the canvas length.

    Returns ``OUTPUTS`` by name: states B x S x D; mean and log-variance of the latent B x S x 2Z; logits B x S x V;
    argmax B x S; losses, 1 each.
    """
    model = build_model(seed, inputs["input_ids"].size(1))
    inside, label_lengths = inputs["attention_mask"], inputs["label_mask"].sum(dim=1)
    lengths = inside.sum(dim=1)
    encoded = model.encode(inputs["input_ids"], lengths)
    output = model(inputs["input_ids"], lengths)
    log_probs = output.logits.float().log_softmax(dim=-1)  # A x B x V
    words = words_to_score(inputs["labels"], model.control.blank).expand(len(log_probs), -1, -1)  # A x B x (1 + T)
    ctc = ctc_loss(log_probs.gather(2, words), inputs["labels"], output.canvas_lengths, label_lengths)
    mean, log_variance = cast(tuple[Tensor, Tensor], encoded.posterior)  # build_model sees to the second
    divergence = kl_to_standard_normal(mean, log_variance).sum(dim=-1) * inside  # B x S
    logits = output.logits.transpose(0, 1)  # A x B x V -> B x A x V
    return {
        "encoder_hidden": encoded.states.transpose(0, 1),
        "latent": torch.cat([mean, log_variance], dim=-1),
        "logits": logits,
        ARGMAX: logits.argmax(dim=-1),
        "ctc_loss": (ctc.nll / label_lengths).mean().view(1),
        "kl_uniform": uniform_divergence(log_probs.mean(dim=2), log_probs.size(2)).mean().view(1),
        "kl_vae": (divergence.sum(dim=1) / lengths).mean().view(1),
    }


def build_model(seed: SeedCheckpoint, canvas_length: int) -> BnbTransformer:
    """The model of a seed checkpoint, for inference.

    It always has a log-variance: decoding takes the mean, so a deterministic latent decodes the same.
    """
    options = {**model_options(seed.config, canvas_length), "latent": "vae"}
    sizes = [int(seed.config[side]["vocab_size"]) for side in SIDES]
    source, target = (numbered_dictionary(size, special_ids(seed.config)) for size in sizes)
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    model = BnbTransformer.build_model(BnbTransformerConfig(**options), task)
    parameters, _ = from_seed(seed, model.state_dict())
    model.load_state_dict(parameters)
    return model.eval()


def compare(name: str, ours: Tensor, theirs: Tensor, tolerance: float) -> Row:
    """Difference of two tensors of the same shape, of the output ``name``."""
    shape = tuple(ours.shape)
    if name == ARGMAX:
        return Row(name, shape, float(ours.ne(theirs).sum()), None, 0.0)
    difference = float((ours.double() - theirs.double()).abs().max())
    if name in LOSSES:
        return Row(name, shape, difference, difference / float(theirs.double().abs()), LOSS_TOLERANCE)
    return Row(name, shape, difference, None, tolerance)


def table(rows: list[Row]) -> list[str]:
    """Rows as lines of text."""
    lines = [f"{'tensor':<16}{'shape':<16}{'difference':>12}{'relative':>12}{'tolerance':>12}  ok"]
    for row in rows:
        difference = f"{row.difference:.0f}" if row.name == ARGMAX else f"{row.difference:.2e}"
        relative = "" if row.relative is None else f"{row.relative:.2e}"
        shape = " x ".join(map(str, row.shape))
        ok = "yes" if row.ok else "NO"
        lines.append(f"{row.name:<16}{shape:<16}{difference:>12}{relative:>12}{row.tolerance:>12.0e}  {ok}")
    return lines
