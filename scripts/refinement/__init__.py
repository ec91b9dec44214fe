"""How a canvas is filled, pass by pass: what the model did, as a record, a picture and a page."""

import logging

logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq, once loaded, shows all that is logged
