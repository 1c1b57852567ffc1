"""What is asked: config, cells, budgets, schedule, optimizers, windows, cost and figures, planned without torch, numpy or pandas."""
