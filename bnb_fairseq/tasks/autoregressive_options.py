"""Options that fairseq's SequenceGenerator would ignore or fail with."""

from typing import Any

from ..generation.options import SEARCH_OPTIONS, search_options

RERANKER = "iter_decode_with_external_reranker"


def refuse_unused_options(args: Any, task: Any) -> None:
    """Check fairseq's generation options and the task's for autoregressive models.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.
        task: the task's options.

    Raises:
        ValueError: naming each option that is set but would have no effect, or would need words of the source.
    """
    values = search_options(args, task)
    found = [f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value != SEARCH_OPTIONS[name]]
    if getattr(args, RERANKER, False):
        found.append(f"--{RERANKER.replace('_', '-')} True")
    if found:
        raise ValueError(f"an autoregressive model writes word by word and cannot use {', '.join(found)}")
    replacement = getattr(args, "replace_unk", None)
    if replacement not in (None, False):
        raise ValueError(
            f"--replace-unk must not be set with --task {task._name}, whose data hold ids and no words to copy, but is "
            f"{replacement!r}"
        )
