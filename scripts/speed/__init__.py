"""What the benchmarks of speed are made of: the systems or the losses' data, the clock and the report."""
