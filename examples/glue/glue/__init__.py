"""Classification and regression data in TSV files, GLUE's nine tasks among them: reading, training, metrics, table."""
