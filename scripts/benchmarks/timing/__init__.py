"""Timing of models: the systems, the sentences that they translate, the clock and the report."""
