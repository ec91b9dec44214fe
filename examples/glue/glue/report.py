"""The table of results."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bnb_fairseq.evaluation.markdown import cell, table

from .metrics import METRICS

FORM = ".1f"


def score(parts: Sequence[Mapping[str, Any]]) -> float:
    """A task's score as in GLUE: the mean of its metrics and of its development parts."""
    return fmean(fmean(part["metrics"].values()) for part in parts)


def format_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the results.

    Args:
        results: of each task: ``train``, its number of examples, and ``parts``, each with ``title``, ``examples``,
            ``metrics`` (percent, by name) and ``majority`` (percent, or None).

    Returns:
        A Markdown table; the last row is the mean score of several tasks.
    """
    used = [name for name in METRICS if any(name in part["metrics"] for r in results.values() for part in r["parts"])]
    rows = [["task", "train", "dev", *(METRICS[name].title for name in used), "majority", "score"]]
    for result in results.values():
        for part in result["parts"]:
            figures = [cell(part["metrics"].get(name), FORM) for name in used]
            counts = [f"{result['train']:,}", f"{part['examples']:,}"]
            rows.append([part["title"], *counts, *figures, cell(part["majority"], FORM), cell(score([part]), FORM)])
    if len(results) > 1:
        average = fmean(score(result["parts"]) for result in results.values())
        rows.append([f"average of {len(results)}", "", "", *[""] * len(used), "", cell(average, FORM)])
    return table(rows)


def explain(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Explanation of the table's columns."""
    texts = ["Percent on the development part, by the checkpoint of the epoch that is best there."]
    if any(part["majority"] is not None for result in results.values() for part in result["parts"]):
        texts.append("Majority: accuracy of always answering the most frequent label of the training part.")
    texts.append("Score: mean of the metrics.")
    return " ".join(texts)
