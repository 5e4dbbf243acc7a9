"""Many objectives at once: sets of value vectors, weightings of channels, combinations of gradients, constraints."""

from rlx.pareto.adaptation import mutual_information_loss, refine_target
from rlx.pareto.archive import archive_insert
from rlx.pareto.constraint import (
    constrained_policy_step,
    interior_point_barrier,
    lagrange_update,
    lagrangian,
    mix_advantages,
    penalised_ppo_penalty,
    pid_lagrange_update,
    pid_lagrangian,
)
from rlx.pareto.descent import box_subdivision, nonsmooth_descent_step
from rlx.pareto.front import crowding_distance, dominates, nondominated_mask, nondominated_rank
from rlx.pareto.gradients import (
    cagrad_weights,
    epo_weights,
    gradnorm_update,
    guided_weights,
    min_norm_weights,
    nash_mtl_weights,
    pcgrad_weights,
    simplex_program,
)
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
from rlx.pareto.modality import agm_coefficients, scale_cotangent, shapley_modality
from rlx.pareto.nelder_mead import nelder_mead_init, nelder_mead_update
from rlx.pareto.scalarise import scalarise, ser_advantage
from rlx.pareto.weight_set import corner_weights, sample_weights, simplex_grid, unit_direction
from rlx.pareto.weighting import (
    exponentiated_gradient,
    exponentiated_gradient_update,
    from_gram,
    gradient_influence,
    hypervolume_guided,
    hypervolume_scale,
    linear,
    recap,
    recap_weights,
)

__all__ = [
    "additive_epsilon",
    "agm_coefficients",
    "archive_insert",
    "box_subdivision",
    "cagrad_weights",
    "constrained_policy_step",
    "corner_weights",
    "crowding_distance",
    "dominates",
    "epo_weights",
    "expected_utility",
    "exponentiated_gradient",
    "exponentiated_gradient_update",
    "from_gram",
    "gradient_influence",
    "gradnorm_update",
    "guided_weights",
    "hypervolume",
    "hypervolume_contributions",
    "hypervolume_guided",
    "hypervolume_monte_carlo",
    "hypervolume_scale",
    "igd_plus",
    "interior_point_barrier",
    "lagrange_update",
    "lagrangian",
    "linear",
    "maximum_utility_loss",
    "min_norm_weights",
    "mix_advantages",
    "mutual_information_loss",
    "nash_mtl_weights",
    "nelder_mead_init",
    "nelder_mead_update",
    "nondominated_mask",
    "nondominated_rank",
    "nonsmooth_descent_step",
    "pcgrad_weights",
    "penalised_ppo_penalty",
    "pid_lagrange_update",
    "pid_lagrangian",
    "recap",
    "recap_weights",
    "refine_target",
    "sample_weights",
    "scalarise",
    "scale_cotangent",
    "ser_advantage",
    "shapley_modality",
    "simplex_grid",
    "simplex_program",
    "sparsity",
    "unit_direction",
]
