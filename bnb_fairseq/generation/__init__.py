"""Decoding: pure functions over an immutable state, and the generator that runs them."""
