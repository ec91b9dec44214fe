"""Checkpoints: safe reading of untrusted files, writing, and averaging."""
