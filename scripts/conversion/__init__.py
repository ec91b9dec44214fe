"""What ``convert_checkpoint.py`` is made of."""
