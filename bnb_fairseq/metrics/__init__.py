"""What texts are judged by, in training and in scripts alike."""
