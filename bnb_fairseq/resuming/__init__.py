"""Folders of checkpoints from which an interrupted training resumes."""
