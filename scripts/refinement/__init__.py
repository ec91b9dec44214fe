"""How a canvas is filled, pass by pass: what the model did, as a record, a picture and a page."""
