"""The network in plain torch: what trains under fairseq and what translates without it are the same modules."""
