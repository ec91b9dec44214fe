"""Engines from ids of sources to hypotheses, behind one interface."""
