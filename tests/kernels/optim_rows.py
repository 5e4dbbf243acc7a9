"""Rows of `rlx.optim`."""

import jax
import numpy as np
from row import FAR, B, N, Row, flags, integers, mask, normal, uniform

from rlx import optim

PROCESS = dict(
    amplitude=uniform(0.5, 1, 2),
    length=uniform(0.5, 1, 2, 2),
    rho=normal(1),
    noise=uniform(0.2, 0.5, 2),
    mean=normal(2),
)

ROWS = {
    "cokriging_posterior": Row(
        lambda amplitude, length, rho, noise, mean, **x: optim.cokriging_posterior(
            optim.CoKriging(amplitude, length, rho, noise, mean), **x
        ),
        dict(
            **PROCESS,
            x=normal(N, 2),
            fidelity=integers(2, N),
            y=normal(N),
            query=normal(B, 2),
            valid=mask(N),
        ),
        differentiated=("amplitude", "length", "rho", "noise", "mean", "x", "y", "query"),
    ),
    "cokriging_log_likelihood": Row(
        lambda amplitude, length, rho, noise, mean, **x: optim.cokriging_log_likelihood(
            optim.CoKriging(amplitude, length, rho, noise, mean), **x
        ),
        dict(**PROCESS, x=normal(N, 2), fidelity=integers(2, N), y=normal(N), valid=mask(N)),
        differentiated=("amplitude", "length", "rho", "noise", "mean", "x", "y"),
    ),
    "fit_cokriging": Row(
        lambda seed, **x: optim.fit_cokriging(jax.random.key(seed), **x, num_fidelities=2, restarts=2, steps=3),
        dict(seed=integers(9), x=uniform(0, 1, N, 2), fidelity=integers(2, N), y=normal(N), valid=mask(N)),
        stopped=("x", "y"),
    ),
    "population_step": Row(
        lambda seed, **x: optim.population_step(jax.random.key(seed), **x),
        dict(seed=integers(9), better=flags(N, N), hyper=normal(N, 2), factor=uniform(1, 2)),
    ),
    "expected_improvement": Row(
        optim.expected_improvement,
        dict(mean=normal(B), std=uniform(0.5, 1, B), best=normal()),
        differentiated=("mean", "std", "best"),
        extremes={"mean": FAR, "std": np.zeros(B)},
    ),
    "variable_fidelity_improvement": Row(
        lambda root, **x: optim.variable_fidelity_improvement(covariance=root @ root.swapaxes(-1, -2), **x),
        dict(mean=normal(B, 2), root=normal(B, 2, 4), noise=uniform(0.1, 1, 2), cost=uniform(1, 9, 2), best=normal()),
        differentiated=("mean", "root", "noise", "cost", "best"),
        extremes={"root": np.zeros((B, 2, 4))},
    ),
}
