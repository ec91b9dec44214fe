"""Folders of checkpoints that a training goes on from, however it was interrupted."""
