"""The command line: verbs by kind, and a warm process that saves a cell its start."""
