"""Kernels that estimate values: returns, losses, targets, distributions, transforms, and exact tabular answers."""

from rlx.value.conservative import cql_penalty, edge_of_reach, ensemble_diversity_loss
from rlx.value.distributional import categorical_project, quantile_huber_loss, two_hot
from rlx.value.dual import dual_weights, f_conjugate, recoil_q_loss
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
from rlx.value.tabular import occupancy, policy_evaluation, soft_value_iteration, successor_measure, value_iteration
from rlx.value.target import dueling, greedy_action, q_target, soft_value, take_action, twin_min_target
from rlx.value.transductive import nearest_anchor, transductive_features
from rlx.value.transform import signed_hyperbolic, signed_parabolic, symexp, symlog

__all__ = [
    "categorical_project",
    "clipped_value_loss",
    "convex_coverage_set",
    "cql_penalty",
    "dual_weights",
    "dueling",
    "edge_of_reach",
    "ensemble_diversity_loss",
    "envelope_target",
    "f_conjugate",
    "gae",
    "gpi_action",
    "greedy_action",
    "implicit_max_loss",
    "lambda_returns",
    "n_step_returns",
    "nearest_anchor",
    "occupancy",
    "off_policy_returns",
    "pareto_value_iteration",
    "policy_evaluation",
    "q_lambda",
    "q_target",
    "quantile_huber_loss",
    "recoil_q_loss",
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
    "transductive_features",
    "twin_min_target",
    "two_hot",
    "value_iteration",
    "vtrace",
]
