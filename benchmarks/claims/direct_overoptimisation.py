"""Direct alignment over-optimises too: gold reward rises, then falls as the policy moves on, by a law in its distance.

64 arms with features, gold rewards that the features explain in part, 60 pairs with noisy labels from the reference. A
policy linear in the features is trained by DPO, IPO and the hinge loss, at several beta; gold reward and divergence are
exact at every step. Gold is normalised to 0 for the reference and 1 for the best arm. A seed is 32 problems, whose
curves are averaged. The step at which a method's gold is highest was chosen on seeds 0 to 9 and is read on others, as
is the last one; the law `d (a - b log d)` in `d = sqrt(KL)` is fitted to the averaged curve up to the last step. DPO at
beta 0.1 had hardly fallen by then on those seeds, and is only reported.

Differs from the paper: one size of model, a linear one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.arms import as_sequences, nats
from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.bandit import categorical_queries, feature_bandit
from rlx.policy import dpo_loss, ipo_loss, pairwise_preference_loss
from rlx.reward import overoptimisation_fit
from rlx.types import Array

PAIRS, PROBLEMS = 60, 32
SCALE = 3.0  # of features in the policy
LEARNING_RATE = 0.05
# method: beta, and the step at which gold was highest on seeds 0 to 9
METHODS = {"DPO 0.1": 184, "DPO 0.3": 98, "DPO 1": 123, "IPO 0.03": 121, "hinge 0.3": 129}


def curve(key: Array, updates: int, method: str) -> tuple[Array, Array]:
    """Gold and divergence `[updates + 1]` from the start on."""
    task_key, data_key = jax.random.split(key)
    params = feature_bandit(task_key)
    reference, gold, feature = params.log_reference[0], params.gold[0], params.feature[0]
    data = categorical_queries(params, data_key, PAIRS)
    assert data.action is not None and data.reference_log_prob is not None  # noqa: PT018
    arm, target, other = data.action[..., 0], data.target[:, 0], data.reference_log_prob
    name, beta = method.split()[0], float(method.split()[1])

    def policy(theta: Array) -> Array:
        return jax.nn.log_softmax(reference + SCALE * feature @ theta)

    def loss(theta: Array, key: Array) -> Array:
        del key
        used = *as_sequences(policy(theta), arm), target, other
        if name == "DPO":
            return dpo_loss(*used, beta=beta).mean()
        if name == "IPO":
            return ipo_loss(*used, tau=beta).mean()
        return pairwise_preference_loss(*used, link="hinge", beta=beta).mean()

    def measure(theta: Array) -> tuple[Array, Array]:
        log_policy = policy(theta)
        base = jnp.exp(reference) @ gold
        return (jnp.exp(log_policy) @ gold - base) / (gold.max() - base), nats(log_policy, reference)

    start = jnp.zeros(feature.shape[1])
    _, after = descend(loss, start, jnp.zeros(updates), LEARNING_RATE, measure)
    first, rest = jax.tree.map(lambda x: x[None], measure(start)), after
    return jnp.concatenate([first[0], rest[0]]), jnp.concatenate([first[1], rest[1]])


@functools.partial(jax.jit, static_argnames=("updates", "method"))
def curves(seeds: Array, updates: int, method: str) -> tuple[Array, Array]:
    """Means over the problems of each seed, `[seeds, updates + 1]`: gold, and the root of the divergence."""

    def of_seed(seed: Array) -> tuple[Array, Array]:
        keys = jax.random.split(jax.random.key(seed), PROBLEMS)
        gold, divergence = jax.vmap(lambda key: curve(key, updates, method))(keys)
        return gold.mean(0), jnp.sqrt(jnp.maximum(divergence, 0)).mean(0)

    return jax.vmap(of_seed)(seeds)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    samples = {}
    for method, peak in METHODS.items():
        gold, distance = curves(np.asarray(seeds, np.uint32), updates, method)
        fit = jax.vmap(lambda d, g: overoptimisation_fit(d[1:], g[1:], "policy"))(distance, gold)
        values = {
            "gold at the peak": gold[:, min(peak, updates)],
            "gold at the end": gold[:, -1],
            "distance at the peak": distance[:, min(peak, updates)],
            "distance at the end": distance[:, -1],
            "log of fitted peak over the largest distance": fit.slope / fit.decay - 1 - jnp.log(distance.max(1)),
            "explained by the law": fit.r2,
        }
        samples |= {f"{method}: {name}": np.asarray(x).tolist() for name, x in values.items()}
    return samples


CLAIM = Claim(
    name="direct_overoptimisation",
    title="Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms",
    year=2024,
    cards=(82,),
    environment=f"bandits of 64 arms with features, {PAIRS} noisy pairs; {PROBLEMS} problems for each seed",
    baseline="the last policy",
    method="the policy of the step that was best on other seeds",
    metric="gold reward, 0 for the reference and 1 for the best arm, exact, and the root of the divergence",
    conditions=(
        *(
            Condition(
                f"{method}: gold falls after its peak",
                f"{method}: gold at the peak",
                f"{method}: gold at the end",
                paired=True,
            )
            for method in METHODS
            if method != "DPO 0.1"
        ),
        Condition(
            "DPO 0.3: the peak of the fitted law is within what was observed",
            "DPO 0.3: log of fitted peak over the largest distance",
            0.0,
            direction=-1,
        ),
    ),
    settings={"pairs": PAIRS, "problems": PROBLEMS, "scale": SCALE, "learning_rate": LEARNING_RATE, "peaks": METHODS},
    updates=400,
    steps_per_update=1,
    run=run,
    seeds=range(1000, 1016),
)
