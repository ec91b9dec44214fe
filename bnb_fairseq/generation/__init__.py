"""Decoding: pure functions over an immutable state, and the generator that loops over them."""
