"""Rows of `rlx.value`."""

import numpy as np
from row import FAR, LOGITS, A, B, Row, T, constant, flags, integers, mask, normal, simplex, targets, uniform

from rlx import value

STREAM = dict(reward=normal(T, B), discount=uniform(0, 1, T, B), lambda_=uniform(0, 1), cut=flags(T, B))
VALUES = dict(value=normal(T, B), next_value=normal(T, B))

ROWS = {
    "off_policy_returns": targets(
        value.off_policy_returns,
        v=normal(T, B),
        v_next=normal(T, B),
        reward=normal(T, B),
        discount=uniform(0, 1, T, B),
        rho=uniform(0, 2, T, B),
        c=uniform(0, 1, T, B),
    ),
    "gae": targets(value.gae, **VALUES, **STREAM),
    "lambda_returns": targets(value.lambda_returns, next_value=normal(T, B), **STREAM),
    "vtrace": targets(
        value.vtrace, **VALUES, **STREAM, ratio=uniform(0, 2, T, B), rho_bar=uniform(0.5, 1.5), c_bar=uniform(0.5, 1.5)
    ),
    "retrace": targets(value.retrace, q=normal(T, B), next_value=normal(T, B), **STREAM, ratio=uniform(0, 2, T, B)),
    "q_lambda": targets(value.q_lambda, next_value=normal(T, B), **STREAM, greedy=flags(T, B)),
    "n_step_returns": targets(
        lambda **x: value.n_step_returns(**x, n=3),
        next_value=normal(T, B),
        reward=normal(T, B),
        discount=uniform(0, 1, T, B),
        cut=flags(T, B),
    ),
    "returns_to_go": targets(value.returns_to_go, reward=normal(T, B), discount=uniform(0, 1), cut=flags(T, B)),
    "td_loss": Row(
        value.td_loss,
        dict(prediction=normal(B), target=normal(B)),
        {"huber": 1.0},
        ("prediction",),
        ("target",),
        {"prediction": FAR},
    ),
    "clipped_value_loss": Row(
        value.clipped_value_loss,
        dict(value=normal(B), behaviour_value=normal(B), target=normal(B), clip=uniform(0.1, 1)),
        differentiated=("value",),
        stopped=("behaviour_value", "target"),
        extremes={"value": FAR},
    ),
    "implicit_max_loss": Row(
        value.implicit_max_loss,
        dict(diff=normal(B), level=uniform(0.5, 1), adv=normal(B)),
        {"kind": "expectile"},
        ("diff",),
        ("adv",),
        {"diff": FAR},
    ),
    "implicit_max_loss, pinball": Row(
        value.implicit_max_loss,
        dict(diff=normal(B), level=uniform(0.5, 1)),
        {"kind": "pinball"},
        ("diff",),
        extremes={"diff": FAR},
    ),
    "implicit_max_loss, gumbel": Row(
        value.implicit_max_loss,
        dict(diff=normal(B), level=uniform(0.5, 1)),
        {"kind": "gumbel"},
        ("diff",),
        extremes={"diff": FAR},
    ),
    "greedy_action": Row(value.greedy_action, dict(q=normal(B, A, 2), mask=mask(B, A), weights=uniform(0, 1, 2))),
    "take_action": Row(value.take_action, dict(q=normal(B, A, 2), action=integers(A, B)), differentiated=("q",)),
    "q_target": Row(
        value.q_target,
        dict(
            next_q_online=normal(B, A),
            next_q_target=normal(B, A),
            reward=normal(B),
            discount=uniform(0, 1, B),
            mask=mask(B, A),
        ),
        {"double": True},
        stopped=("next_q_online", "next_q_target", "reward", "discount"),
    ),
    "dueling": Row(value.dueling, dict(value=normal(B), advantage=normal(B, A)), differentiated=("value", "advantage")),
    "twin_min_target": targets(
        value.twin_min_target,
        next_q=normal(2, B),
        next_log_prob=normal(B),
        reward=normal(B),
        discount=uniform(0, 1, B),
        alpha=uniform(0, 1),
    ),
    "soft_value": Row(
        value.soft_value,
        dict(q=normal(B, A), log_base=normal(B, A), temperature=uniform(0.5, 2)),
        differentiated=("q", "log_base", "temperature"),
        extremes={"log_base": LOGITS},
    ),
    "soft_policy_iteration": Row(
        value.soft_policy_iteration,
        dict(
            transition=simplex(5, 2, 5),
            reward=normal(5, 2),
            discount=uniform(0, 0.9, 5, 2),
            temperature=uniform(0.5, 2),
        ),
        differentiated=("transition", "reward", "discount", "temperature"),
        extremes={"reward": np.outer(np.ones(5), [1e4, -1e4]), "temperature": np.array(0.01)},
    ),
    "categorical_project": targets(
        value.categorical_project,
        shifted=uniform(-3, 4, B, 6),
        probs=simplex(B, 6),
        support=constant(-2.0, -0.5, 0.5, 1.0, 3.0),
    ),
    "two_hot": targets(value.two_hot, y=uniform(-3, 4, B), support=constant(-2.0, -0.5, 0.5, 1.0, 3.0)),
    "hl_gauss": targets(
        value.hl_gauss, y=uniform(-3, 4, B), support=constant(-2.0, -1.0, 0.0, 1.0), sigma=uniform(0.3, 1)
    ),
    "categorical_target, of a scalar": targets(
        lambda **x: value.categorical_target(**x, kind="hl_gauss"),
        y=uniform(-3, 4, B),
        support=constant(-2.0, -1.0, 0.0, 1.0),
        sigma=uniform(0.3, 1),
    ),
    "categorical_target, of a distribution": targets(
        lambda **x: value.categorical_target(**x, kind="c51"),
        y=uniform(-3, 4, B, 6),
        support=constant(-2.0, -0.5, 0.5, 1.0, 3.0),
        probs=simplex(B, 6),
    ),
    "categorical_loss": Row(
        value.categorical_loss,
        dict(logits=normal(B, 5), target=simplex(B, 5)),
        differentiated=("logits",),
        stopped=("target",),
        extremes={"logits": np.outer(FAR, np.arange(5))},
    ),
    "categorical_mean": Row(
        value.categorical_mean,
        dict(logits=normal(B, 5), support=constant(-2.0, -0.5, 0.5, 1.0, 3.0)),
        differentiated=("logits",),
        extremes={"logits": np.outer(FAR, np.arange(5))},
    ),
    "clipped_mass": targets(
        value.clipped_mass,
        y=uniform(-3, 4, B, 6),
        support=constant(-2.0, -0.5, 0.5, 1.0, 3.0),
        probs=simplex(B, 6),
    ),
    "cosine_features": Row(
        lambda tau: value.cosine_features(tau, 8), dict(tau=uniform(0.01, 0.99, B)), differentiated=("tau",)
    ),
    "cvar": Row(
        value.cvar,
        dict(outcome=normal(B, 6), level=uniform(0.1, 1, B), probs=simplex(B, 6)),
        differentiated=("outcome",),
        extremes={"outcome": np.outer(FAR, np.ones(6))},
    ),
    "quantile_huber_loss": Row(
        value.quantile_huber_loss,
        dict(quantile=normal(B, 5), tau=uniform(0, 1, B, 5), target=normal(B, 4)),
        differentiated=("quantile",),
        stopped=("target",),
        extremes={"target": np.outer(FAR, np.ones(4))},
    ),
    "cql_penalty": Row(
        value.cql_penalty,
        dict(q=normal(B, A), q_data=normal(B), temperature=uniform(0.5, 2), log_prob=normal(B, A)),
        differentiated=("q", "q_data"),
        stopped=("log_prob",),
        extremes={"q": np.outer(FAR, np.ones(A))},
    ),
    "signed_hyperbolic": Row(
        value.signed_hyperbolic, {"x": normal(B)}, differentiated=("x",), extremes={"x": 1e4 * FAR}
    ),
    "signed_parabolic": Row(value.signed_parabolic, {"x": normal(B)}, differentiated=("x",), extremes={"x": FAR}),
    "symlog": Row(value.symlog, {"x": normal(B)}, differentiated=("x",), extremes={"x": 1e4 * FAR}),
    "symexp": Row(value.symexp, {"x": normal(B)}, differentiated=("x",), extremes={"x": 1e-3 * FAR}),
    "gpi_action": targets(value.gpi_action, q=normal(B, 2, A, 3), weights=normal(B, 3), mask=mask(B, 2, A)),
    "envelope_target": targets(
        value.envelope_target,
        next_q_online=normal(B, 2, A, 3),
        next_q_target=normal(B, 2, A, 3),
        reward=normal(B, 3),
        discount=uniform(0, 1, B, 3),
        weights=simplex(B, 2, 3),
        mask=mask(B, 2, A),
    ),
    "stock_update": Row(
        value.stock_update,
        dict(stock=normal(B), reward=normal(B), discount=uniform(0.5, 1)),
        differentiated=("stock", "reward", "discount"),
    ),
    **{
        f"statistical_utility, {kind}": Row(
            value.statistical_utility,
            dict(quantile=normal(B, 5), stock=normal(B)),
            {"kind": kind},
            ("quantile", "stock"),
            extremes={"quantile": np.outer(FAR, np.ones(5))},
        )
        for kind in ("mean", "cvar", "homeostatic")
    },
    "statistical_utility, entropic": Row(
        value.statistical_utility,
        dict(quantile=normal(B, 5), stock=normal(B), beta=uniform(0.5, 2, B)),
        {"kind": "entropic"},
        ("quantile", "stock", "beta"),
        extremes={"quantile": np.outer(FAR, np.arange(5))},
    ),
    "stock_greedy": Row(
        value.stock_greedy, dict(quantile=normal(B, A, 5), stock=normal(B), mask=mask(B, A)), {"kind": "cvar"}
    ),
    "stock_quantile_target": Row(
        value.stock_quantile_target,
        dict(
            next_quantile=normal(B, A, 5),
            next_stock=normal(B),
            reward=normal(B),
            discount=uniform(0, 1, B),
            mask=mask(B, A),
        ),
        {"kind": "cvar"},
        stopped=("next_quantile", "next_stock", "reward", "discount"),
    ),
    "cvar_stock": Row(
        value.cvar_stock,
        dict(stock=normal(4), quantile=normal(B, 4, 5), level=uniform(0.1, 1)),
        differentiated=("quantile",),
    ),
    "smdp_reward": Row(
        value.smdp_reward,
        dict(reward=normal(B), duration=lambda rng: rng.integers(1, 9, B), discount=uniform(0.5, 1)),
        differentiated=("reward",),
        extremes={"discount": np.array(1.0)},
    ),
    "smdp_target": targets(
        value.smdp_target,
        reward=normal(B),
        duration=lambda rng: rng.integers(1, 9, B),
        discount=uniform(0.5, 1),
        next_value=normal(B),
    ),
    "dispatch_scores": Row(
        value.dispatch_scores,
        dict(order_target=normal(B, 4, 5), driver_value=normal(B, 5)),
        differentiated=("order_target", "driver_value"),
    ),
    "reposition_logits": Row(
        value.reposition_logits,
        dict(
            next_value=normal(B, 4),
            steps=integers(5, B, 4),
            discount=uniform(0.5, 1),
            value=normal(B),
            cost=uniform(0, 1, B, 4),
            temperature=uniform(0.5, 2),
        ),
        differentiated=("next_value", "discount", "value", "cost", "temperature"),
    ),
    "matching": targets(value.matching, score=normal(4, 5)),
}
