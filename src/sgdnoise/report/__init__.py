"""A finished study, shown as one page or shipped with its runs."""
