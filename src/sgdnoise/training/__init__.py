"""How a cell is trained: the plain loop, which is the specification, engines that compute the same faster, and what is measured in a run."""
