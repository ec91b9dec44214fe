"""The autoregressive Transformer in CTranslate2, a C++ engine made for its decoding."""

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import ctranslate2
import torch
from ctranslate2.converters import FairseqConverter

from bnb_fairseq.data.dictionary import BnbDictionary

from .systems import Outcome, System, fairseq_arguments, fairseq_model, make_task
from .workload import Sample, Workload, plain_dictionary


def convert(workload: Workload, folder: Path, precision: str, decoder_layers: int | None) -> BnbDictionary:
    """Convert the model of the ``transformer`` rows to the folder ``model`` in ``folder``; return its dictionary."""
    dictionary = plain_dictionary(workload.symbols)
    words = "".join(f"{symbol} 1\n" for symbol in dictionary.symbols[dictionary.nspecial :])
    for language in ("src", "tgt"):
        (folder / f"dict.{language}.txt").write_text(words, encoding="utf-8")
    args = fairseq_arguments("transformer", workload, decoder_layers)
    model = fairseq_model(args, make_task(dictionary, workload))
    options = Namespace(**vars(fairseq_arguments("transformer", workload, decoder_layers)))
    for name, value in {"task": "translation", "source_lang": "src", "target_lang": "tgt"}.items():
        setattr(options, name, value)
    torch.save({"args": options, "model": model.state_dict()}, folder / "checkpoint.pt")
    FairseqConverter(str(folder / "checkpoint.pt"), str(folder)).convert(str(folder / "model"), quantization=precision)
    return dictionary


def ctranslate2_systems(workload: Workload, precision: str, decoder_layers: int | None = None) -> Iterator[System]:
    """Greedy and beam search with weights in ``float32`` or ``int8``; ``decoder_layers`` as in the encoder if None."""
    shape = "" if decoder_layers is None else f", {decoder_layers} decoder layer{'s'[: decoder_layers > 1]}"
    with tempfile.TemporaryDirectory() as name:
        dictionary = convert(workload, Path(name), precision, decoder_layers)
        size = (Path(name) / "model" / "model.bin").stat().st_size / 1e6
        translator = ctranslate2.Translator(
            str(Path(name) / "model"),
            device=workload.device,
            compute_type=precision,
            inter_threads=1,
            intra_threads=workload.threads,
        )
    for search, beam in (("greedy", 1), ("beam 5", 5)):
        name = f"CTranslate2 {precision}{shape}, {search}"
        yield _system(name, translator, dictionary, beam, workload)._replace(size=size)


def _system(
    name: str, translator: ctranslate2.Translator, dictionary: BnbDictionary, beam: int, workload: Workload
) -> System:
    def translate(sample: Sample) -> Outcome:
        sources = [[dictionary[i] for i in row[1:-1]] for row in sample["net_input"]["src_tokens"].tolist()]
        results = translator.translate_batch(
            sources,
            beam_size=beam,
            max_batch_size=0,
            min_decoding_length=workload.target_tokens,
            max_decoding_length=workload.target_tokens,
        )
        outputs = [[dictionary.index(token) for token in result.hypotheses[0]] for result in results]
        tokens = sum(map(len, outputs)) / len(outputs)
        return Outcome(tokens, tokens)

    return System(name, dictionary, translate)
