"""Fronts against time: rlx's multi-objective algorithms beside morl-baselines, and populations of weight vectors."""
