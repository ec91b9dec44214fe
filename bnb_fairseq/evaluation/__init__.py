"""Trained models on data: which options of the search suit them best, and how they fill their canvas."""
