"""Small reward models on preferences, and what optimising against them yields: what several claims share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rlx.envs.bandit import GoldPoolParams, gold_pool, gold_queries, gold_task
from rlx.policy import categorical_kl
from rlx.reward import best_of_n, preference_loss
from rlx.types import Array, PreferenceBatch, PyTree

ENSEMBLE = 5  # members
PAIRS = 1024
SIZES = (16, 64, 64, 1)
BEST_OF = tuple(4**power for power in range(7))  # up to the size of a pool

Parameters = list[tuple[Array, Array]]
Loss = Callable[[Any, Any], Array]  # (parameters, rows of the data) -> losses, weights included


def network(key: Array, sizes: Sequence[int]) -> Parameters:
    """Weights and biases of a multilayer perceptron; sizes are those of input, hidden layers and output."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        (jax.random.normal(k, (rows, columns)) * (2.0 / rows) ** 0.5, jnp.zeros(columns))
        for k, rows, columns in zip(keys, sizes, sizes[1:], strict=False)
    ]


def outputs(parameters: Parameters, x: Array) -> Array:
    """`[..., input]` -> `[..., output]`, with ReLUs between layers."""
    for weight, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def score(parameters: Parameters, x: Array) -> Array:
    """The first output: a reward."""
    return outputs(parameters, x)[..., 0]


def difference(parameters: Parameters, batch: PreferenceBatch) -> Array:
    """First candidate's reward less the second's, for one-shot answers `[B, 2, 1, D]`."""
    rewards = score(parameters, batch.obs[:, :, 0])
    return rewards[:, 0] - rewards[:, 1]


def pair_loss(parameters: Parameters, batch: PreferenceBatch, **options: Any) -> Array:
    """The preference loss of a reward model: Bradley and Terry's unless options say otherwise."""
    weight = 1.0 if batch.weight is None else batch.weight
    return preference_loss(difference(parameters, batch), batch.target[:, 0], weight=weight, **options)


def fit(
    key: Array, parameters: PyTree, loss: Loss, data: PyTree, steps: int, batch: int = 64, learning_rate: float = 1e-3
) -> PyTree:
    """Adam on the mean loss of random rows of the data; leaves of `data` are `[rows, ...]`."""
    rows = len(jax.tree.leaves(data)[0])
    optimiser = optax.adam(learning_rate)

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        parameters, state = carry
        chosen = jax.random.randint(key, (batch,), 0, rows)
        part = jax.tree.map(lambda x: x[chosen], data)
        grads = jax.grad(lambda parameters: jnp.mean(loss(parameters, part)))(parameters)
        updates, state = optimiser.update(grads, state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    start = parameters, optimiser.init(parameters)
    return jax.lax.scan(step, start, jax.random.split(key, steps))[0][0]


def pool_features(pool: GoldPoolParams) -> Array:
    """Prompt and response of every answer, `[X, N, 16]`."""
    prompt = jnp.broadcast_to(pool.prompt[:, None], pool.response.shape)
    return jnp.concatenate([prompt, pool.response], -1)


def standardised(reward: Array, axis: tuple[int, ...] = (-2, -1)) -> Array:
    """Mean 0 and deviation 1 over the reference policy's answers `[..., X, N]`."""
    return (reward - reward.mean(axis, keepdims=True)) / reward.std(axis, keepdims=True)


@functools.partial(jax.jit, static_argnums=2)
def best_of_n_curve(proxy: Array, values: Array, ns: tuple[int, ...]) -> tuple[Array, Array]:
    """Expected values of the best of n by the proxy, and its KL divergence, means over prompts.

    Shapes: `[X, N]`, `[V, X, N]` -> `[V, n]`, `[n]`.
    """
    uniform = jnp.full(proxy.shape[-1], -jnp.log(proxy.shape[-1]))

    def at(n: Array) -> tuple[Array, Array]:
        log_prob = jax.vmap(lambda scores: best_of_n(scores, n))(proxy)
        divergence = jax.vmap(lambda one: categorical_kl(one, uniform))(log_prob)
        return jnp.sum(jnp.exp(log_prob) * values, -1).mean(-1), divergence.mean()

    curve, divergence = jax.lax.map(at, jnp.asarray(ns, jnp.float32))
    return curve.T, divergence


class Problem(NamedTuple):
    """A gold reward's training pairs and the pool in which its proxies are optimised."""

    pairs: PreferenceBatch
    features: Array  # [X, N, 16]
    gold: Array  # [X, N]


def pose(key: Array, mistake: float) -> Problem:
    """A random gold reward, fresh pairs of which a share `mistake` is labelled wrong, 32 pools of 4096 answers."""
    task_key, pairs_key, pool_key = jax.random.split(key, 3)
    task = gold_task(task_key)
    pairs = gold_queries(task, pairs_key, PAIRS, mistake=mistake)
    pool = gold_pool(task, pool_key)
    lean = pairs._replace(prompt=None, factor=None, source=None, gold=None)
    return Problem(lean, pool_features(pool), pool.gold)


def train_members(key: Array, pairs: PreferenceBatch, steps: int, members: int = ENSEMBLE) -> Parameters:
    """Reward models that differ in initialisation and order of the data, stacked `[members, ...]`."""

    def train(key: Array) -> Parameters:
        start, order = jax.random.split(key)
        return fit(order, network(start, SIZES), pair_loss, pairs, steps)

    return jax.lax.map(train, jax.random.split(key, members))


def score_members(members: Parameters, features: Array) -> Array:
    """Each member's standardised reward of every answer, `[members, X, N]`."""
    return jax.lax.map(lambda parameters: standardised(score(parameters, features)), members)
