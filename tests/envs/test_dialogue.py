"""Dialogues against sums over all answers: optima, beliefs under wrong answers, what coupling is worth."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from rlx.envs import check_env
from rlx.envs.dialogue import AttributeDialogue, GuessWho, coupled_attributes, unequal_attributes

KEY = jax.random.key(0)


def play(env, order, key=KEY):
    """Entropies before and after questions asked in a given order, rewards, and endings."""

    def ask(state, xs):
        key, action = xs
        _, after, reward, ended, info = env.step_env(key, state, action, env.default_params)
        return after, (reward, ended, info["entropy"])

    _, state = env.reset_env(key, env.default_params)
    keys = jax.random.split(key, len(order))
    last, (rewards, ended, left) = jax.jit(lambda s: jax.lax.scan(ask, s, (keys, jnp.asarray(order))))(state)
    return state, last, np.array([env.entropy(state), *left]), np.asarray(rewards), np.asarray(ended)


@pytest.mark.parametrize(
    "env",
    [
        AttributeDialogue(unequal_attributes(4)),
        AttributeDialogue(unequal_attributes(3), joint=True, error=0.1, cost=0.2),
        AttributeDialogue(coupled_attributes(), joint=True, reward="resolved"),
    ],
)
def test_environment_keeps_the_interface(env):
    check_env(env)


def test_rewards_add_up_to_the_entropy():
    env = AttributeDialogue(unequal_attributes(5), cost=0.25)
    state, last, left, rewards, ended = play(env, [3, 0, 4, 2, 1])
    np.testing.assert_allclose(left[0], np.log2([2, 3, 4, 5, 6]).sum(), rtol=1e-5)
    np.testing.assert_allclose(rewards.sum(), left[0] - left[-1] - 5 * 0.25, rtol=1e-5)
    np.testing.assert_allclose(rewards, np.log2([5, 2, 6, 4, 3]) - 0.25, rtol=1e-4)
    np.testing.assert_array_equal(ended, [False] * 4 + [True])
    np.testing.assert_array_equal(jnp.argmax(last.belief, -1), state.value)


def test_optimum_of_independent_attributes_is_the_greedy_one():
    """Until at most 3 bits are left of 9.49: the largest first."""
    env = AttributeDialogue(unequal_attributes(5), threshold=3.0)
    assert env.optimal_questions() == pytest.approx(3)
    *_, ended = play(env, [4, 3, 2])
    np.testing.assert_array_equal(ended, [False, False, True])


def brute_force(env, threshold):
    """The best expected number of questions over all decision trees, by recursion on sets of vectors."""
    params = env.default_params
    value, prob = np.asarray(params.value), np.asarray(params.prob, float)

    def best(rows):
        p = prob[list(rows)]
        if entropy(p / p.sum(), base=2) <= threshold + 1e-6:
            return 0.0
        found = np.inf
        for k, groups in zip(np.asarray(params.attribute), np.asarray(params.group), strict=True):
            parts = [[r for r in rows if groups[value[r, k]] == g] for g in range(groups.max() + 1)]
            parts = [part for part in parts if part]
            if len(parts) > 1:
                found = min(found, 1 + sum(prob[part].sum() / p.sum() * best(tuple(part)) for part in parts))
        return found

    return best(tuple(range(len(value))))


def test_optimum_with_groups_and_coupling_is_that_of_all_decision_trees():
    rng = np.random.default_rng(0)
    value = np.array(list(itertools.product(range(3), range(2), range(2))))[rng.permutation(12)[:8]]
    prob = rng.dirichlet(np.ones(8))
    questions = [0, 0, 1, 2], [[0, 0, 1], [0, 1, 1], [0, 1, -1], [0, 1, -1]]
    env = AttributeDialogue((value, prob), questions, joint=True, threshold=0.3)
    np.testing.assert_allclose(env.optimal_questions(), brute_force(env, 0.3), rtol=1e-5)


def test_knowing_how_attributes_depend_saves_two_questions():
    """Whoever believes them independent has to ask about all three until it is sure."""
    one, other = (AttributeDialogue(coupled_attributes(), joint=joint, threshold=0.0) for joint in (True, False))
    assert (one.optimal_questions(), other.optimal_questions()) == pytest.approx((1, 3))


def test_wrong_answers_are_weighed():
    """Answers to one question many times over: the belief is Bayes' rule for the answers, and finds the value."""
    env = AttributeDialogue(np.array([[0.5, 0.3, 0.2]]), error=0.3, threshold=0.0)
    state, last, left, rewards, _ = play(env, [0] * 60)
    assert int(jnp.argmax(last.belief[0])) == int(state.value[0])
    np.testing.assert_allclose(rewards.sum(), left[0] - left[-1], rtol=1e-3, atol=1e-4)
    assert rewards.min() < 0


def test_resolved_attributes_count_as_one():
    env = AttributeDialogue(unequal_attributes(4), reward="resolved")
    np.testing.assert_array_equal(play(env, [3, 3, 0, 1])[3], [1, 0, 1, 1])


# --- GuessWho ---

GAME = GuessWho()


def test_the_game_conforms_and_pays_by_the_rules():
    check_env(GAME)
    params = GAME.default_params
    _, state = GAME.reset_env(KEY, params)
    item = int(state.item)
    table = np.asarray(params.attribute)
    obs, state, reward, ended, _ = GAME.step_env(KEY, state, 2, params)
    assert (float(reward), bool(ended)) == (-1.0, False)
    np.testing.assert_array_equal(np.asarray(obs).reshape(6, 3).argmax(1), [0, 0, 1 + table[item, 2], 0, 0, 0])
    possible = GAME.possible()[int(GAME.situation(state.known))]
    np.testing.assert_array_equal(possible, table[:, 2] == table[item, 2])
    for guess, paid in ((item, 9.0), ((item + 1) % 16, -11.0)):
        _, _, reward, ended, info = GAME.step_env(KEY, state, 6 + guess, params)
        assert (float(reward), bool(ended), bool(info["right"])) == (paid, True, guess == item)


def test_optimum_of_the_game():
    """Sixteen items on four attributes: four questions and the guess. One that all share tells nothing."""
    four = np.arange(16)[:, None] >> np.arange(4) & 1
    assert GuessWho(four).optimal_return() == pytest.approx(10 - 5)
    assert GuessWho(np.concatenate([four, np.ones((16, 2))], 1)).optimal_return() == pytest.approx(5)
    assert GuessWho(four, prize=1.0).optimal_return() == pytest.approx(-1 + 2 / 16 - 1)  # not worth a question

    @functools.cache
    def best(left):
        """By recursion over sets of items."""
        ask = [10 * (2 / len(left) - 1) - 1]
        for k in range(6):
            parts = [tuple(i for i in left if table[i, k] == v) for v in (False, True)]
            if all(parts):
                ask.append(sum(len(part) / len(left) * best(part) for part in parts) - 1)
        return max(ask)

    table = np.asarray(GAME.default_params.attribute)
    value, policy = GAME.optimal_policy()
    assert value == pytest.approx(best(tuple(range(16))))
    assert float(GAME.evaluate(jnp.asarray(policy))) == pytest.approx(value, abs=1e-4)


def test_a_policy_is_worth_what_its_games_return():
    policy = jax.random.dirichlet(jax.random.key(2), jnp.ones(22), (729,))
    params = GAME.default_params

    def turn(carry, key):
        state, playing = carry
        action = jax.random.categorical(key, jnp.log(policy[GAME.situation(state.known)]))
        _, state, reward, ended, _ = GAME.step_env(key, state, action, params)
        return (state, playing & ~ended), jnp.where(playing, reward, 0.0)

    def game(key):
        _, state = GAME.reset_env(key, params)
        return jax.lax.scan(turn, (state, jnp.bool_(True)), jax.random.split(key, 8))[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(game))(jax.random.split(KEY, 20_000)))
    assert abs(returns.mean() - float(GAME.evaluate(policy))) < 4 * returns.std() / 20_000**0.5


def test_logs_of_people():
    """Games that replay step by step; people without faults guess right, at the end of a random order of questions."""
    log = jax.jit(lambda key: GAME.scripted_log(key, 300))(KEY)
    assert bool(jnp.all(log.mask.sum(1) == jnp.where(log.terminated.any(1), log.terminated.argmax(1) + 1, 8)))
    known = log.situation[:, :-1, None] // 3 ** jnp.arange(6) % 3
    after = log.situation[:, 1:, None] // 3 ** jnp.arange(6) % 3
    asks = log.action[..., None] == jnp.arange(6)
    played = log.mask[..., None]
    assert bool(jnp.all(jnp.where(played & ~asks, known == after, True)))
    assert bool(jnp.all(jnp.where(played & asks, after > 0, True)))
    flawless = GAME.scripted_log(KEY, 300, careless=0.0, hasty=0.0)
    total = jnp.where(flawless.mask, flawless.reward, 0).sum(1)
    np.testing.assert_array_equal(total, 10 - flawless.mask.sum(1))
    assert 3 < float(total.mean()) < GAME.optimal_return()
    assert float(jnp.where(log.mask, log.reward, 0).sum(1).mean()) < float(total.mean()) - 1


def test_errors_of_the_game():
    with pytest.raises(ValueError, match="rows that differ"):
        GuessWho(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="num_items"):
        GuessWho(num_items=9, num_attributes=3)
    with pytest.raises(ValueError, match="shape of policy"):
        GAME.evaluate(jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="max_steps"):
        GuessWho(max_steps=4).optimal_return()
