"""The model folder: all that a translation needs, nothing of it pickled, read without fairseq."""
