"""Optimisation of what gradients do not reach: models of costly functions, where to evaluate them next, populations."""

from rlx.optim.acquisition import expected_improvement, variable_fidelity_improvement
from rlx.optim.gaussian_process import CoKriging, cokriging_log_likelihood, cokriging_posterior, fit_cokriging
from rlx.optim.population import population_step

__all__ = [
    "CoKriging",
    "cokriging_log_likelihood",
    "cokriging_posterior",
    "expected_improvement",
    "fit_cokriging",
    "population_step",
    "variable_fidelity_improvement",
]
