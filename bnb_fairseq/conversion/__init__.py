"""Checkpoints of the published BERT-NAR-BERT code and BERT directories, to fairseq's checkpoints and back."""
