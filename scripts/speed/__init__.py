"""What ``benchmark_speed.py`` is made of: the systems, the clock and the report."""
