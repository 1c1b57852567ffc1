"""How a cell is trained: the plain loop, which is the specification, faster engines, and what is measured in a run."""
