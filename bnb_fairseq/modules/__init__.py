"""Layers, canvas, latent, length head and logits, in plain torch."""
