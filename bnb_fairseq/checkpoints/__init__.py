"""Reading checkpoints of strangers: nothing in them runs, and damage is noticed."""
