"""Classification and regression on TSV files, such as GLUE's nine tasks: reading, training, metrics, table."""
