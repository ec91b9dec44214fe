"""The network as ONNX graphs: from ids of sources to the best symbols of every canvas position."""
