"""Sweep batch size and learning rate under a fixed compute budget (Smith, Elsen and De, ICML 2020)."""

__version__ = "0.1.0"
