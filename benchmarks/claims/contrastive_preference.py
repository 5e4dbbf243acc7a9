"""If people judge segments by regret, a policy can be fitted to their preferences directly, without reward or planning.

A grid of 25 cells without an end, whose last corner pays; behaviour of varied quality; 5000 pairs of segments of eight
steps. Labels follow the sum of optimal advantages (regret) or that of rewards (partial return). Contrastive preference
learning fits the policy, a table of logits, so that `alpha log p` takes the place of the advantage; with a bias of 1 or
1/2 for the segment that was not preferred. The baselines imitate the preferred segments, or fit a reward by partial
returns and plan with the true dynamics.

That planning with a learned reward does well by either label is no accident: an advantage is a shaped reward, so the
baseline is exact wherever dynamics are known. What is claimed is that the contrastive policy does as well by the labels
that it is made for, without dynamics; and it should fail by the other ones.

Settings are those of an earlier experiment; nothing was tuned here. Differs from the paper: a grid in place of
robots, no pre-training by imitation.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.tabular import corner, segment_queries
from rlx.policy import cpl_loss
from rlx.reward import preference_loss
from rlx.types import Array
from rlx.value import soft_policy_iteration

ALPHA = 0.3  # temperature, of the process and of the loss
GAMMA = 0.95
PAIRS, LENGTH, BATCH = 5000, 8, 500
LEARNING_RATE = 0.03
HORIZON = 30  # steps of evaluation
LABELS = ("regret", "return")


@functools.partial(jax.jit, static_argnames="updates")
@functools.partial(jax.vmap, in_axes=(0, None))
def trial(seed: Array, updates: int) -> dict[str, Array]:
    grid = corner(gamma=GAMMA)
    transition, reward = grid.default_params.P, grid.default_params.R
    plan = functools.partial(soft_policy_iteration, transition, discount=GAMMA, temperature=ALPHA)
    v, q = plan(reward)
    best = jax.nn.log_softmax(q / ALPHA)
    found = {}

    def value(log_policy: Array) -> Array:
        """Discounted reward of `HORIZON` steps, as a share of the best soft policy's."""

        def of(policy: Array) -> Array:
            step = lambda v, _: (jnp.sum(policy * (reward + GAMMA * transition @ v), -1), None)  # noqa: E731
            return jax.lax.scan(step, jnp.zeros(len(policy)), length=HORIZON)[0].mean()

        return of(jnp.exp(log_policy)) / of(jnp.exp(best))

    for labels, score in zip(LABELS, (q - v[:, None], reward), strict=True):
        data_key, run_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), LABELS.index(labels)))
        data = segment_queries(data_key, transition, jnp.exp(best), score, PAIRS, LENGTH)
        assert data.action is not None
        state, action, target, mask = data.obs, data.action, data.target[:, 0], data.mask
        keys = jax.random.split(run_key, updates)
        zeros = jnp.zeros(reward.shape)

        def contrastive(logits: Array, key: Array, bias: float, state=state, action=action, target=target, mask=mask):
            rows = jax.random.randint(key, (BATCH,), 0, PAIRS)
            log_prob = jax.nn.log_softmax(logits)[state[rows], action[rows]]
            return cpl_loss(log_prob, mask[rows], target[rows], temperature=ALPHA, bias=bias).mean()

        def imitation(logits: Array, key: Array, state=state, action=action, target=target):
            rows = jax.random.randint(key, (BATCH,), 0, PAIRS)
            log_prob = jax.nn.log_softmax(logits)[state[rows], action[rows]].sum(-1)
            return -(target[rows] * log_prob[:, 0] + (1 - target[rows]) * log_prob[:, 1]).mean()

        def regression(learned: Array, key: Array, state=state, action=action, target=target):
            rows = jax.random.randint(key, (BATCH,), 0, PAIRS)
            total = learned[state[rows], action[rows]].sum(-1)
            return preference_loss(total[:, 0] - total[:, 1], target[rows]).mean()

        for bias in (1.0, 0.5):
            logits, _ = descend(functools.partial(contrastive, bias=bias), zeros, keys, LEARNING_RATE)
            log_policy = jax.nn.log_softmax(logits)
            found[f"{labels} labels, contrastive {bias:g}"] = value(log_policy)
            divergence = jnp.sum(jnp.exp(best) * (best - log_policy), -1).mean()
            found[f"{labels} labels, divergence of contrastive {bias:g}"] = divergence
        logits, _ = descend(imitation, zeros, keys, LEARNING_RATE)
        found[f"{labels} labels, imitation"] = value(jax.nn.log_softmax(logits))
        learned, _ = descend(regression, zeros, keys, LEARNING_RATE)
        found[f"{labels} labels, reward and planning"] = value(jax.nn.log_softmax(plan(learned)[1] / ALPHA))
    return found


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = trial(np.asarray(seeds, np.uint32), updates)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


CLAIM = Claim(
    name="contrastive_preference",
    title="Contrastive Preference Learning: Learning from Human Feedback without RL",
    year=2024,
    cards=(72,),
    environment=f"grid of 5 x 5 cells without an end, {PAIRS} pairs of segments of {LENGTH} steps",
    baseline="imitation of the preferred segments; the same method with labels of the other kind",
    method="contrastive preference learning with a bias of 1",
    metric=f"discounted reward of {HORIZON} steps as a share of the best soft policy's, exact; divergence from it",
    conditions=(
        Condition("labels by regret: above 0.95", "regret labels, contrastive 1", 0.95),
        Condition("divergence below 0.1", "regret labels, divergence of contrastive 1", 0.1, direction=-1),
        Condition(
            "above imitation", "regret labels, contrastive 1", "regret labels, imitation", margin=0.2, paired=True
        ),
        Condition(
            "labels by partial return: lower by a half",
            "return labels, contrastive 1",
            "regret labels, contrastive 1",
            margin=0.5,
            direction=-1,
            paired=True,
        ),
    ),
    settings={
        "alpha": ALPHA,
        "discount": GAMMA,
        "pairs": PAIRS,
        "length": LENGTH,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
    },
    updates=1500,
    steps_per_update=BATCH,
    run=run,
)
