"""Question answering data in SQuAD's JSON: reading, checking, and finding the line of what is wrong."""
