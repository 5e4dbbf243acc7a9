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
    **{
        f"implicit_max_loss, {kind}": Row(
            value.implicit_max_loss,
            dict(diff=uniform(-6, 6, 9), level=uniform(0.55, 0.95)),
            {"kind": kind},
            ("diff",),
            extremes={"diff": FAR},
        )
        for kind in ("tv", "chi2", "chi2_flat", "chi2_conjugate")
    },
    **{
        f"f_conjugate, {kind}": Row(
            value.f_conjugate,
            dict(y=uniform(-4, 0.4, 9)),
            {"kind": kind},
            ("y",),
            extremes={"y": np.array([-1e4, 0.0, 0.4 if kind == "tv" else 10.0])},
        )
        for kind in ("kl", "chi2", "tv")
    },
    "dual_weights": Row(value.dual_weights, dict(y=uniform(-4, 2, B)), {"kind": "chi2"}, stopped=("y",)),
    "recoil_q_loss": Row(
        value.recoil_q_loss,
        dict(
            q=normal(T),
            value=normal(T),
            next_value=normal(T),
            discount=uniform(0, 1, T),
            expert=flags(T),
            share=uniform(0.2, 0.8),
        ),
        differentiated=("q", "value"),
        stopped=("next_value",),
        extremes={"q": np.linspace(-1e4, 1e4, T)},
    ),
    "recoil_q_loss, exact": Row(
        value.recoil_q_loss,
        dict(
            q=normal(T),
            value=normal(T),
            next_value=normal(T),
            discount=uniform(0, 1, T),
            expert=flags(T),
            share=uniform(0.2, 0.8),
        ),
        {"kind": "chi2", "semi_gradient": False},
        ("q", "value", "next_value"),
    ),
    "ensemble_diversity_loss": Row(
        value.ensemble_diversity_loss,
        {"gradient": normal(3, B, 2)},
        differentiated=("gradient",),
        extremes={"gradient": np.stack([np.zeros((B, 2)), np.full((B, 2), 1e4), np.full((B, 2), -1e-4)])},
    ),
    "edge_of_reach": Row(
        value.edge_of_reach,
        dict(state=integers(5, T, B), next_state=integers(9, T, B), bootstrapped=flags(T, B)),
        {"num_states": 8},
    ),
    "nearest_anchor": Row(
        value.nearest_anchor,
        dict(state=normal(B, 2), data=normal(T, 2)),
        differentiated=("state",),
        stopped=("data",),
        extremes={"state": np.outer(FAR, np.ones(2))},
    ),
    "transductive_features": Row(
        value.transductive_features,
        dict(delta=normal(B, 2, 4), anchor=normal(B, 2, 4)),
        differentiated=("delta", "anchor"),
    ),
}
