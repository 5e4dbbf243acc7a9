"""Rows of `rlx.value`."""

import jax
import jax.numpy as jnp
import numpy as np
from row import FAR, LOGITS, A, B, Row, T, constant, flags, integers, mask, normal, simplex, targets, uniform

from rlx import value

STREAM = dict(reward=normal(T, B), discount=uniform(0, 1, T, B), lambda_=uniform(0, 1), cut=flags(T, B))
VALUES = dict(value=normal(T, B), next_value=normal(T, B))


def search_table(table: jax.Array, worth: jax.Array, weight: jax.Array) -> value.SearchResult:
    """Four tokens from a table that depends on place and last token; 3 ends."""
    place, log_prob = jnp.arange(4), jax.nn.log_softmax(table)

    def model(token: jax.Array, time: jax.Array) -> jax.Array:
        return log_prob[time, token[:, time - 1]]

    def heuristic(token: jax.Array) -> jax.Array:
        return jnp.asarray(worth)[place, token].sum(-1)

    return value.lookahead_search(model, heuristic, weight, length=4, beam=3, top_k=2, lookahead=2, end=3)


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
    "goal_advantage": targets(
        value.goal_advantage,
        value=normal(2, B),
        next_value=normal(2, B),
        reached=flags(B),
        discount=uniform(0, 1),
    ),
    "goal_target": targets(value.goal_target, next_value=normal(2, B), reached=flags(B), discount=uniform(0, 1)),
    "gc_value_loss": Row(
        value.gc_value_loss,
        dict(
            value=normal(2, B),
            next_value=normal(2, B),
            reached=flags(B),
            level=uniform(0.5, 1),
            discount=uniform(0, 1),
            advantage=normal(B),
        ),
        differentiated=("value",),
        stopped=("next_value", "advantage"),
        extremes={"value": np.stack([FAR, -FAR])},
    ),
    "episode_end": Row(value.episode_end, {"done": flags(T, B)}),
    "option_end": Row(
        lambda index, goal: value.option_end(index, goal, index + 3, 2), dict(index=integers(5, B), goal=integers(8, B))
    ),
    "relabel_goals": Row(
        lambda seed, index, discount: value.relabel_goals(jax.random.key(seed), index, index + 3, 8, discount),
        dict(seed=integers(9), index=integers(5, B), discount=uniform(0.5, 0.9)),
    ),
    "relabel_prob": Row(
        lambda index, discount: value.relabel_prob(index, index + 3, 8, discount),
        dict(index=integers(5, B), discount=uniform(0.5, 0.9)),
        stopped=("discount",),
    ),
    "hilbert_value": Row(
        value.hilbert_value,
        dict(embedding=normal(B, 4), goal_embedding=normal(B, 4)),
        differentiated=("embedding", "goal_embedding"),
        extremes={"embedding": np.zeros((B, 4)), "goal_embedding": np.zeros((B, 4))},
    ),
    "directional_reward": Row(
        value.directional_reward,
        dict(embedding=normal(B, 4), next_embedding=normal(B, 4), task=normal(B, 4)),
        differentiated=("task",),
        stopped=("embedding", "next_embedding"),
    ),
    "multilinear_value": Row(
        value.multilinear_value,
        dict(embedding=normal(B, 4), outcome=normal(B, 4), gate=normal(B, 4), left=normal(4, 2), right=normal(4, 2)),
        differentiated=("embedding", "outcome", "gate", "left", "right"),
    ),
    "forward_backward_loss": Row(
        value.forward_backward_loss,
        dict(
            forward=normal(2, B, 4),
            backward=normal(B, 4),
            target_forward=normal(2, B, 4),
            target_backward=normal(B, 4),
            discount=uniform(0, 1, B),
        ),
        differentiated=("forward", "backward"),
        stopped=("target_forward", "target_backward"),
        extremes={"backward": np.outer(FAR, np.ones(4))},
    ),
    "orthonormality_loss": Row(
        value.orthonormality_loss,
        {"features": normal(B, 4)},
        differentiated=("features",),
        extremes={"features": np.zeros((B, 4))},
    ),
    "task_vector": targets(
        value.task_vector,
        features=normal(B, 6, 4),
        reward=normal(B, 6),
        weight=uniform(0, 1, B, 6),
        radius=uniform(0.5, 2),
    ),
    "task_vector, by regression": targets(
        lambda **x: value.task_vector(**x, regression=True),
        features=normal(B, 6, 4),
        reward=normal(B, 6),
        weight=uniform(0, 1, B, 6),
    ),
    "project_nearest": Row(value.project_nearest, dict(embedding=normal(T, 4), data=normal(B, 4))),
    "proto_value_loss": Row(
        value.proto_value_loss,
        dict(
            value=normal(B, 5),
            next_value=normal(B, 5, A),
            indicator=uniform(0, 1, B, 5),
            discount=uniform(0, 1),
            next_prob=simplex(B, A),
        ),
        differentiated=("value",),
        stopped=("next_value", "indicator", "next_prob"),
        extremes={"value": np.outer(FAR, np.ones(5))},
    ),
    "random_indicator": targets(value.random_indicator, score=normal(B, 5), bias=normal(5)),
    "indicator_bias_loss": Row(
        value.indicator_bias_loss,
        dict(score=normal(B, 5), bias=normal(5), share=uniform(0.1, 0.9)),
        differentiated=("bias",),
        stopped=("score",),
        extremes={"score": np.outer(FAR, np.ones(5))},
    ),
    "value_order_correlation": Row(
        value.value_order_correlation, dict(value=normal(T, B), mask=flags(T, B)), stopped=("value",)
    ),
    "shuffled_progress_batch": Row(
        lambda seed, frames, length: value.shuffled_progress_batch(jax.random.key(seed), frames, length),
        dict(seed=integers(9), frames=integers(9, T, B), length=integers(T)),
    ),
    "progress_weights": Row(
        value.progress_weights,
        dict(value=normal(T, B), inverse_temperature=uniform(0, 2), mask=flags(T, B)),
        {"span": 2},
        stopped=("value",),
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
    "inverse_bellman_reward": Row(
        value.inverse_bellman_reward,
        dict(q=normal(B), next_value=normal(B), discount=uniform(0, 1, B)),
        differentiated=("q", "next_value"),
    ),
    "dueling, maximum": Row(
        value.dueling,
        dict(value=normal(B), advantage=normal(B, A)),
        {"baseline": "max"},
        ("value", "advantage"),
    ),
    "value_guided_logits": Row(
        value.value_guided_logits,
        dict(logits=normal(B, 2, A), q=normal(B, A), inverse_temperature=uniform(0, 3, B), weights=simplex(B, 2)),
        differentiated=("logits", "q", "inverse_temperature", "weights"),
        extremes={"q": np.outer(FAR, [1.0, -1.0, 0.0, 2.0])},
    ),
    "value_guided_logits, top": Row(
        value.value_guided_logits,
        dict(logits=normal(B, A), q=normal(B, A), inverse_temperature=uniform(0, 3)),
        {"top_k": 2},
    ),
    "lookahead_search": Row(search_table, dict(table=normal(5, 4, 4), worth=normal(5, 4), weight=uniform(0, 2))),
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
