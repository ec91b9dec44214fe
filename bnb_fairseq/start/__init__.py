"""How a model starts: from BERTs or from a checkpoint with other dictionaries, tensor by tensor."""
