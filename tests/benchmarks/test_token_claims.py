"""What the claims on token policies share does what it says, and what they compute themselves is right."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import critique_refinement, pairwise_proximal, proxy_mismatch
from benchmarks.claims import token_policies as tokens
from rlx.envs.token import FIRST, critique
from rlx.nets.language import init
from rlx.types import Array


@pytest.fixture(scope="module")
def problem() -> tokens.Task:
    """Two prompts, and a reference that has learned nothing."""
    prompt, params = tokens.ENV.prompts[jnp.array([3, 70])], init(tokens.MODEL, jax.random.key(0))
    gold = tokens.ENV.gold_reward(prompt[:, None], tokens.EVERY.token, tokens.EVERY.mask)
    return tokens.Task(prompt, gold, params, tokens.log_policy(params, prompt))


def test_completions_have_their_numbers():
    every = jnp.arange(len(tokens.EVERY.token))
    np.testing.assert_array_equal(tokens.number(tokens.EVERY.token), every)


def test_completions_are_drawn_by_their_probability_and_pairs_labelled_by_score(problem):
    index = tokens.draw(jax.random.key(1), problem.log_reference, (40_000,))
    length = tokens.EVERY.mask.sum(1)
    exact = jnp.exp(problem.log_reference) @ length
    np.testing.assert_allclose(length[index].mean(1), exact, rtol=0.02)
    pairs = tokens.compare(jax.random.key(2), problem, problem.gold[..., 2], 50)
    first, second = length[pairs.index.T]
    np.testing.assert_array_equal(pairs.target, np.where(first == second, 0.5, first < second))
    total = np.take_along_axis(np.asarray(problem.log_reference)[pairs.row], np.asarray(pairs.index), 1)
    np.testing.assert_allclose(pairs.reference.sum(-1), total, rtol=1e-4)


def test_a_value_is_read_where_the_course_passes_a_distance():
    divergence, value = jnp.array([1.0, 3.0, 2.0]), jnp.array([2.0, 4.0, 9.0])
    assert tokens.read_at(0.5, jnp.zeros(()), divergence, value) == 1
    assert tokens.read_at(2.0, jnp.zeros(()), divergence, value) == 3


def test_standard_scores_are_those_of_the_references_answers(problem):
    score = tokens.standard(problem.gold[..., 1], problem)
    np.testing.assert_allclose(tokens.expected(problem.log_reference, score), 0, atol=1e-5)
    np.testing.assert_allclose(tokens.expected(problem.log_reference, score**2), 1, rtol=1e-5)


@pytest.mark.parametrize("how", pairwise_proximal.METHODS)
def test_constants_move_the_gradient_of_ppo_alone(problem, how):
    moved = float(jax.jit(pairwise_proximal.moved, static_argnames="how")(jax.random.key(0), problem, how=how))
    assert moved > 0.1 if how == "PPO" else moved < 1e-5


def test_the_expert_heeds_critiques():
    shown = jax.jit(critique_refinement.heeding)(jax.random.key(0), tokens.ENV.prompts)
    width = tokens.ENV.prompts.shape[1]
    said, prompt = shown.prompt[:, -width - 1], shown.prompt[:, -width:]
    again = critique(tokens.ENV, prompt, shown.token, shown.mask)
    faulty = said != FIRST
    assert 0.5 < float(faulty.mean()) < 1
    assert float((again == said)[faulty].mean()) < 0.2


def test_rewards_part_where_one_falls_after_the_peak():
    def share(gold: list[float]) -> Array:
        after = jnp.arange(4) >= jnp.argmax(jnp.array(gold))
        return proxy_mismatch._part(jnp.arange(4.0)[None], jnp.array([gold]), after[None])

    assert share([0.0, 2.0, 1.0, 0.5]) == 1
    assert share([0.0, 1.0, 2.0, 3.0]) == 0
