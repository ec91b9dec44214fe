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


def convert(workload: Workload, folder: Path) -> BnbDictionary:
    """Convert the model of the ``transformer`` rows to the folder ``model`` in ``folder``; return its dictionary."""
    dictionary = plain_dictionary(workload.symbols)
    words = "".join(f"{symbol} 1\n" for symbol in dictionary.symbols[dictionary.nspecial :])
    for language in ("src", "tgt"):
        (folder / f"dict.{language}.txt").write_text(words, encoding="utf-8")
    args = fairseq_arguments("transformer", workload)
    model = fairseq_model(args, make_task(dictionary, workload))
    options = Namespace(**vars(fairseq_arguments("transformer", workload)))
    for name, value in {"task": "translation", "source_lang": "src", "target_lang": "tgt"}.items():
        setattr(options, name, value)
    torch.save({"args": options, "model": model.state_dict()}, folder / "checkpoint.pt")
    FairseqConverter(str(folder / "checkpoint.pt"), str(folder)).convert(str(folder / "model"))
    return dictionary


def ctranslate2_systems(workload: Workload, precision: str) -> Iterator[System]:
    """Greedy and beam search with weights in ``float32`` or ``int8``."""
    with tempfile.TemporaryDirectory() as name:
        dictionary = convert(workload, Path(name))
        translator = ctranslate2.Translator(
            str(Path(name) / "model"),
            device=workload.device,
            compute_type=precision,
            inter_threads=1,
            intra_threads=workload.threads,
        )
    yield _system(f"CTranslate2 {precision}, greedy", translator, dictionary, 1, workload)
    yield _system(f"CTranslate2 {precision}, beam 5", translator, dictionary, 5, workload)


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
