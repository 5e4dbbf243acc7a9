"""Kernels that estimate values: returns, losses, targets, distributions, transforms, and exact tabular answers."""

from rlx.value.conservative import cql_penalty
from rlx.value.distributional import categorical_project, quantile_huber_loss, two_hot
from rlx.value.generalised import envelope_target, gpi_action
from rlx.value.goal import (
    directional_reward,
    episode_end,
    gc_value_loss,
    goal_advantage,
    goal_target,
    hilbert_value,
    multilinear_value,
    option_end,
    relabel_goals,
    relabel_prob,
)
from rlx.value.loss import clipped_value_loss, implicit_max_loss, td_loss
from rlx.value.pareto import convex_coverage_set, pareto_value_iteration
from rlx.value.planning import soft_policy_iteration
from rlx.value.progress import progress_weights, shuffled_progress_batch, value_order_correlation
from rlx.value.returns import (
    gae,
    lambda_returns,
    n_step_returns,
    off_policy_returns,
    q_lambda,
    retrace,
    returns_to_go,
    vtrace,
)
from rlx.value.successor import (
    forward_backward_loss,
    indicator_bias_loss,
    orthonormality_loss,
    project_nearest,
    proto_value_loss,
    random_indicator,
    task_vector,
)
from rlx.value.tabular import (
    occupancy,
    policy_evaluation,
    soft_value_iteration,
    step_distances,
    successor_measure,
    value_iteration,
)
from rlx.value.target import dueling, greedy_action, q_target, soft_value, take_action, twin_min_target
from rlx.value.transform import signed_hyperbolic, signed_parabolic, symexp, symlog

__all__ = [
    "categorical_project",
    "clipped_value_loss",
    "convex_coverage_set",
    "cql_penalty",
    "directional_reward",
    "dueling",
    "envelope_target",
    "episode_end",
    "forward_backward_loss",
    "gae",
    "gc_value_loss",
    "goal_advantage",
    "goal_target",
    "gpi_action",
    "greedy_action",
    "hilbert_value",
    "implicit_max_loss",
    "indicator_bias_loss",
    "lambda_returns",
    "multilinear_value",
    "n_step_returns",
    "occupancy",
    "off_policy_returns",
    "option_end",
    "orthonormality_loss",
    "pareto_value_iteration",
    "policy_evaluation",
    "progress_weights",
    "project_nearest",
    "proto_value_loss",
    "q_lambda",
    "q_target",
    "quantile_huber_loss",
    "random_indicator",
    "relabel_goals",
    "relabel_prob",
    "retrace",
    "returns_to_go",
    "shuffled_progress_batch",
    "signed_hyperbolic",
    "signed_parabolic",
    "soft_policy_iteration",
    "soft_value",
    "soft_value_iteration",
    "step_distances",
    "successor_measure",
    "symexp",
    "symlog",
    "take_action",
    "task_vector",
    "td_loss",
    "twin_min_target",
    "two_hot",
    "value_iteration",
    "value_order_correlation",
    "vtrace",
]
