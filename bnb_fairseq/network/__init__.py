"""The network in plain torch: the same modules train under fairseq and translate without it."""
