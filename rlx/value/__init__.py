"""Kernels that estimate values: returns, losses, targets, distributions, transforms, and exact tabular answers."""

from rlx.value.conservative import cql_penalty
from rlx.value.distributional import categorical_project, quantile_huber_loss, two_hot
from rlx.value.generalised import envelope_target, gpi_action
from rlx.value.guided import SearchResult, lookahead_search, value_guided_logits
from rlx.value.loss import clipped_value_loss, implicit_max_loss, td_loss
from rlx.value.pareto import convex_coverage_set, pareto_value_iteration
from rlx.value.planning import soft_policy_iteration
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
from rlx.value.tabular import occupancy, policy_evaluation, soft_value_iteration, successor_measure, value_iteration
from rlx.value.target import (
    dueling,
    greedy_action,
    inverse_bellman_reward,
    q_target,
    soft_value,
    take_action,
    twin_min_target,
)
from rlx.value.transform import signed_hyperbolic, signed_parabolic, symexp, symlog

__all__ = [
    "SearchResult",
    "categorical_project",
    "clipped_value_loss",
    "convex_coverage_set",
    "cql_penalty",
    "dueling",
    "envelope_target",
    "gae",
    "gpi_action",
    "greedy_action",
    "implicit_max_loss",
    "inverse_bellman_reward",
    "lambda_returns",
    "lookahead_search",
    "n_step_returns",
    "occupancy",
    "off_policy_returns",
    "pareto_value_iteration",
    "policy_evaluation",
    "q_lambda",
    "q_target",
    "quantile_huber_loss",
    "retrace",
    "returns_to_go",
    "signed_hyperbolic",
    "signed_parabolic",
    "soft_policy_iteration",
    "soft_value",
    "soft_value_iteration",
    "successor_measure",
    "symexp",
    "symlog",
    "take_action",
    "td_loss",
    "twin_min_target",
    "two_hot",
    "value_guided_logits",
    "value_iteration",
    "vtrace",
]
