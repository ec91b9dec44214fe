"""Checkpoints: reading those of strangers, where nothing runs and damage is noticed; writing and averaging."""
