"""Pair losses compared at equal divergence, on a task small enough that nothing is estimated."""
