"""Translations over HTTP: an application, its limits, a queue that forms batches, and a page to look at."""
