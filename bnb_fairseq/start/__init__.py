"""Starting a model from BERTs, or from a checkpoint with other dictionaries, tensor by tensor."""
