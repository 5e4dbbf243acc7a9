"""Rewards learned from a log: queries cut from it, and a model fitted to their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rlx import check
from rlx.reward.learned.segments import Recent, draw_segments
from rlx.reward.learned.source import RewardModel, answer, preference_reward
from rlx.reward.preference import segment_score
from rlx.space import Space
from rlx.types import Array, EnvSpec, PreferenceBatch, Transition

OPTIONS = {"members", "hidden", "activation", "bounded", "learning_rate", "batch_size", "flip_prob", "centred"}


def draw_queries(
    key: Array,
    log: Transition,
    count: int,
    length: int,
    *,
    candidates: int = 2,
    gold: Callable[[Transition], Array] | None = None,
) -> tuple[PreferenceBatch, Array]:
    """Queries about segments of a log, such as `rlx.runtime.rollout.rollout` gives, and the rewards of their steps.

    Segments begin at steps drawn uniformly, and are `length` steps long or as far as their episode goes; none crosses
    an end. The queries have even targets and weight 0: nothing is known yet. `gold` of the batch holds the segments'
    returns, for evaluation. A teacher made of code answers from the rewards:

        queries, reward = draw_queries(key, log, 500, 25)
        target, weight = synthetic_teacher(teacher_key, reward, queries.mask)
        queries = queries._replace(target=target, weight=weight)

    Args:
      key: for the draws.
      log: leaves `[T, B, ...]`, rows in the order of time, with at least `length` of them.
      count: how many queries.
      length: steps of a segment.
      candidates: segments in a query; of more than two, ranked, `to_pairs` makes pairs.
      gold: what the teacher judges steps by, `[T, B]` of the log; the log's own scalar reward by default.

    Returns:
      A batch with fields `[count, candidates, length, ...]`, and rewards `[count, candidates, length]`.

    Raises:
      ValueError: for sizes out of range, or a vector reward without `gold`.

    Usual mistake: sums of segments of unequal length, where episodes end, compared as if only their quality differed.

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017).
    """
    check.count("count", count)
    check.count("candidates", candidates, 2)
    check.rank("log.terminated", log.terminated, 2)
    steps = log.terminated.shape[0]
    check.require(1 <= length <= steps, "length", length, f"in [1, {steps}], the rows of the log")
    reward = log.reward if gold is None else gold(log)
    reward = reward[..., 0] if reward.ndim == 3 and reward.shape[-1] == 1 else reward
    check.require(reward.ndim == 2, "the log's reward", reward.shape, "of shape [T, B], or pass gold")
    rows = log.obs, log.action, reward, log.next_obs
    ring = Recent(rows, log.terminated | log.truncated, jnp.int32(0), jnp.int32(steps))
    found, mask = draw_segments(ring, key, count * candidates, length)
    last = jnp.sum(mask, axis=1) - 1
    reached = jax.tree.map(lambda x: x[jnp.arange(len(last)), last], found[3])

    obs, action, reward, reached, mask = jax.tree.map(
        lambda x: x.reshape(count, candidates, *x.shape[1:]), (*found[:3], reached, mask)
    )
    even = jnp.full((count, candidates), 1.0 / candidates, jnp.float32)
    score = segment_score(reward, mask)
    return PreferenceBatch(obs, action, mask, even, next_obs=reached, weight=jnp.zeros(count), gold=score), reward


def fit_reward_model(
    key: Array,
    queries: PreferenceBatch,
    log: Transition,
    observation_space: Space,
    action_space: Space,
    *,
    gradient_steps: int = 1000,
    **options: Any,
) -> tuple[RewardModel, dict[str, Array]]:
    """An ensemble of reward networks fitted to answered queries, once and for all: the frozen reward of a log.

    It is the fit of `preference_reward`. Inputs are normalised and rewards scaled by the log's steps, labelled or not.
    Then `learned_reward(model)` is a source for any algorithm, and `predict_reward(model, log.obs, log.action)` the
    log's new rewards.

    Args:
      key: for the networks and the minibatches.
      queries: `[B, 2, T, ...]` with observations, actions, mask and target; weights are 1 where there are none.
      log: leaves `[T', B', ...]`, of which rewards are not read.
      observation_space, action_space: of the environment.
      gradient_steps: of every member.
      **options: of `preference_reward` for the networks and their fit: `members`, `hidden`, `activation`, `bounded`,
        `learning_rate`, `batch_size`, `flip_prob`, `centred`.

    Returns:
      The model, and `loss` and `accuracy`, means over the fit.

    Raises:
      ValueError: for queries without observations or actions or with other than two candidates, or an option out of
        range.

    Usual mistakes: the log's reward left in place: relabel it, or train with the source; and, where all episodes have
    the same length, no `centred=True`: preferences between segments of one length leave a constant free, which can be
    most of a reward and then takes up its scale.

    Source: Christiano et al., "Deep Reinforcement Learning from Human Preferences" (2017).
    """
    unknown = sorted(set(options) - OPTIONS)
    check.require(not unknown, "options", unknown, f"of {sorted(OPTIONS)}")
    count, candidates = queries.target.shape
    check.require(candidates == 2, "queries.target", queries.target.shape, "of shape [B, 2]; to_pairs makes pairs")
    if queries.obs is None or queries.action is None:
        raise ValueError("queries must have obs and action; one of them is None")
    num_envs = log.terminated.shape[1]
    source = preference_reward(
        comparisons=count,
        total_steps=1,
        sessions=1,
        teacher=None,
        gold=lambda batch: jnp.zeros(batch.terminated.shape),
        segment=queries.mask.shape[2],
        capacity=log.terminated.size,
        gradient_steps=gradient_steps,
        **options,
    )
    init_key, fit_key = jax.random.split(key)
    weight = jnp.ones(count) if queries.weight is None else queries.weight
    answered = PreferenceBatch(queries.obs, queries.action, queries.mask, queries.target, weight=weight)
    state = source.init(init_key, EnvSpec(observation_space, action_space, ("reward",), num_envs))
    state, metrics = source.update(answer(state, answered, 0), log, fit_key)
    return state.model, {"loss": metrics["loss"], "accuracy": metrics["accuracy"]}
