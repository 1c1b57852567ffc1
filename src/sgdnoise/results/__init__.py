"""What a cell leaves behind: the one HDF5 layout, and the table that gathers all of a study."""
