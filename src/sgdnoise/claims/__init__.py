"""The paper's statements and its numbers, and the verdicts on them."""
