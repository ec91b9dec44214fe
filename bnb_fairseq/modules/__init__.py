"""Small modules of the model, each with its maths in the docstring."""
