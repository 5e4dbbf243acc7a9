"""Many objectives at once: weightings of reward channels, combinations of gradients, constraints."""

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
from rlx.pareto.descent import nonsmooth_descent_step
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
from rlx.pareto.weighting import (
    exponentiated_gradient,
    exponentiated_gradient_update,
    from_gram,
    gradient_influence,
    linear,
    recap,
    recap_weights,
)

__all__ = [
    "cagrad_weights",
    "constrained_policy_step",
    "epo_weights",
    "exponentiated_gradient",
    "exponentiated_gradient_update",
    "from_gram",
    "gradient_influence",
    "gradnorm_update",
    "guided_weights",
    "interior_point_barrier",
    "lagrange_update",
    "lagrangian",
    "linear",
    "min_norm_weights",
    "mix_advantages",
    "nash_mtl_weights",
    "nonsmooth_descent_step",
    "pcgrad_weights",
    "penalised_ppo_penalty",
    "pid_lagrange_update",
    "pid_lagrangian",
    "recap",
    "recap_weights",
    "simplex_program",
]
