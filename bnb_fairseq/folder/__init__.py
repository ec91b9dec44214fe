"""The model folder: all files of a translation, none of them pickled, read without fairseq."""
