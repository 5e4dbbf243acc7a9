"""Kernels that estimate values: returns, losses, targets, distributions, transforms, and exact tabular answers."""

from rlx.value.conservative import cql_penalty
from rlx.value.distributional import (
    categorical_loss,
    categorical_mean,
    categorical_project,
    categorical_target,
    clipped_mass,
    cosine_features,
    cvar,
    hl_gauss,
    quantile_huber_loss,
    quantile_midpoints,
    two_hot,
)
from rlx.value.generalised import envelope_target, gpi_action
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
from rlx.value.robust import iwocs, robust_value_iteration
from rlx.value.smdp import dispatch_scores, matching, reposition_logits, smdp_reward, smdp_target
from rlx.value.stock import cvar_stock, statistical_utility, stock_greedy, stock_quantile_target, stock_update
from rlx.value.tabular import occupancy, policy_evaluation, soft_value_iteration, successor_measure, value_iteration
from rlx.value.target import dueling, greedy_action, q_target, soft_value, take_action, twin_min_target
from rlx.value.transform import signed_hyperbolic, signed_parabolic, symexp, symlog

__all__ = [
    "categorical_loss",
    "categorical_mean",
    "categorical_project",
    "categorical_target",
    "clipped_mass",
    "clipped_value_loss",
    "convex_coverage_set",
    "cosine_features",
    "cql_penalty",
    "cvar",
    "cvar_stock",
    "dispatch_scores",
    "dueling",
    "envelope_target",
    "gae",
    "gpi_action",
    "greedy_action",
    "hl_gauss",
    "implicit_max_loss",
    "iwocs",
    "lambda_returns",
    "matching",
    "n_step_returns",
    "occupancy",
    "off_policy_returns",
    "pareto_value_iteration",
    "policy_evaluation",
    "q_lambda",
    "q_target",
    "quantile_huber_loss",
    "quantile_midpoints",
    "reposition_logits",
    "retrace",
    "returns_to_go",
    "robust_value_iteration",
    "signed_hyperbolic",
    "signed_parabolic",
    "smdp_reward",
    "smdp_target",
    "soft_policy_iteration",
    "soft_value",
    "soft_value_iteration",
    "statistical_utility",
    "stock_greedy",
    "stock_quantile_target",
    "stock_update",
    "successor_measure",
    "symexp",
    "symlog",
    "take_action",
    "td_loss",
    "twin_min_target",
    "two_hot",
    "value_iteration",
    "vtrace",
]
