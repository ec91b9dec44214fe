"""Tokenizers, dictionaries and data sets."""
