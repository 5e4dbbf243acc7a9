"""Rows of `rlx.pareto`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from row import (
    FAR,
    LOGITS,
    A,
    B,
    N,
    Row,
    T,
    constant,
    flags,
    gram,
    grid,
    integers,
    mask,
    normal,
    simplex,
    targets,
    uniform,
)

from rlx import pareto
from rlx.pareto.prediction import ImprovementModel
from rlx.types import Front

SET = dict(points=normal(N, 3), valid=mask(N))
REFERENCE = dict(reference=normal(B, 3), reference_valid=mask(B))

ROWS = {
    **{
        f"lagrange_update, {projection}": Row(
            pareto.lagrange_update,
            dict(parameter=normal(3), cost=normal(3), limit=normal(3), learning_rate=uniform(0, 1)),
            {"projection": projection},
            stopped=("parameter", "cost", "limit"),
            extremes={"parameter": FAR},
        )
        for projection in ("relu", "softplus", "sigmoid", "tanh")
    },
    "pid_lagrange_update": targets(
        pareto.pid_lagrange_update,
        integral=normal(3),
        previous_cost=normal(3),
        cost=normal(3),
        limit=normal(3),
        proportional=uniform(0, 1),
        integral_gain=uniform(0, 1),
        derivative=uniform(0, 1),
    ),
    "mix_advantages": Row(
        pareto.mix_advantages,
        dict(reward_advantage=normal(T, B), cost_advantage=normal(T, B, 3), multiplier=uniform(0, 2, 3)),
        differentiated=("reward_advantage", "cost_advantage"),
    ),
    "dominates": Row(pareto.dominates, dict(a=grid(T, 3), b=grid(3))),
    "nondominated_mask": Row(pareto.nondominated_mask, SET),
    "nondominated_rank": Row(pareto.nondominated_rank, SET),
    "crowding_distance": targets(pareto.crowding_distance, **SET, rank=integers(2, N)),
    **{
        f"archive_insert, {by}": Row(
            lambda points, valid, new, ref=ref: pareto.archive_insert(Front(points, valid), new, ref=ref),
            dict(points=normal(3, 2), valid=mask(3), new=normal(N, 2)),
        )
        for by, ref in (("contributions", np.full(2, -3.0)), ("crowding", None))
    },
    **{
        f"{kernel.__name__}, {m} objectives": Row(
            kernel,
            dict(points=normal(N, m), ref=constant(*[-1.0] * m), valid=mask(N)),
            differentiated=("points", "ref"),
            extremes={"points": np.full((N, m), 1e3)},
        )
        for kernel in (pareto.hypervolume, pareto.hypervolume_contributions)
        for m in (2, 4)
    },
    "hypervolume_monte_carlo": Row(
        lambda seed, points, ref, valid: pareto.hypervolume_monte_carlo(jax.random.key(seed), points, ref, 99, valid),
        dict(seed=integers(9), **SET, ref=constant(-1.0, -1.0, -1.0)),
        stopped=("points", "ref"),
    ),
    "expected_utility": Row(
        pareto.expected_utility, dict(**SET, weights=simplex(T, 3)), differentiated=("points", "weights")
    ),
    "maximum_utility_loss": Row(
        pareto.maximum_utility_loss,
        dict(**SET, **REFERENCE, weights=simplex(T, 3)),
        differentiated=("points", "reference", "weights"),
    ),
    "sparsity": Row(pareto.sparsity, SET, differentiated=("points",), extremes={"points": np.outer(np.ones(N), FAR)}),
    "igd_plus": Row(
        pareto.igd_plus,
        dict(**SET, **REFERENCE),
        differentiated=("points", "reference"),
        extremes={"points": np.outer(np.ones(N), FAR)},
    ),
    "additive_epsilon": Row(pareto.additive_epsilon, dict(**SET, **REFERENCE), differentiated=("points", "reference")),
    "scalarise, linear": Row(
        pareto.scalarise, dict(value=normal(T, 3), weight=simplex(3)), differentiated=("value", "weight")
    ),
    **{
        f"scalarise, {kind}": Row(
            pareto.scalarise,
            dict(value=normal(T, 3), weight=simplex(3), ideal=uniform(3, 4, 3)),
            {"kind": kind, "rho": 0.01, "mu": 0.1},
            ("value", "weight", "ideal"),
            extremes={"value": np.outer(np.ones(T), FAR)},
        )
        for kind in ("chebyshev", "smooth_chebyshev", "pbi")
    },
    "ser_advantage": Row(
        pareto.ser_advantage,
        dict(advantage=normal(T, B, 3), expected=uniform(1, 2, 3)),
        {"utility": lambda value: value.prod()},
        ("advantage",),
        ("expected",),
    ),
    "sample_weights": Row(
        lambda seed, kind: pareto.sample_weights(jax.random.key(seed), B, 3, kind),
        {"seed": integers(9)},
        {"kind": "gaussian"},
    ),
    "sample_directions": Row(
        lambda seed, low, high: pareto.sample_directions(jax.random.key(seed), B, low, high),
        dict(seed=integers(9), low=uniform(-1, 0, 2), high=uniform(0, 1, 2)),
        differentiated=("low", "high"),
    ),
    "unit_direction": Row(pareto.unit_direction, {"angle": normal(T, 2)}, differentiated=("angle",)),
    "corner_weights": targets(pareto.corner_weights, **SET),
    "neighbours": targets(lambda weights: pareto.neighbours(weights, 2), weights=simplex(N, 3)),
    "psa_weight_update": targets(
        lambda value, weight, points, valid, delta: pareto.psa_weight_update(
            value, weight, Front(points, valid), delta
        ),
        value=normal(3),
        weight=simplex(3),
        delta=uniform(0.1, 0.5),
        **SET,
    ),
    "select_isolated": targets(
        lambda points, valid, excluded: pareto.select_isolated(Front(points, valid), 3, excluded),
        excluded=flags(N),
        **SET,
    ),
    "extension_threshold": Row(
        pareto.extension_threshold, dict(value=normal(N, 3), fraction=uniform(0.5, 1)), differentiated=("value",)
    ),
    "improvement_priority": Row(
        lambda weights, improved, points, valid: pareto.improvement_priority(weights, improved, Front(points, valid)),
        dict(weights=simplex(B, 3), improved=normal(B, 3), **SET),
        differentiated=("improved",),
        stopped=("points",),
    ),
    "fit_improvement": targets(
        lambda weight, gain, count: tuple(pareto.fit_improvement(weight, gain, count, 5)),
        weight=uniform(0, 1, N),
        gain=normal(N),
        count=uniform(0, 1, N),
    ),
    "predict_improvement": Row(
        lambda weight, **model: pareto.predict_improvement(ImprovementModel(**model), weight),
        dict(weight=uniform(0, 1, N), height=normal(), rate=uniform(1, 3), centre=uniform(0, 1), offset=normal()),
        differentiated=("weight", "height", "rate", "centre", "offset"),
        extremes={"weight": np.array([1e4] * N)},
    ),
    "select_by_prediction": targets(
        lambda points, valid, predicted, possible, ref: pareto.select_by_prediction(
            Front(points, valid), predicted, possible, 2, ref, 0.1
        ),
        points=normal(3, 2),
        valid=mask(3),
        predicted=normal(4, 2),
        possible=mask(4),
        ref=constant(-3.0, -3.0),
    ),
    "bin_elites": targets(pareto.bin_elites, values=normal(N, 3), valid=mask(N), directions=simplex(B, 3)),
    "pcn_command": Row(
        lambda seed, **x: pareto.pcn_command(jax.random.key(seed), **x),
        dict(seed=integers(9), returns=normal(N, 3), horizon=uniform(1, 9, N), valid=mask(N)),
        stopped=("returns", "horizon"),
    ),
    "pcn_priority": targets(pareto.pcn_priority, returns=normal(N, 3), valid=mask(N), threshold=uniform(0, 1)),
    "interior_point_barrier": Row(
        pareto.interior_point_barrier,
        dict(cost=normal(3), limit=uniform(0, 2, 3), sharpness=uniform(5, 20), margin=uniform(0.1, 0.5)),
        differentiated=("cost",),
        extremes={"cost": FAR},
    ),
    "penalised_ppo_penalty": Row(
        pareto.penalised_ppo_penalty,
        dict(
            log_prob=normal(T, B),
            behaviour_log_prob=normal(T, B),
            cost_advantage=normal(T, B, 3),
            cost=uniform(2, 3, 3),
            limit=uniform(0, 1, 3),
            discount=uniform(0, 1),
            clip=uniform(0.1, 0.3),
            penalty=uniform(1, 20),
        ),
        differentiated=("log_prob",),
        stopped=("behaviour_log_prob", "cost_advantage", "cost"),
        extremes={"log_prob": np.outer(np.arange(T), FAR)},
    ),
    "constrained_policy_step": targets(
        lambda fisher, **x: pareto.constrained_policy_step(**x, fisher_product=lambda v: fisher @ v),
        gradient=normal(4),
        cost_gradient=normal(4),
        violation=uniform(-0.1, 0.1),
        fisher=gram(4),
        radius=uniform(0.01, 0.1),
    ),
    "simplex_program": targets(
        pareto.simplex_program,
        quadratic=gram(4),
        linear=normal(4),
        rows=normal(2, 4),
        bounds=uniform(-3, -2, 2),
    ),
    "min_norm_weights": targets(pareto.min_norm_weights, gram=gram(4)),
    "pcgrad_weights": targets(
        lambda seed, gram: pareto.pcgrad_weights(jax.random.key(seed), gram), seed=integers(9), gram=gram(4)
    ),
    "cagrad_weights": targets(pareto.cagrad_weights, gram=gram(4), radius=uniform(0.2, 2)),
    "nash_mtl_weights": targets(pareto.nash_mtl_weights, gram=gram(4)),
    **{
        f"guided_weights, {'relaxed' if relax else 'strict'}": Row(
            pareto.guided_weights,
            dict(gram=gram(4), guidance=normal(4), balance=flags()),
            {"relax": relax},
            stopped=("gram", "guidance"),
        )
        for relax in (False, True)
    },
    "epo_weights": targets(
        pareto.epo_weights,
        gram=gram(4),
        losses=uniform(0, 2, 4),
        preference=uniform(0.5, 2, 4),
        tolerance=uniform(0, 0.1),
    ),
    "nonsmooth_descent_step": targets(
        lambda x, centres, radius, tolerance: pareto.nonsmooth_descent_step(
            lambda x: jnp.abs(x - centres).max(1), x, radius, tolerance, capacity=6
        ),
        x=normal(3),
        centres=normal(2, 3),
        radius=uniform(0.05, 0.1),
        tolerance=uniform(0.001, 0.01),
    ),
    "box_subdivision": targets(
        lambda low, high, target: pareto.box_subdivision(lambda x: (x + target) / 2, low, high, 6, capacity=8),
        low=uniform(-2, -1, 2),
        high=uniform(1, 2, 2),
        target=uniform(-0.5, 0.5, 2),
    ),
    "shapley_modality": Row(pareto.shapley_modality, {"outputs": normal(8, B, A)}, differentiated=("outputs",)),
    "agm_coefficients": targets(
        pareto.agm_coefficients, score=uniform(0, 2, 3), average=uniform(0, 2, 3), alpha=uniform(0, 2)
    ),
    "scale_cotangent": Row(pareto.scale_cotangent, dict(x=normal(T, B), scale=normal(B)), stopped=("scale",)),
    "mutual_information_loss": Row(
        pareto.mutual_information_loss,
        {"logits": normal(B, A)},
        differentiated=("logits",),
        extremes={"logits": LOGITS},
    ),
    "refine_target": Row(
        pareto.refine_target,
        dict(logits=normal(B, A), domain_log_prob=uniform(-3, 0, B, A)),
        differentiated=("logits", "domain_log_prob"),
        extremes={"domain_log_prob": np.outer(FAR, np.arange(A))},
    ),
    "nelder_mead_init": targets(pareto.nelder_mead_init, simplex=normal(4, 3)),
    "nelder_mead_update": targets(
        lambda simplex, values: functools.reduce(pareto.nelder_mead_update, values, pareto.nelder_mead_init(simplex)),
        simplex=normal(4, 3),
        values=normal(12),
    ),
    "gradnorm_update": targets(
        pareto.gradnorm_update,
        weights=uniform(0.5, 1, 4),
        norms=uniform(0, 2, 4),
        losses=uniform(0, 2, 4),
        initial_losses=uniform(1, 2, 4),
        alpha=uniform(0, 2),
        learning_rate=uniform(0.01, 0.1),
    ),
    "gradient_influence": targets(pareto.gradient_influence, gram=gram(4)),
    "exponentiated_gradient_update": targets(
        pareto.exponentiated_gradient_update,
        weights=simplex(4),
        score=normal(4),
        step_size=uniform(0, 1),
        floor=uniform(0, 0.2),
    ),
    "hypervolume_scale": targets(
        lambda points, valid, **x: pareto.hypervolume_scale(Front(points, valid), **x),
        **SET,
        point=normal(3),
        ref=constant(-1.0, -1.0, -1.0),
        low=uniform(0, 1),
        high=uniform(1, 2),
        unit=uniform(0.5, 2),
    ),
    **{
        f"recap_weights, {signal}": Row(
            pareto.recap_weights,
            dict(
                history=uniform(0, 1, 6, 4),
                temperature=uniform(1, 5),
                convergence=uniform(0, 1),
                instability=uniform(0, 1),
            ),
            {"signal": signal},
            stopped=("history",),
        )
        for signal in ("loss", "reward")
    },
}
