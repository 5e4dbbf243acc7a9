"""Many objectives at once: sets of value vectors, their indicators, utilities, weightings of channels, constraints."""

from rlx.pareto.archive import archive_insert
from rlx.pareto.constraint import lagrange_update, lagrangian, mix_advantages, pid_lagrange_update, pid_lagrangian
from rlx.pareto.front import crowding_distance, dominates, nondominated_mask, nondominated_rank
from rlx.pareto.indicators import (
    additive_epsilon,
    expected_utility,
    hypervolume,
    hypervolume_contributions,
    hypervolume_monte_carlo,
    igd_plus,
    maximum_utility_loss,
    sparsity,
)
from rlx.pareto.scalarise import scalarise, ser_advantage
from rlx.pareto.weight_set import corner_weights, sample_weights, simplex_grid, unit_direction
from rlx.pareto.weighting import linear

__all__ = [
    "additive_epsilon",
    "archive_insert",
    "corner_weights",
    "crowding_distance",
    "dominates",
    "expected_utility",
    "hypervolume",
    "hypervolume_contributions",
    "hypervolume_monte_carlo",
    "igd_plus",
    "lagrange_update",
    "lagrangian",
    "linear",
    "maximum_utility_loss",
    "mix_advantages",
    "nondominated_mask",
    "nondominated_rank",
    "pid_lagrange_update",
    "pid_lagrangian",
    "sample_weights",
    "scalarise",
    "ser_advantage",
    "simplex_grid",
    "sparsity",
    "unit_direction",
]
