"""What every kernel must do, checked over one table: a new kernel is a new row.

Jitted equals eager; vmapped equals a loop; gradients match finite differences, vanish where documented as stopped and
stay finite at extremes; the dtype is kept; a new value of a traced argument does not recompile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rlx.exploration
import rlx.optim
import rlx.pareto
import rlx.policy
import rlx.reward
import rlx.value
from rlx import exploration, optim, pareto, policy, reward, value
from rlx.pareto.prediction import ImprovementModel
from rlx.types import Front, PreferenceBatch

PACKAGES = (rlx.value, rlx.policy, rlx.reward, rlx.exploration, rlx.pareto, rlx.optim)
COMPONENTS = {  # reward sources and their transforms, running statistics, weightings, parameters
    "CoKriging",
    "EdgeStats",
    "OveroptimisationFit",
    "RewardTransform",
    "RunningMoments",
    "centre",
    "chain",
    "exponentiated_gradient",
    "extrinsic",
    "from_gram",
    "hypervolume_guided",
    "init_moments",
    "lagrangian",
    "linear",
    "merge_moments",
    "normalise",
    "normalise_by_return",
    "pid_lagrangian",
    "recap",
    "rnd",
    "stack",
    "update_moments",
    "utility_gradient",
    "visit_count",
}
HOST_ONLY = {
    "convex_coverage_set",
    "occupancy",
    "pareto_value_iteration",
    "policy_evaluation",
    "simplex_grid",
    "soft_value_iteration",
    "successor_measure",
    "value_iteration",
}

T, B, A = 7, 3, 4
N = 6  # rows of a set of value vectors
Rng = np.random.Generator
Maker = Callable[[Rng], np.ndarray]


class Row(NamedTuple):
    """A kernel, and how to make its arguments."""

    kernel: Callable[..., Any]
    inputs: Mapping[str, Maker]  # traced: floats, booleans, integers
    static: Mapping[str, Any] = {}
    differentiated: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()  # must get no gradient; coefficients belong to neither
    extremes: Mapping[str, Any] = {}  # inputs to be replaced where gradients must stay finite


def normal(*shape: int) -> Maker:
    return lambda rng: rng.normal(size=shape)


def uniform(low: float, high: float, *shape: int) -> Maker:
    return lambda rng: rng.uniform(low, high, shape)


def flags(*shape: int) -> Maker:
    return lambda rng: rng.random(shape) < 0.3


def integers(high: int, *shape: int) -> Maker:
    return lambda rng: rng.integers(high, size=shape)


def simplex(*shape: int) -> Maker:
    return lambda rng: rng.dirichlet(np.ones(shape[-1]), shape[:-1])


def constant(*values: float) -> Maker:
    return lambda rng: np.array(values)


def grid(*shape: int) -> Maker:
    """Numbers of which many are equal."""
    return lambda rng: np.round(rng.normal(size=shape))


def mask(*shape: int) -> Maker:
    """At least one allowed action in each row."""
    return lambda rng: (rng.random(shape) < 0.6) | (np.arange(shape[-1]) == 0)


def gram(size: int, parameters: int = 6) -> Maker:
    def make(rng: Rng) -> np.ndarray:
        G = rng.normal(size=(size, parameters))
        return G @ G.T

    return make


def ranking(*shape: int) -> Maker:
    """Ranks with ties, and some candidates that are not ranked."""
    return lambda rng: rng.integers(-1, 3, size=shape)


def targets(kernel: Callable[..., Any], **inputs: Maker) -> Row:
    """A kernel whose results are all constants."""
    floats = tuple(name for name, make in inputs.items() if make(np.random.default_rng(0)).dtype == np.float64)
    return Row(kernel, inputs, stopped=floats)


STREAM = dict(reward=normal(T, B), discount=uniform(0, 1, T, B), lambda_=uniform(0, 1), cut=flags(T, B))
VALUES = dict(value=normal(T, B), next_value=normal(T, B))
SET = dict(points=normal(N, 3), valid=mask(N))
PREFERENCES = dict(difference=normal(B), target=uniform(0, 1, B))
QUERIES = dict(obs=normal(B, 3, T), mask=mask(B, 3, T), target=simplex(B, 3))
REFERENCE = dict(reference=normal(B, 3), reference_valid=mask(B))
PROCESS = dict(
    amplitude=uniform(0.5, 1, 2),
    length=uniform(0.5, 1, 2, 2),
    rho=normal(1),
    noise=uniform(0.2, 0.5, 2),
    mean=normal(2),
)
PLAN = dict(transition=simplex(5, 2, 5), discount=uniform(0, 0.9, 5, 2), temperature=uniform(0.5, 2))
REWARD = dict(reward=normal(5, 2, 5), discount=uniform(0.5, 0.9))
FAR = np.array([1e4, -1e4, 0.0])
LOGITS = np.array([[0.0, -np.inf, 1.0, -np.inf], [1e4, -1e4, 0.0, 0.0], [-np.inf, -np.inf, -np.inf, 3.0]])

TABLE = {
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
    "policy_gradient_loss": Row(
        policy.policy_gradient_loss,
        dict(log_prob=normal(B), advantage=normal(B)),
        differentiated=("log_prob",),
        stopped=("advantage",),
        extremes={"advantage": FAR},
    ),
    "ppo_clip_loss": Row(
        policy.ppo_clip_loss,
        dict(log_prob=normal(B), behaviour_log_prob=normal(B), advantage=normal(B), clip=uniform(0.1, 0.3)),
        differentiated=("log_prob",),
        stopped=("behaviour_log_prob", "advantage"),
        extremes={"log_prob": FAR, "advantage": np.ones(B)},
    ),
    "ppo_kl_loss": Row(
        policy.ppo_kl_loss,
        dict(
            log_prob=normal(B),
            behaviour_log_prob=normal(B),
            advantage=normal(B),
            kl=uniform(0, 1, B),
            coefficient=uniform(0, 1),
        ),
        differentiated=("log_prob", "kl"),
        stopped=("behaviour_log_prob", "advantage"),
        extremes={"log_prob": FAR},
    ),
    "adapt_kl_coefficient": targets(
        policy.adapt_kl_coefficient, coefficient=uniform(0.5, 2), kl=uniform(0, 0.05), target=uniform(0.01, 0.02)
    ),
    "kl_estimate": Row(
        policy.kl_estimate,
        dict(log_prob=normal(B), other_log_prob=normal(B)),
        differentiated=("log_prob", "other_log_prob"),
        extremes={"other_log_prob": FAR},
    ),
    "clip_fraction": targets(
        policy.clip_fraction, log_prob=normal(B), behaviour_log_prob=normal(B), clip=uniform(0.1, 0.3)
    ),
    "categorical_entropy": Row(
        policy.categorical_entropy, {"logits": normal(B, A)}, differentiated=("logits",), extremes={"logits": LOGITS}
    ),
    "categorical_kl": Row(
        policy.categorical_kl,
        dict(logits=normal(B, A), other_logits=normal(B, A)),
        differentiated=("logits", "other_logits"),
        extremes={"logits": LOGITS, "other_logits": LOGITS},
    ),
    "gaussian_entropy": Row(
        policy.gaussian_entropy,
        {"log_std": normal(B, A)},
        differentiated=("log_std",),
        extremes={"log_std": np.outer(FAR, np.ones(A))},
    ),
    "gaussian_kl": Row(
        policy.gaussian_kl,
        dict(mean=normal(B, A), log_std=normal(B, A), other_mean=normal(B, A), other_log_std=normal(B, A)),
        differentiated=("mean", "log_std", "other_mean", "other_log_std"),
        extremes={"mean": np.outer(FAR, np.ones(A)), "log_std": np.full((B, A), -20.0)},
    ),
    "tanh_log_det": Row(policy.tanh_log_det, {"u": normal(B)}, differentiated=("u",), extremes={"u": FAR}),
    "sac_policy_loss": Row(
        policy.sac_policy_loss,
        dict(log_prob=normal(B), q=normal(B), alpha=uniform(0, 1)),
        differentiated=("log_prob", "q"),
        stopped=("alpha",),
        extremes={"q": FAR},
    ),
    "sac_temperature_loss": Row(
        policy.sac_temperature_loss,
        dict(log_alpha=normal(), log_prob=normal(B), target_entropy=normal()),
        differentiated=("log_alpha",),
        stopped=("log_prob", "target_entropy"),
        extremes={"log_prob": FAR},
    ),
    "smooth_action": Row(
        policy.smooth_action,
        dict(
            action=uniform(-1, 1, B, A),
            noise=normal(B, A),
            noise_clip=uniform(0.2, 0.5),
            low=uniform(-1, -0.5),
            high=uniform(0.5, 1),
        ),
        differentiated=("action",),
        extremes={"noise": np.outer(FAR, np.ones(A))},
    ),
    "awr_weights": targets(policy.awr_weights, advantage=normal(B), inverse_temperature=uniform(0, 3)),
    "tb_log_reward": Row(
        policy.tb_log_reward,
        dict(log_z=normal(B), forward_log_prob=normal(T, B), backward_log_prob=normal(T, B), mask=mask(T, B)),
        differentiated=("log_z", "forward_log_prob", "backward_log_prob"),
        extremes={"forward_log_prob": np.outer(np.ones(T), FAR)},
    ),
    "order_loss_pair": Row(
        policy.order_loss_pair,
        dict(first=normal(B), second=normal(B), label=uniform(0, 1, B)),
        differentiated=("first", "second"),
        stopped=("label",),
        extremes={"first": FAR},
    ),
    "order_loss_pareto": Row(
        policy.order_loss_pareto,
        dict(log_reward=normal(T, B), best=flags(T, B), valid=mask(T, B)),
        differentiated=("log_reward",),
        extremes={"log_reward": np.outer(np.ones(T), FAR)},
    ),
    **{
        f"link_loss, {name}": Row(
            policy.link_loss,
            dict(z=normal(B), **({"flip_prob": uniform(0, 0.5)} if noisy else {})),
            {"link": name.split()[0]},
            ("z",),
            ("flip_prob",) if noisy else (),
            {"z": FAR},
        )
        for name, noisy in (
            ("logistic", False),
            ("probit", False),
            ("hinge", False),
            ("square", False),
            ("logistic with flips", True),
            ("probit with flips", True),
        )
    },
    **{
        f"link_prob, {link}": Row(
            policy.link_prob, {"z": normal(B)}, {"link": link}, differentiated=("z",), extremes={"z": FAR}
        )
        for link in ("logistic", "probit")
    },
    **{
        f"preference_loss, {name}": Row(
            reward.preference_loss,
            dict(
                **PREFERENCES,
                margin=uniform(0, 1, B),
                scale=uniform(0.5, 2, B),
                weight=uniform(0, 3, B),
                smoothing=uniform(0, 0.2),
                **({"flip_prob": uniform(0, 0.4)} if noisy else {}),
            ),
            {"link": name.split()[0], "unbiased": "unbiased" in name},
            ("difference",),
            ("target", "margin", "scale", "weight", "smoothing"),
            {"difference": FAR},
        )
        for name, noisy in (
            ("logistic", False),
            ("hinge", False),
            ("logistic with flips", True),
            ("square unbiased", True),
        )
    },
    **{
        f"plackett_luce_loss, top {top}": Row(
            reward.plackett_luce_loss,
            dict(score=normal(B, 5), rank=ranking(B, 5), mask=mask(B, 5)),
            {"top": top},
            ("score",),
            extremes={"score": np.outer(FAR, np.arange(5))},
        )
        for top in (None, 2)
    },
    **{
        f"tie_log_prob, {model}": Row(
            reward.tie_log_prob,
            dict(difference=normal(B), threshold=uniform(0.1, 1)),
            {"model": model},
            ("difference", "threshold"),
            extremes={"difference": FAR},
        )
        for model in ("rao_kupper", "davidson")
    },
    "centring_loss": Row(reward.centring_loss, dict(score=normal(B, 3), mask=mask(B, 3)), differentiated=("score",)),
    **{
        f"segment_score, {how}": Row(
            reward.segment_score,
            dict(reward=normal(B, T), mask=mask(B, T), discount=uniform(0.5, 1)),
            {"how": how},
            ("reward",),
        )
        for how in ("sum", "mean", "last")
    },
    "to_pairs": Row(
        lambda seed, rank, obs, **x: reward.to_pairs(
            PreferenceBatch(obs, None, **x, rank=rank), jax.random.key(seed), 2
        ),
        dict(seed=integers(9), rank=ranking(B, 3), **QUERIES),
        differentiated=("obs",),
    ),
    "length_normalise": Row(
        reward.length_normalise, dict(score=normal(B), length=integers(5, B)), differentiated=("score",)
    ),
    "trex_pairs": Row(
        lambda seed, rank, obs, **x: reward.trex_pairs(
            jax.random.key(seed), PreferenceBatch(obs, None, **x, rank=rank), 4, 3
        ),
        dict(seed=integers(9), rank=ranking(B, 3), **QUERIES),
        differentiated=("obs",),
    ),
    "swap_candidates": Row(
        lambda where, obs, **x: reward.swap_candidates(PreferenceBatch(obs, None, **x), where),
        dict(where=flags(B), **QUERIES),
        differentiated=("obs",),
    ),
    "flip_labels": Row(
        lambda where, obs, **x: reward.flip_labels(PreferenceBatch(obs, None, **x), where),
        dict(where=flags(B), obs=normal(B, 2, T), mask=mask(B, 2, T), target=simplex(B, 2)),
        differentiated=("target",),
    ),
    "bootstrap_indices": Row(lambda seed: reward.bootstrap_indices(jax.random.key(seed), T, B), {"seed": integers(9)}),
    "synthetic_teacher": Row(
        lambda seed, skip, equal, **x: reward.synthetic_teacher(jax.random.key(seed), **x, skip=skip, equal=equal),
        dict(
            seed=integers(9),
            reward=normal(B, 3, T),
            mask=mask(B, 3, T),
            beta=uniform(0.5, 2),
            discount=uniform(0.5, 1),
            mistake=uniform(0, 0.3),
            skip=uniform(-2, 0),
            equal=uniform(0, 0.5),
        ),
        stopped=("reward",),
    ),
    "epic_canonical": Row(
        reward.epic_canonical,
        dict(**REWARD, state_probs=simplex(5), action_probs=simplex(2)),
        differentiated=("reward", "discount", "state_probs", "action_probs"),
    ),
    "epic_canonical_samples": Row(
        lambda scale, **x: reward.epic_canonical_samples(lambda s, a, t: jnp.tanh(scale @ (s + a * t)), **x),
        dict(
            scale=normal(3),
            obs=normal(B, 3),
            action=normal(B, 3),
            next_obs=normal(B, 3),
            other_action=normal(N, 3),
            other_obs=normal(N, 3),
            discount=uniform(0.5, 0.9),
        ),
        differentiated=("scale", "obs", "discount"),
    ),
    "dard_canonical": Row(
        reward.dard_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5), action_probs=simplex(2)),
        differentiated=("reward", "transition", "discount", "action_probs"),
    ),
    "starc_canonical, value": Row(
        reward.starc_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5), policy=simplex(5, 2)),
        differentiated=("reward", "transition", "discount", "policy"),
    ),
    "starc_canonical, minimal": Row(
        reward.starc_canonical,
        dict(**REWARD, transition=simplex(5, 2, 5)),
        {"kind": "minimal"},
        ("reward", "transition", "discount"),
    ),
    "mce_irl_loss": Row(
        reward.mce_irl_loss,
        dict(reward=normal(5, 2), expert_visits=uniform(0, 2, 5, 2), initial=simplex(5), **PLAN),
        differentiated=("reward",),
        stopped=("expert_visits",),
        extremes={"reward": np.outer(np.ones(5), [1e4, -1e4])},
    ),
    **{
        f"regret_score, {kind}": Row(
            lambda seed, table, kind=kind, **x: reward.regret_score(
                *jax.random.randint(jax.random.key(seed), (2, B, T), 0, 2),
                **x,
                **({"q": table} if kind == "expected" else {"reward": table, "next_state": jnp.arange(B)}),
            ),
            dict(seed=integers(9), table=normal(5, 2), mask=mask(B, T), v=normal(5), discount=uniform(0.5, 1)),
            differentiated=("table", "v"),
        )
        for kind in ("expected", "deterministic")
    },
    "successor_value": Row(
        reward.successor_value,
        dict(successor=normal(N, B, A), weights=normal(A), temperature=uniform(0.5, 2)),
        differentiated=("successor", "weights", "temperature"),
        extremes={"weights": np.full(A, 1e4)},
    ),
    "thurstone_prob": Row(
        reward.thurstone_prob,
        dict(mean=normal(B, 4), variance=uniform(0.5, 1, B, 4)),
        differentiated=("mean", "variance"),
        extremes={"mean": np.outer(FAR, np.arange(4))},
    ),
    "thurstone_fit": targets(
        lambda prob, weight, **x: reward.thurstone_fit(*np.triu_indices(4, 1), prob, 4, weight, **x, steps=5),
        prob=uniform(0, 1, 6),
        weight=uniform(0, 1, 6),
        learning_rate=uniform(0.01, 0.1),
    ),
    "select_edges": targets(
        lambda seed, **x: reward.select_edges(jax.random.key(seed), **x, num=4),
        seed=integers(9),
        mean=normal(N),
        degree=uniform(0, 9, N),
        asked=flags(N, N),
    ),
    "cycle_probability": Row(reward.cycle_probability, {"prob": uniform(0, 1, N, N)}, differentiated=("prob",)),
    "expected_utility_gap": Row(
        reward.expected_utility_gap,
        dict(utility=normal(A), lotteries=simplex(N, A), lottery_utility=normal(N)),
        differentiated=("utility", "lottery_utility"),
        extremes={"lottery_utility": np.ones(N)},
    ),
    "edge_stats": Row(
        lambda counts: tuple(reward.edge_stats(counts)), {"counts": uniform(1, 9, 4, 4, 3)}, differentiated=("counts",)
    ),
    "pagerank": Row(
        reward.pagerank,
        dict(weights=uniform(0.1, 1, 4, 4), damping=uniform(0.5, 0.9), personal=simplex(4)),
        {"num_iterations": 9},
        ("weights", "damping", "personal"),
        extremes={"weights": np.zeros((4, 4))},
    ),
    "segment_demo": targets(lambda features: reward.segment_demo(features, 3, 2), features=normal(9, 2)),
    "select_features": targets(
        lambda **x: reward.select_features(**x, num=2),
        mean=normal(B, 5),
        std=uniform(0, 1, B, 5),
        other_mean=normal(B, 5),
        other_std=uniform(0, 1, B, 5),
        alpha=uniform(1, 5),
    ),
    "perceptual_reward": Row(
        reward.perceptual_reward,
        dict(features=normal(T, 5), mean=normal(B, 5), std=uniform(0.5, 1, B, 5), chosen=mask(B, 5)),
        differentiated=("features", "mean", "std"),
        extremes={"std": np.zeros((B, 5))},
    ),
    "airl_logit": Row(
        reward.airl_logit,
        dict(
            reward=normal(B),
            potential=normal(B),
            next_potential=normal(B),
            discount=uniform(0, 1, B),
            log_prob=normal(B),
        ),
        differentiated=("reward", "potential", "next_potential"),
        stopped=("log_prob",),
    ),
    "discriminator_loss": Row(
        reward.discriminator_loss,
        dict(logit=normal(B), expert=uniform(0, 1, B)),
        differentiated=("logit",),
        stopped=("expert",),
        extremes={"logit": FAR},
    ),
    "gradient_penalty": Row(
        lambda scale, **x: reward.gradient_penalty(lambda x: jnp.tanh(scale @ x), **x),
        dict(scale=normal(A), expert=normal(B, A), policy=normal(B, A), share=uniform(0, 1, B), target=uniform(0, 1)),
        differentiated=("scale",),
        extremes={"scale": np.zeros(A)},
    ),
    **{
        f"adversarial_reward, {kind}": Row(
            reward.adversarial_reward, {"logit": normal(B)}, {"kind": kind}, stopped=("logit",), extremes={"logit": FAR}
        )
        for kind in ("gail", "log", "airl")
    },
    "adversarial_reward, fairl": targets(lambda logit: reward.adversarial_reward(logit, "fairl"), logit=normal(B)),
    "standardise": Row(
        reward.standardise,
        dict(reward=normal(T, B), weights=uniform(0, 1, T, B)),
        differentiated=("reward",),
        extremes={"reward": np.zeros((T, B))},
    ),
    **{
        f"reward_distance, order {order}": Row(
            reward.reward_distance,
            dict(first=normal(T, B), second=normal(T, B), weights=uniform(0, 1, T, B)),
            {"order": order},
            ("first", "second"),
            extremes={"first": np.zeros((T, B))},
        )
        for order in (1, 2, np.inf)
    },
    "pearson_distance": Row(
        reward.pearson_distance,
        dict(first=normal(T, B), second=normal(T, B), weights=uniform(0, 1, T, B)),
        differentiated=("first", "second"),
        extremes={"first": np.ones((T, B)), "second": np.ones((T, B))},
    ),
    **{
        f"query_score, {how}": Row(
            reward.query_score, {"prob": uniform(0.1, 0.9, 4, B)}, {"how": how}, differentiated=("prob",)
        )
        for how in ("disagreement", "mean_entropy", "entropy_of_mean", "information_gain")
    },
    "select_queries": targets(
        lambda score, feature, mask, asked: reward.select_queries(score, 2, feature, pool=5, mask=mask, asked=asked),
        score=normal(N),
        feature=normal(N, 2),
        mask=mask(N),
        asked=normal(2, 2),
    ),
    "pair_accuracy": targets(reward.pair_accuracy, **PREFERENCES),
    "auroc": targets(reward.auroc, score=grid(9), label=flags(9), weight=uniform(0, 1, 9)),
    "calibration_error": targets(
        reward.calibration_error, prob=uniform(0, 1, 9), outcome=uniform(0, 1, 9), weight=uniform(0, 1, 9)
    ),
    "best_of_k_accuracy": targets(reward.best_of_k_accuracy, score=grid(B, 4), target=simplex(B, 4), mask=mask(B, 4)),
    "ties_score": targets(
        reward.ties_score,
        score=grid(B, 4),
        correct=mask(B, 4),
        reference_score=grid(B, 5),
        reference_correct=mask(B, 5),
        mask=mask(B, 4),
        reference_mask=mask(B, 5),
    ),
    "best_of_n": targets(
        lambda proxy, n, prob: reward.best_of_n(proxy, n + 1, jnp.log(prob)),
        proxy=grid(N),
        n=integers(9),
        prob=simplex(N),
    ),
    "best_of_n, without replacement": targets(
        lambda proxy, n: reward.best_of_n(proxy, n + 1, replacement=False), proxy=grid(N), n=integers(3)
    ),
    "best_of_n_kl": Row(reward.best_of_n_kl, {"n": uniform(1, 50, B)}, differentiated=("n",)),
    "tilt": Row(
        reward.tilt,
        dict(log_reference=normal(B, N), reward=normal(B, N), beta=uniform(0.1, 1, B)),
        differentiated=("log_reference", "reward", "beta"),
        extremes={"reward": np.outer(FAR, np.arange(N))},
    ),
    **{
        f"overoptimisation_fit, {form}": Row(
            reward.overoptimisation_fit,
            dict(distance=uniform(0.1, 3, 9), gain=normal(9)),
            {"form": form},
            stopped=("distance",),
        )
        for form in ("best_of_n", "policy")
    },
    **{
        f"ensemble_reward, {how}": Row(
            reward.ensemble_reward,
            dict(reward=normal(4, B), caution=uniform(0.1, 1)),
            {"how": how},
            ("reward",),
            ("caution",),
            {"reward": np.outer(np.ones(4), FAR)},
        )
        for how in ("mean", "worst_case", "uncertainty_weighted", "lower_bound", "entropic")
    },
    "brme_reward": Row(
        reward.brme_reward,
        dict(mean=normal(4, B), std=uniform(0, 1, 4, B), nominal=uniform(0, 1)),
        differentiated=("mean",),
        stopped=("std", "nominal"),
    ),
    "brme_loss": Row(
        reward.brme_loss,
        dict(mean=normal(4, B), std=uniform(0, 1, 4, B), target=normal(4, B)),
        differentiated=("mean", "std"),
        stopped=("target",),
    ),
    "extrapolate": Row(
        reward.extrapolate,
        dict(start=normal(3), end=normal(3), factor=normal()),
        differentiated=("start", "end", "factor"),
    ),
    "preference_strength": targets(reward.preference_strength, difference=normal(4, B), target=uniform(0, 1, B)),
    **{
        f"denoise, {how}": Row(
            reward.denoise,
            dict(target=uniform(0, 1, N), strength=normal(N), fraction=uniform(0.2, 0.5), smoothing=uniform(0, 0.5)),
            {"how": how},
            stopped=("target", "strength"),
        )
        for how in ("flip", "soft_margin", "flip_margin")
    },
    "dynamic_scale": targets(
        reward.dynamic_scale,
        strength=normal(B),
        base=uniform(0.1, 1),
        gain=uniform(0, 1),
        rate=uniform(0.1, 1),
    ),
    "retrieval_count": Row(reward.retrieval_count, {"prob": uniform(0, 1, B)}),
    "retrieve": targets(
        lambda **x: reward.retrieve(**x, maximum=2),
        query=normal(B, 2),
        pool=normal(N, 2),
        count=integers(3, B),
        mask=mask(N),
    ),
    **{
        f"triplet_loss, {'squared' if squared else 'plain'}": Row(
            reward.triplet_loss,
            dict(anchor=normal(4), positive=normal(B, 4), negative=normal(B, 4), margin=uniform(5, 9)),
            {"squared": squared},
            ("anchor", "positive", "negative"),
            ("margin",),
            {"positive": np.zeros((B, 4)), "anchor": np.zeros(4)},
        )
        for squared in (True, False)
    },
    "most_similar_pair": targets(reward.most_similar_pair, feature=normal(B, 3, 2)),
    "goal_steps": Row(
        lambda seed, **x: reward.goal_steps(jax.random.key(seed), **x, count=4),
        dict(seed=integers(9), chosen_mask=mask(B, T), rejected_mask=mask(B, A)),
    ),
    **{
        f"goal_contrastive_loss, {pairs} {reduce}": Row(
            reward.goal_contrastive_loss,
            dict(source=normal(B, 5, 4), goal=normal(B, 5, 4), negative=normal(B, 5, 4)),
            {"pairs": pairs, "reduce": reduce},
            ("source", "goal", "negative"),
            extremes={"source": np.zeros((B, 5, 4)), "goal": np.full((B, 5, 4), 1e4)},
        )
        for pairs, reduce in (("all", "log_of_mean"), ("diagonal", "mean_of_logs"))
    },
    "goal_value": Row(
        reward.goal_value,
        dict(state=normal(B, T, 4), goal=normal(4)),
        differentiated=("state", "goal"),
        extremes={"state": np.zeros((B, T, 4))},
    ),
    "prune_step": targets(
        lambda **x: reward.prune_step(**x, minimum=2), value=normal(B, T), mask=mask(B, T), threshold=normal()
    ),
    "info_nce_loss": Row(
        reward.info_nce_loss,
        dict(first=normal(B, 4), second=normal(B, 4), temperature=uniform(0.1, 1), mask=mask(B)),
        differentiated=("first", "second"),
        stopped=("temperature",),
        extremes={"first": np.zeros((B, 4)), "temperature": np.array(1e-3)},
    ),
    "answer_spread": Row(
        reward.answer_spread,
        dict(score=normal(B, 4), mask=mask(B, 4)),
        differentiated=("score",),
        extremes={"score": np.zeros((B, 4))},
    ),
    "meta_gradient": Row(
        lambda scale, parameters, rate: reward.meta_gradient(
            lambda p: jnp.sum(jnp.square(p - scale)),
            lambda p: jnp.mean(reward.answer_spread(p * scale)),
            parameters,
            rate,
        ),
        dict(scale=normal(A), parameters=normal(A), rate=uniform(0, 1)),
        stopped=("scale", "parameters", "rate"),
    ),
    "unit_norm_loss": Row(
        reward.unit_norm_loss, {"z": normal(B, 4)}, differentiated=("z",), extremes={"z": np.zeros((B, 4))}
    ),
    "reference_scaled_reward": Row(
        reward.reference_scaled_reward,
        dict(reward=normal(T, B), reference=normal(B, 5)),
        differentiated=("reward", "reference"),
        extremes={"reward": np.outer(np.ones(T), FAR)},
    ),
    "centroid_distance": Row(
        reward.centroid_distance,
        dict(feature=normal(T, B, 2), centroid=normal(3, 2), mask=lambda rng: np.array([True, False, True])),
        differentiated=("feature", "centroid"),
        extremes={"feature": np.zeros((T, B, 2)), "centroid": np.zeros((3, 2))},
    ),
    "consistency_filter": Row(
        reward.consistency_filter,
        dict(best_prob=uniform(0, 1, B), gold_prob=uniform(0, 1, B), teacher_prob=uniform(0, 1, B)),
    ),
    "kl_penalised_reward": targets(
        reward.kl_penalised_reward,
        reward=normal(B, T),
        log_prob=normal(B, T),
        reference_log_prob=normal(B, T),
        mask=mask(B, T),
        coefficient=uniform(0, 1),
    ),
    "span_rewards": Row(
        reward.span_rewards,
        dict(score=normal(B, T, 2), mask=flags(B, T, 2), weight=normal(2)),
        differentiated=("score", "weight"),
    ),
    "span_rewards, by sign": Row(
        lambda low, high, **x: reward.span_rewards(**x, values=(low, high)),
        dict(score=normal(B, T, 2), mask=flags(B, T, 2), weight=normal(2), low=normal(2), high=normal()),
        differentiated=("weight", "low", "high"),
        stopped=("score",),
    ),
    "reaction_loss": Row(
        reward.reaction_loss,
        dict(logit=normal(B, 2), reaction=uniform(0, 1, B, 2), mask=mask(B, 2), positive_weight=uniform(0, 3)),
        differentiated=("logit",),
        stopped=("reaction", "positive_weight"),
        extremes={"logit": np.outer(FAR, np.ones(2))},
    ),
    "correct_prior": Row(
        reward.correct_prior,
        dict(logit=normal(B), negative_rate=uniform(0.1, 1), positive_rate=uniform(0.1, 1, B)),
        differentiated=("logit",),
        stopped=("negative_rate", "positive_rate"),
    ),
    "mix_rewards": Row(
        reward.mix_rewards,
        dict(reward=normal(B, 2), weight=normal(2), reference=normal(N, 2)),
        differentiated=("reward", "weight"),
        stopped=("reference",),
        extremes={"reference": np.ones((N, 2))},
    ),
    **{
        f"follow_up_reward, {how}": Row(
            reward.follow_up_reward,
            dict(log_prob=normal(B, 5, 4), mask=flags(B, 5, 4), positive=flags(5)),
            {"how": how},
            ("log_prob",),
        )
        for how in ("mean", "sum")
    },
    "mine_pairs": Row(
        lambda score, minimum_gap, obs, **x: reward.mine_pairs(PreferenceBatch(obs, None, **x), score, minimum_gap),
        dict(score=normal(B, 3), minimum_gap=uniform(0, 1), **QUERIES),
        differentiated=("obs",),
        stopped=("score", "minimum_gap"),
    ),
    "hierarchical_preference": targets(reward.hierarchical_preference, factor=grid(B, 2, 4), margin=uniform(0, 1, 4)),
    "marginal_preference": Row(
        reward.marginal_preference,
        dict(context_prob=simplex(B, 4), prob=uniform(0, 1, B, 4)),
        differentiated=("context_prob", "prob"),
    ),
    "marginal_preference_bound": Row(
        reward.marginal_preference_bound,
        dict(
            context_prob=simplex(B, 4),
            context_estimate=simplex(B, 4),
            prob=uniform(0, 1, B, 4),
            prob_estimate=uniform(0, 1, B, 4),
        ),
        differentiated=("context_prob", "context_estimate", "prob", "prob_estimate"),
    ),
    "borda_score": Row(
        reward.borda_score,
        dict(score=normal(B, 3, 4), context_prob=simplex(B, 4), mask=mask(B, 3)),
        differentiated=("score", "context_prob"),
        extremes={"score": np.multiply.outer(FAR, np.outer(np.arange(3), np.ones(4)))},
    ),
    "reversal_accuracy": targets(reward.reversal_accuracy, difference=normal(B, 2), target=uniform(0, 1, B, 2)),
    "listwise_reward": targets(
        lambda order, distance, **x: reward.listwise_reward(**x, weights=(order, distance)),
        score=grid(B, 5),
        gold=grid(B, 5),
        mask=mask(B, 5),
        order=uniform(0, 1),
        distance=uniform(0, 1),
    ),
    "prefix_tree": Row(
        lambda seed, logits: reward.prefix_tree(
            jax.random.key(seed),
            lambda key, prefix, t: jax.random.categorical(key, jnp.asarray(logits)[prefix[:, max(t - 1, 0)]]),
            (2, 1, 3),
        ),
        dict(seed=integers(9), logits=normal(A, A)),
        stopped=("logits",),
    ),
    "shared_prefix": Row(reward.shared_prefix, dict(tokens=integers(2, B, 4, 3), mask=mask(B, 4, 3))),
    "inference_distance": Row(
        lambda root, **x: reward.inference_distance(root @ root.T, **x),
        dict(root=normal(5, 5), pairs=integers(5, 4, 2), noise=uniform(0.5, 1, 4), queries=integers(5, 3, 2)),
        differentiated=("root", "noise"),
        extremes={"root": np.zeros((5, 5))},
    ),
    "distill_loss": Row(
        exploration.distill_loss,
        dict(prediction=normal(T, B, A), target=normal(T, B, A)),
        differentiated=("prediction",),
        stopped=("target",),
        extremes={"prediction": np.full((T, B, A), 1e4)},
    ),
    "distill_bonus": targets(exploration.distill_bonus, prediction=normal(T, B, A), target=normal(T, B, A)),
    "count_bonus": Row(exploration.count_bonus, {"visits": uniform(1, 9, T, B)}),
    "simhash": Row(exploration.simhash, dict(features=normal(T, B, A), projection=normal(A, 5))),
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
    "token_log_prob": Row(
        policy.token_log_prob,
        {"logits": normal(B, T, A), "token": integers(A - 1, B, T), "mask": flags(B, T)},
        differentiated=("logits",),
        extremes={"logits": np.full((B, T, A), [1e30, -1e30, 0, -np.inf])},
    ),
    **{
        f"sequence_log_prob, {'mean' if mean else 'sum'}": Row(
            policy.sequence_log_prob,
            {"logits": normal(B, T, A), "token": integers(A - 1, B, T), "mask": flags(B, T)},
            {"mean": mean},
            ("logits",),
            extremes={"logits": np.full((B, T, A), [1e30, -1e30, 0, -np.inf])},
        )
        for mean in (False, True)
    },
    "top_k_mass": Row(policy.top_k_mass, {"logits": normal(B, A)}, {"k": 2}, ("logits",)),
    **{
        f"top_k_entropy, {renormalise}": Row(
            policy.top_k_entropy,
            {"logits": normal(B, A)},
            {"k": 2, "renormalise": renormalise},
            ("logits",),
            extremes={"logits": np.full((B, A), [1e30, -1e30, -np.inf, -np.inf])},
        )
        for renormalise in (False, True)
    },
    **{
        f"sequence_score, {name}": Row(
            policy.sequence_score,
            {"log_prob": uniform(-3, -0.1, B, T), "mask": flags(B, T)}
            | ({} if name == "odds" else {"reference": uniform(-3, -0.1, B, T)}),
            {"divergence": name, "mean": name == "odds"},
            ("log_prob",),
            () if name == "odds" else ("reference",),
            {"log_prob": np.full((B, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4])},
        )
        for name in ("reverse_kl", "js", "alpha", "odds")
    },
    **{
        f"{name}, {', '.join(map(str, static.values()))}": Row(
            getattr(policy, name),
            {"log_prob": uniform(-3, -0.1, B, 2, T), "mask": flags(B, 2, T), "target": uniform(0, 1, B)}
            | ({"reference": uniform(-3, -0.1, B, 2, T)} if with_reference else {}),
            static,
            ("log_prob",),
            ("target", "reference") if with_reference else ("target",),
            {"log_prob": np.full((B, 2, T), [0, -1e4, 0, -1e-9, 0, 0, -1e4]), "target": [0.0, 1.0, 0.5]},
        )
        for name, with_reference, static in (
            *(
                ("pairwise_preference_loss", True, {"link": link, "smoothing": 0.1})
                for link in ("logistic", "exo", "discopop", "nca", "bco", "apo_zero", "apo_down", "sppo")
            ),
            ("dpo_loss", True, {"beta": 0.5}),
            ("ipo_loss", True, {"mean": True}),
            ("simpo_loss", False, {"margin": 0.5}),
            ("cpo_loss", False, {"likelihood": 0.5}),
            ("orpo_loss", False, {"weight": 0.3}),
            ("cpl_loss", False, {"bias": 0.5}),
        )
    },
    **{
        name: Row(
            kernel,
            {
                "log_prob": normal(B, T),
                "mask": flags(B, T),
                "desirable": uniform(0, 1, B),
                "reference": normal(B, T),
                baseline: uniform(0, 1),
            },
            differentiated=("log_prob",),
            stopped=("desirable", "reference", baseline),
            extremes={"log_prob": np.full((B, T), [0, -1e4, 0, 1e4, 0, 0, -1e4])},
        )
        for name, kernel, baseline in (
            ("kto_loss", policy.kto_loss, "baseline"),
            ("bco_loss", policy.bco_loss, "shift"),
        )
    },
    "kl_baseline": Row(
        policy.kl_baseline,
        {"log_prob": uniform(0, 1, B, T), "mask": flags(B, T), "reference": uniform(-1, 0, B, T)},
        stopped=("log_prob", "reference"),
    ),
}


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def draw(row: Row, seed: int, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: cast(make(rng), dtype) for name, make in row.inputs.items()}


def cast(x: np.ndarray, dtype: Any) -> jax.Array:
    return jnp.asarray(x, dtype) if x.dtype == np.float64 else jnp.asarray(x)


def run(row: Row, inputs: Mapping[str, Any]) -> Any:
    return row.kernel(**inputs, **row.static)


compiled_runs: dict[int, Any] = {}


def compiled(row: Row) -> Any:
    """The same jitted kernel for all tests of a row."""
    return compiled_runs.setdefault(id(row), jax.jit(lambda inputs: run(row, inputs)))


def weighted_sum(row: Row, inputs: Mapping[str, Any]) -> jax.Array:
    """A scalar that depends on every floating output, for derivatives."""
    total = jnp.zeros(())
    for leaf in jax.tree.leaves(run(row, inputs)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            total += jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape))
    return total


def value_and_gradients(row: Row, names: tuple[str, ...]) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
    """A jitted function of all inputs, and again of those that are differentiated by."""

    def of(chosen: Mapping[str, Any], inputs: Mapping[str, Any]) -> jax.Array:
        return weighted_sum(row, {**inputs, **chosen})

    of_both = jax.jit(jax.value_and_grad(of))
    return lambda inputs: of_both({name: inputs[name] for name in names}, inputs)


def gradients(row: Row, inputs: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, jax.Array]:
    return value_and_gradients(row, names)(inputs)[1]


def assert_trees_close(got: Any, wanted: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def rows_where(condition: Callable[[Row], Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", [name for name, row in TABLE.items() if condition(row)], indirect=True)


def test_every_public_kernel_has_a_row():
    public = {name for package in PACKAGES for name in package.__all__}
    assert public - HOST_ONLY - COMPONENTS == {name.split(",")[0] for name in TABLE}


def test_numpy_arrays_are_taken(row: Row):
    """Only traced: to compile what runs operation by operation takes longest; the doctests run without jit."""
    inputs = draw(row, 0)
    of_numpy = jax.eval_shape(lambda: run(row, jax.tree.map(np.asarray, inputs)))
    assert of_numpy == jax.eval_shape(lambda: run(row, inputs))


def test_vmapped_equals_loop_that_compiles_once(row: Row):
    each = [draw(row, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
    loop = jax.tree.map(lambda *x: jnp.stack(x), *map(compiled(row), each))
    assert_trees_close(jax.jit(jax.vmap(lambda x: run(row, x)))(stacked), loop)
    assert compiled(row)._cache_size() == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@rows_where(lambda row: any(make(np.random.default_rng(0)).dtype == np.float64 for make in row.inputs.values()))
def test_dtype_is_kept(row: Row, dtype: Any):
    outputs = jax.eval_shape(lambda x: run(row, x), draw(row, 0, dtype))
    for leaf in jax.tree.leaves(outputs):
        assert leaf.dtype == dtype or not jnp.issubdtype(leaf.dtype, jnp.floating)


@rows_where(lambda row: row.differentiated)
def test_gradient_equals_finite_differences(row: Row):
    with jax.enable_x64(True):
        inputs = draw(row, 1, jnp.float64)
        evaluate = value_and_gradients(row, row.differentiated)
        grads = evaluate(inputs)[1]
        rng = np.random.default_rng(2)
        for name in row.differentiated:
            direction = rng.normal(size=inputs[name].shape)
            there, back = (evaluate({**inputs, name: inputs[name] + h * direction})[0] for h in (1e-6, -1e-6))
            np.testing.assert_allclose(np.sum(grads[name] * direction), (there - back) / 2e-6, rtol=1e-5, atol=1e-7)


@rows_where(lambda row: row.stopped)
def test_no_gradient_through_what_is_stopped(row: Row):
    for name, grad in gradients(row, draw(row, 0), row.stopped).items():
        np.testing.assert_array_equal(grad, 0.0, err_msg=name)


@rows_where(lambda row: row.extremes)
def test_gradient_is_finite_at_extremes(row: Row):
    inputs = draw(row, 0) | {name: cast(np.asarray(x, np.float64), jnp.float32) for name, x in row.extremes.items()}
    for leaf in jax.tree.leaves((compiled(row)(inputs), gradients(row, inputs, row.differentiated))):
        assert bool(jnp.all(jnp.isfinite(leaf)))
