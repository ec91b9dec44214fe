"""Trained models on data: scores, comparisons and analyses of what they write, and how they fill their canvas."""
