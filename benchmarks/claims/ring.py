"""What the claims on the ring of eight modes share: a small denoiser, trained once, and chains of its samples."""

from __future__ import annotations

import functools
import itertools
from typing import cast

import jax
import jax.numpy as jnp
import optax

from benchmarks.claims.descent import descend
from rlx.envs.diffusion import Ring
from rlx.policy import denoise_log_prob
from rlx.types import Array

STEPS = 10
RING = Ring(STEPS)
CONDITION = 2  # numbers that the network may be told, 0 for the reference
HIDDEN = (64, 64)
BATCH, LEARNING_RATE = 512, 2e-3  # of training the reference

Params = list[tuple[Array, Array]]


def updated(
    optimiser: optax.GradientTransformation, gradient: Params, params: Params, state: optax.OptState
) -> tuple[Params, optax.OptState]:
    """Parameters and optimiser after a gradient step."""
    change, state = optimiser.update(gradient, state)
    return cast(Params, optax.apply_updates(params, change)), state


def predict(params: Params, sample: Array, index: Array, condition: Array | None = None) -> Array:
    """The noise in samples `[..., 2]` that step `index [...]` starts from."""
    condition = jnp.zeros(CONDITION) if condition is None else condition
    condition = jnp.broadcast_to(condition, (*sample.shape[:-1], CONDITION))
    time = jnp.broadcast_to(jax.nn.one_hot(index, STEPS), (*sample.shape[:-1], STEPS))
    x = jnp.concatenate([sample, time, condition], -1)
    for w, b in params[:-1]:
        x = jax.nn.silu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def train_reference(key: Array, updates: int) -> Params:
    """A denoiser of the ring, which is told nothing."""
    sizes = (2 + STEPS + CONDITION, *HIDDEN, 2)
    shapes = list(itertools.pairwise(sizes))
    init_key, run_key = jax.random.split(key)
    params = [
        (jax.random.normal(k, s) * (2 / s[0]) ** 0.5, jnp.zeros(s[1]))
        for k, s in zip(jax.random.split(init_key, len(shapes)), shapes, strict=True)
    ]
    params[0] = params[0][0].at[-CONDITION:].set(0), params[0][1]  # what is told has no effect before it is trained

    def loss(params: Params, key: Array) -> Array:
        data_key, noise_key, time_key = jax.random.split(key, 3)
        sample = RING.data(data_key, (BATCH,))
        noise = jax.random.normal(noise_key, sample.shape)
        index = jax.random.randint(time_key, (BATCH,), 0, STEPS)
        return jnp.mean(jnp.square(predict(params, RING.noised(sample, noise, index), index) - noise))

    return descend(loss, params, jax.random.split(run_key, updates), LEARNING_RATE)[0]


reference = jax.jit(train_reference, static_argnames="updates")


def rollout(
    params: Params, key: Array, shape: tuple[int, ...], condition: Array | None = None, start: Array | None = None
) -> tuple[Array, Array]:
    """Samples `[*shape, STEPS, 2]` before each step and after it."""
    start_key, noise_key = jax.random.split(key)
    first = jax.random.normal(start_key, (*shape, 2)) if start is None else jnp.broadcast_to(start, (*shape, 2))

    def move(x: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        index, noise = step
        after = RING.posterior(x, predict(params, x, index, condition), index) + RING.std[index] * noise
        return after, (x, after)

    noise = jax.random.normal(noise_key, (STEPS, *shape, 2))
    _, (before, after) = jax.lax.scan(move, first, (jnp.arange(STEPS), noise))
    return jnp.moveaxis(before, 0, -2), jnp.moveaxis(after, 0, -2)


def log_probs(params: Params, before: Array, after: Array) -> tuple[Array, Array]:
    """Of each step, `[..., STEPS]`, and their mask: the last step adds no noise, so it has no density."""
    index = jnp.arange(STEPS)
    mean = RING.posterior(before, predict(params, before, index), index)
    random = RING.std > 0
    each = denoise_log_prob(after, mean, jnp.where(random, RING.std, 1)[:, None])
    mask = jnp.broadcast_to(random, each.shape)
    return jnp.where(mask, each, 0), mask


@functools.partial(jax.jit, static_argnames="samples")
def mean_reward(params: Params, key: Array, samples: int = 512) -> Array:
    """Of what the policy draws, for a place."""
    return RING.reward(rollout(params, key, (samples,))[1][:, -1], RING.default_params).mean()
