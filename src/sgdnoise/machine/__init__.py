"""The machine that a program runs on: its files and data files, processes, GPUs, number formats, and what it says of itself."""
