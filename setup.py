"""Packaging of bnb_fairseq; fairseq itself is installed by ``scripts/bootstrap.sh``."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="bnb_fairseq",
    version="0.1.0",
    description="BERT-NAR-BERT: non-autoregressive sequence-to-sequence models from BERT checkpoints, for fairseq",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["bnb_fairseq", "bnb_fairseq.*"]),
    package_data={"bnb_fairseq": ["py.typed"]},
    python_requires=">=3.10",
    # fairseq stands outside: its published requirements pull in torchaudio, which nothing here uses and which
    # breaks `import transformers` where its build does not match torch's.
    install_requires=[
        "torch>=2.6",
        "nltk>=3.8",
        "numpy<2.4",
        "regex",
        "rouge-score>=0.1.2",
        "sacrebleu>=2.3",
        "scipy>=1.10",
        "sentencepiece>=0.2",
        "tokenizers>=0.20",
        "tqdm",
        "transformers>=4.45",
    ],
    extras_require={"dev": ["mypy", "pydoclint", "pytest", "pytest-xdist", "ruff"]},
)
