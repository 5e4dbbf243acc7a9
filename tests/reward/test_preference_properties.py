"""What every loss of preferences must do, checked over one table: a new loss is a new row.

It does not depend on the order of candidates, on what padding holds, on examples of weight zero, or on the gold
returns. Losses that break each of these show that the checks can fail.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward import (
    centring_loss,
    goal_contrastive_loss,
    goal_steps,
    hierarchical_preference,
    mine_pairs,
    plackett_luce_loss,
    preference_loss,
    reaction_loss,
    segment_score,
    swap_candidates,
    tie_log_prob,
    to_pairs,
    triplet_loss,
)
from rlx.types import Array, PreferenceBatch

B, T, D = 6, 4, 3


class Row(NamedTuple):
    """A loss per query, `(parameters [D], batch) -> [B]`, weights included, and how many candidates it takes."""

    loss: Callable[[Array, PreferenceBatch], Array]
    candidates: int = 2


def scores(parameters: Array, batch: PreferenceBatch) -> Array:
    """A reward that is linear in the observation, summed over the steps: `[B, C]`."""
    return segment_score(jnp.tanh(batch.obs @ parameters), batch.mask)


def difference(parameters: Array, batch: PreferenceBatch) -> Array:
    score = scores(parameters, batch)
    return score[:, 0] - score[:, 1]


def pairwise(**options) -> Row:
    return Row(
        lambda parameters, batch: preference_loss(
            difference(parameters, batch), batch.target[:, 0], weight=batch.weight, **options
        )
    )


def strong(parameters: Array, batch: Any) -> Array:
    return preference_loss(
        difference(parameters, batch), batch.target[:, 0], margin=batch.strength, weight=batch.weight * batch.strength
    )


def ranking(parameters: Array, batch: Any) -> Array:
    return batch.weight * plackett_luce_loss(scores(parameters, batch), batch.rank, batch.mask.any(-1))


def all_pairs(parameters: Array, batch: PreferenceBatch) -> Array:
    pairs = to_pairs(batch)
    loss = preference_loss(difference(parameters, pairs), pairs.target[:, 0], weight=pairs.weight)
    return loss.reshape(B, -1).sum(-1)


def ties(parameters: Array, batch: Any) -> Array:
    first, second = batch.target[:, 0], batch.target[:, 1]
    equal = 1 - jnp.abs(first - second)
    outcome = jnp.stack([jax.nn.relu(first - second), equal, jax.nn.relu(second - first)], -1)
    return -batch.weight * jnp.sum(outcome * tie_log_prob(difference(parameters, batch), 0.3), -1)


def reactions(parameters: Array, batch: Any) -> Array:
    valid = batch.mask.any(-1) & batch.binary_mask
    return batch.weight * reaction_loss(scores(parameters, batch), batch.binary, valid, 3.0).sum(-1)


def factors(parameters: Array, batch: Any) -> Array:
    target, decided, _ = hierarchical_preference(batch.factor, 0.3)
    return preference_loss(difference(parameters, batch), target[:, 0], weight=decided * batch.weight)


def mined(parameters: Array, batch: Any) -> Array:
    """Pairs by a scorer that reads the observations, as a judge does."""
    pairs: Any = mine_pairs(batch, scores(jnp.array([1.0, -0.4, 0.2]), batch), 0.1)
    return preference_loss(difference(parameters, pairs), pairs.target[:, 0], weight=pairs.weight)


def contexts(parameters: Array, batch: PreferenceBatch) -> Array:
    """An embedding of each candidate: `[B, C, D]`."""
    return jnp.sum(jnp.where(batch.mask[..., None], jnp.tanh(batch.obs * parameters), 0), 2)


def triplets(parameters: Array, batch: Any) -> Array:
    z = contexts(parameters, batch)
    first, second = (triplet_loss(parameters, z[:, i], z[:, 1 - i], 2.0, squared=False) for i in (0, 1))
    return batch.weight * (batch.target[:, 0] * first + batch.target[:, 1] * second)


def goals(parameters: Array, batch: Any) -> Array:
    state = jnp.tanh(batch.obs * parameters)

    def preferring(i: int) -> Array:
        chosen, rejected = state[:, i], state[:, 1 - i]
        steps = goal_steps(jax.random.key(0), batch.mask[:, i], batch.mask[:, 1 - i], 5)
        sampled = (jax.vmap(lambda x, t: x[t])(*of) for of in zip((chosen, chosen, rejected), steps, strict=True))
        return goal_contrastive_loss(*sampled)

    return batch.weight * (batch.target[:, 0] * preferring(0) + batch.target[:, 1] * preferring(1))


TABLE = {
    "Bradley-Terry": pairwise(),
    "Thurstone": pairwise(link="probit", scale=0.7),
    "hinge with margin": pairwise(link="hinge", margin=0.3),
    "square": pairwise(link="square"),
    "smoothed": pairwise(smoothing=0.1),
    "noise-aware": pairwise(flip_prob=0.2),
    "unbiased": pairwise(flip_prob=0.2, unbiased=True),
    "scaled, with the strength as margin": Row(strong),
    "Rao-Kupper": Row(ties),
    "Plackett-Luce": Row(ranking, 4),
    "Plackett-Luce of two": Row(ranking),
    "all pairs of a ranking": Row(all_pairs, 4),
    "centring": Row(lambda p, batch: batch.weight * centring_loss(scores(p, batch), batch.mask.any(-1)), 4),
    "reactions": Row(reactions),
    "ranked factors": Row(factors),
    "best against worst": Row(mined, 4),
    "triplet with the preferred context": Row(triplets),
    "goal-contrastive": Row(goals),
}


def make(candidates: int) -> PreferenceBatch:
    """Queries with padding in time and, of more than two, among the candidates; ties and soft labels; a weight of 0."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, T + 1, (B, candidates))
    rank = rng.integers(0, 3, (B, candidates))
    if candidates > 2:
        lengths[0, -1], rank[1, 0] = 0, -1
    target = rng.dirichlet(np.ones(candidates), B)
    target[1], target[2] = 1 / candidates, np.eye(candidates)[0]
    return jax.tree.map(
        jnp.asarray,
        PreferenceBatch(
            obs=rng.normal(size=(B, candidates, T, D)).astype(np.float32),
            action=None,
            mask=np.arange(T) < lengths[..., None],
            target=target.astype(np.float32),
            rank=rank,
            weight=np.array([1.0, 2.0, 0.5, 0.0, 1.0, 1.0], np.float32),
            strength=rng.uniform(1, 3, B).astype(np.float32),
            factor=rng.normal(size=(B, candidates, 2)).astype(np.float32),
            binary=rng.integers(0, 2, (B, candidates)).astype(np.float32),
            binary_mask=rng.random((B, candidates)) < 0.8,
            gold=rng.normal(size=(B, candidates)).astype(np.float32),
        ),
    )


@functools.partial(jax.jit, static_argnums=0)
def with_gradient(row: Row, batch: PreferenceBatch) -> tuple[Array, Array]:
    parameters = jnp.array([0.5, -1.0, 0.3])
    return row.loss(parameters, batch), jax.jacobian(row.loss)(parameters, batch)


def swap_changes_nothing(row: Row) -> None:
    batch = make(row.candidates)
    for where in (None, jnp.arange(B) % 2 == 0):
        for got, wanted in zip(
            with_gradient(row, swap_candidates(batch, where)), with_gradient(row, batch), strict=True
        ):
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def padding_changes_nothing(row: Row) -> None:
    batch = make(row.candidates)
    noise = jnp.where(batch.mask[..., None], batch.obs, 100.0)
    for got, wanted in zip(with_gradient(row, batch._replace(obs=noise)), with_gradient(row, batch), strict=True):
        np.testing.assert_array_equal(got, wanted)


def weight_zero_drops_the_example(row: Row) -> None:
    loss, gradient = with_gradient(row, make(row.candidates))
    dropped = np.arange(B) == 3
    np.testing.assert_array_equal(loss[dropped], 0.0)
    np.testing.assert_array_equal(gradient[dropped], 0.0)
    assert np.any(gradient[~dropped] != 0)


def gold_is_not_read(row: Row) -> None:
    batch = make(row.candidates)
    for got, wanted in zip(with_gradient(row, batch._replace(gold=None)), with_gradient(row, batch), strict=True):
        np.testing.assert_array_equal(got, wanted)


PROPERTIES = (swap_changes_nothing, padding_changes_nothing, weight_zero_drops_the_example, gold_is_not_read)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("holds", PROPERTIES)
def test_every_loss(holds, name):
    holds(TABLE[name])


@pytest.mark.parametrize(
    ("holds", "loss"),
    [
        (swap_changes_nothing, lambda p, batch: jax.nn.softplus(-difference(p, batch))),  # the first one is the chosen
        (padding_changes_nothing, lambda p, batch: jnp.sum(jnp.tanh(batch.obs @ p), (1, 2))),
        (weight_zero_drops_the_example, lambda p, batch: preference_loss(difference(p, batch), batch.target[:, 0])),
        (
            gold_is_not_read,
            lambda p, batch: jnp.square(scores(p, batch) - (0 if batch.gold is None else batch.gold)).sum(1),
        ),
    ],
)
def test_a_wrong_loss_is_found(holds, loss):
    with pytest.raises(AssertionError):
        holds(Row(loss))
