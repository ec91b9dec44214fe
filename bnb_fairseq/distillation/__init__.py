"""Sequence-level distillation: a training target in a teacher's words."""
