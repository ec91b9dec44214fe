"""Metrics of texts, for training and evaluation."""
