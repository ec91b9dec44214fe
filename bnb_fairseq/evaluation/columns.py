"""The metrics of a comparison by the names that ``--metrics`` takes; importing this loads no library."""

METRICS = {  # columns of the table
    "bleu": ("BLEU", "mean ± 95%", "p"),
    "chrf": ("chrF",),
    "rouge": ("ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-L mean ± 95%", "p of ROUGE-L"),
    "meteor": ("METEOR", "METEOR mean ± 95%", "p of METEOR"),
}
DEFAULT = ("bleu", "chrf")
TESTED = {"bleu": "BLEU", "rouge": "ROUGE-L", "meteor": "METEOR"}  # metrics with a bootstrap, and its score
TESTED_MEANS = {"rouge": "rougeL", "meteor": "meteor"}  # means over the sentences with a bootstrap, and its mean
