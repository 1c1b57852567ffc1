"""Networks and their layers, ghost batch norm among them."""
