"""A denoiser learns from which of two samples people prefer, step by step, nearly as well as from the reward itself.

The ring of eight modes and its small denoiser; of two samples the nearer one to a place is preferred. Each batch of
fresh pairs trains the policy by D3PO: DPO for every denoising step, with the label of the final samples and ratios
clipped to 1 +- 0.1. The baseline is a policy gradient with the true reward (DDPO), on as many samples and gradient
steps. Reward is that of 512 fresh samples; 1 is the mode at the place, 0 the reference.

Rates, beta and the number of batches are a first choice, with which both came near the mode on seeds 0 to 9; nothing
was tuned. Differs from the paper: labels by a rule, two
dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.claims import ring
from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.ring import RING, Params
from rlx.policy import d3po_loss, label_pair, leave_one_out_advantage, ppo_clip_loss
from rlx.types import Array

PAIRS, INNER = 64, 5  # of a batch, and gradient steps on it
BETA, CLIP = 1.0, 0.1
RATES = {"preferences": 1e-3, "reward": 1e-3}
PRETRAIN = 60  # gradient steps of the reference for each batch later
BEST = -2 * RING.spread**2  # reward of the mode at the place


@functools.partial(jax.jit, static_argnames=("batches", "method"))
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def trial(seed: Array, start: Params, batches: int, method: str) -> Array:
    """Rewards before the first batch and after each."""
    optimiser = optax.adam(RATES[method])

    def batch(carry: tuple[Params, optax.OptState], key: Array) -> tuple[tuple[Params, optax.OptState], Array]:
        roll_key, judge_key = jax.random.split(key)
        before, after = ring.rollout(carry[0], roll_key, (PAIRS, 2))
        reward = RING.reward(after[..., -1, :], RING.default_params)
        (last, mask), (base, _) = (ring.log_probs(p, before, after) for p in (carry[0], start))

        def loss(params: Params) -> Array:
            log_prob, _ = ring.log_probs(params, before, after)
            if method == "preferences":
                return d3po_loss(log_prob, mask, label_pair(reward), base, beta=BETA, clip=CLIP).mean()
            advantage = jnp.broadcast_to(leave_one_out_advantage(reward)[..., None], last.shape)
            return jnp.mean(jnp.where(mask, ppo_clip_loss(log_prob, last, advantage, CLIP), 0))

        def step(carry: tuple[Params, optax.OptState], _: None) -> tuple[tuple[Params, optax.OptState], None]:
            params, state = carry
            return ring.updated(optimiser, jax.grad(loss)(params), params, state), None

        carry, _ = jax.lax.scan(step, carry, length=INNER)
        return carry, ring.mean_reward(carry[0], judge_key)

    first_key, run_key = jax.random.split(jax.random.key(seed))
    _, rewards = jax.lax.scan(batch, (start, optimiser.init(start)), jax.random.split(run_key, batches))
    return jnp.append(ring.mean_reward(start, first_key), rewards)


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    start = ring.reference(jax.random.key(0), updates=updates * PRETRAIN)
    samples = {}
    for method in RATES:
        rewards = np.asarray(trial(np.asarray(seeds, np.uint32), start, updates, method))
        samples[f"{method}: reward at the start"] = rewards[:, 0].tolist()
        samples[f"{method}: last reward"] = rewards[:, -1].tolist()
        share = (rewards[:, -1] - rewards[:, 0]) / (BEST - rewards[:, 0])
        samples[f"{method}: share of what can be gained"] = share.tolist()
        samples[f"{method}: share of what can be gained plus a tenth"] = (share + 0.1).tolist()
    return samples


CLAIM = Claim(
    name="diffusion_preference",
    title="Using Human Feedback to Fine-tune Diffusion Models without Any Reward Model",
    year=2024,
    cards=(86,),
    environment="denoiser of a ring of eight modes; of two samples the nearer one to a place is preferred",
    baseline="the reference; a policy gradient with clipped ratios (DDPO) on the true reward",
    method="D3PO on pairs of fresh samples",
    metric="reward of 512 samples, as a share of what can be gained over the reference",
    conditions=(
        Condition("more than half of what can be gained", "preferences: share of what can be gained", 0.5),
        Condition(
            "within a tenth of the policy gradient, or above it",
            "preferences: share of what can be gained plus a tenth",
            "reward: share of what can be gained",
            paired=True,
        ),
    ),
    settings={"pairs": PAIRS, "inner": INNER, "beta": BETA, "clip": CLIP, "rates": RATES},
    updates=80,  # batches of pairs
    steps_per_update=2 * PAIRS * ring.STEPS,
    run=run,
)
