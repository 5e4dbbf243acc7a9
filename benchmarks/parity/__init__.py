"""Learning compared with other libraries' own implementations, on the same environments and budgets."""
