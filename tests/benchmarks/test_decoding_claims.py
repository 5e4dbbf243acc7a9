"""What claims on guided decoding and on offline dialogues compute by themselves, against plain programs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from benchmarks.claims import (
    guessing_dialogues,
    lookahead_decoding,
    program_values,
    two_stage_recommendation,
    value_augmented,
    value_guidance,
)
from rlx.envs.tabular import user_mdp
from rlx.envs.token import END, PAD
from rlx.value import value_iteration

KEY = jax.random.key(0)


def test_answers_are_listed_with_all_of_the_probability_and_states_follow_each_other():
    prompt = value_augmented.ENV.prompts[3]
    leads, every = value_augmented.after(prompt), value_augmented.EVERY
    state = np.asarray(value_augmented.states(prompt, every.token))
    token, mask = np.asarray(every.token), np.asarray(every.mask)
    np.testing.assert_array_equal(np.asarray(leads)[state[:, :-1], token - END][mask], state[:, 1:][mask])
    log_policy = jax.nn.log_softmax(jax.random.normal(KEY, leads.shape))
    log_prob = value_augmented.answer_log_prob(log_policy, state, every.token)
    # what is cut at the length has all of the tokens' probability there
    np.testing.assert_allclose(jnp.exp(log_prob).sum(), 1.0, rtol=1e-5)


def test_fitted_values_are_those_of_the_policy():
    """Of many answers, at the state from which all begin and after a first token: sums over the listed ones."""
    prompt = value_augmented.ENV.prompts[0]
    leads, every = value_augmented.after(prompt), value_augmented.EVERY
    log_policy = jax.nn.log_softmax(0.5 * jax.random.normal(KEY, leads.shape))
    drawn = value_augmented.draw(KEY, log_policy, leads, 60_000)
    gold = value_augmented.ENV.gold_reward(prompt, drawn, drawn != PAD)
    values = value_augmented.fit_values(value_augmented.states(prompt, drawn), drawn, gold)
    state = value_augmented.states(prompt, every.token)
    p = jnp.exp(value_augmented.answer_log_prob(log_policy, state, every.token))
    paid = value_augmented.ENV.gold_reward(prompt, every.token, every.mask)
    np.testing.assert_allclose(values[0], p @ paid, atol=0.02)
    for token in range(END + 1, END + 4):
        begins = (every.token[:, 0] == token) * p
        np.testing.assert_allclose(values[leads[0, token - END]], begins @ paid / begins.sum(), atol=0.04)


def test_samples_have_the_probabilities_that_the_search_reads():
    table = lookahead_decoding.model(KEY)
    token, log_prob = lookahead_decoding.sample(KEY, table, 50)
    total = np.zeros(50)
    for place in range(lookahead_decoding.T):
        each = lookahead_decoding.predict(table, token, jnp.int32(place))[jnp.arange(50), token[:, place]]
        total += np.where(token[:, place] != PAD, each, 0.0)
    np.testing.assert_allclose(log_prob, total, rtol=1e-5)
    prompt = jnp.array([4, 5, 6, 5])  # three keywords, three digits
    answers = jnp.array([[6, 4, 5, END, 0, 0, 0, 0], [4, 4, 5, 5, END, 0, 0, 0], [6, 4, 5, 7, 7, 7, 7, 7]])
    np.testing.assert_allclose(lookahead_decoding.judge(prompt, answers), [2.0, 2 / 3, 0.0], rtol=1e-6)
    assert lookahead_decoding.satisfied(prompt, answers).tolist() == [True, False, False]


def test_an_actor_on_the_log_learns_the_best_policy_of_what_was_counted():
    claim = two_stage_recommendation
    env = user_mdp(KEY, claim.STATES, claim.ACTIONS, gamma=claim.GAMMA)
    P, R, discount, _ = env.arrays()
    counts = jnp.asarray(1000 * P)

    def loss(log_policy, advantage):
        return -jax.lax.stop_gradient(jnp.exp(log_policy)) * advantage * log_policy

    learned = claim.learn(counts, jnp.asarray(R[..., 0], jnp.float32), loss, 1500)
    _, best = value_iteration(P, R[..., 0], discount)
    close = np.take_along_axis(best, np.asarray(learned.argmax(-1))[:, None], 1)[:, 0]
    np.testing.assert_allclose(close, best.max(-1), atol=0.1)
    assert np.mean(close > best.max(-1) - 1e-6) > 0.9
    drawn = claim.log_counts(KEY, jnp.asarray(P), jnp.full((20, 10), 0.1), jnp.full(20, 0.05))
    assert int(drawn.sum()) == claim.LOGGED
    assert bool(jnp.all((drawn == 0) | (P > 0)))


def test_clones_of_games_are_shares():
    rows = guessing_dialogues.Turns(
        *map(jnp.array, ([3, 3, 3, 5], [1, 1, 2, 0], [0.0] * 4, [0] * 4, [False] * 4, [1.0, 1, 1, 0]))
    )
    policy = jnp.exp(guessing_dialogues.clone(rows, jnp.ones(4)))
    np.testing.assert_allclose(policy[3, :3], [0, 2 / 3, 1 / 3], atol=1e-3)
    np.testing.assert_allclose(policy[5], 1 / guessing_dialogues.ACTIONS, rtol=1e-5)


def test_values_of_programs_start_at_the_model():
    """Softmax of values is the model; the TD loss reads rewards at the last token only; nothing sees its own future."""
    claim = program_values
    params = claim.Learned(claim.begin(KEY, claim.V + 1), claim.begin(jax.random.key(1), 1))
    drawn = claim.draw(KEY, lambda *x: claim.apply(params.policy, *x)[..., :-1], 20)
    q, advantage = claim.action_values(params, drawn.target, drawn.token)
    logits = claim.apply(params.policy, drawn.target, drawn.token)[..., :-1]
    np.testing.assert_allclose(jax.nn.softmax(q / claim.TEMPERATURE), jax.nn.softmax(logits), rtol=1e-3)
    np.testing.assert_allclose(advantage.max(-1), 0.0, atol=1e-6)
    changed = drawn.token.at[:, 3:].set(END)
    np.testing.assert_array_equal(
        claim.apply(params.policy, drawn.target, changed)[:, :4],
        claim.apply(params.policy, drawn.target, drawn.token)[:, :4],
    )
    loss = claim.td(params, params, drawn, None)
    row = 7
    length = int((drawn.token[row] != PAD).sum())
    for place in range(length):
        taken = q[row, place, drawn.token[row, place] - END]
        wanted = drawn.reward[row] if place == length - 1 else q[row, place + 1].max()
        np.testing.assert_allclose(loss[row, place], 0.5 * (taken - wanted) ** 2, rtol=1e-4, atol=1e-6)
    assert float(jnp.abs(loss[row, length:]).sum()) == 0.0


def test_generalists_have_the_density_of_a_mixture():
    claim = value_guidance
    params = claim.begin(KEY, 6, 5 * claim.MIXTURE)
    obs, action = jax.random.uniform(KEY, (4, 6)), jax.random.normal(KEY, (4, 2))
    rows = claim.Rows(obs, action, jnp.zeros(4), obs, jnp.ones(4))
    logits, mean, log_std = claim.mixture(claim.apply(params, obs))
    share = np.asarray(jax.nn.softmax(logits))
    density = norm.pdf(np.asarray(action)[:, None], mean, np.exp(log_std)).prod(-1)
    wanted = -np.log((share * density).sum(-1)).mean() - np.log(2 * np.pi)  # the claim leaves the constant out
    np.testing.assert_allclose(claim.clone_loss(params, rows), wanted, rtol=1e-4)
    good, wrong, any_way = (claim.play(KEY, claim.expert(kind), 50).success.sum() for kind in range(3))
    assert (int(good), int(wrong)) == (50, 0)
    assert int(any_way) < 10
