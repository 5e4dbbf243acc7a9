"""Optimisation of what gradients do not reach: models of costly functions, and where to evaluate them next."""

from rlx.optim.acquisition import expected_improvement, variable_fidelity_improvement
from rlx.optim.gaussian_process import CoKriging, cokriging_log_likelihood, cokriging_posterior, fit_cokriging

__all__ = [
    "CoKriging",
    "cokriging_log_likelihood",
    "cokriging_posterior",
    "expected_improvement",
    "fit_cokriging",
    "variable_fidelity_improvement",
]
