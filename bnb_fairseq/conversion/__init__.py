"""Conversion between fairseq's checkpoints, those of the published BERT-NAR-BERT code, and BERT directories."""
