"""Trained models in Python: loading, the options of a call, and fairseq's hub interface."""
