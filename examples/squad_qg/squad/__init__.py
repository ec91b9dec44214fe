"""Question answering data in SQuAD's JSON, read and checked."""
