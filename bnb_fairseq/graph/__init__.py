"""The network as one ONNX graph: from ids of sources to the best symbols of every canvas position."""
