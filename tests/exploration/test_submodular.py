"""Set functions against their values in NumPy, and policy gradients of them against all paths of a small chain."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import exploration
from rlx.exploration import elliptical_bonus, marginal_gains
from rlx.policy import policy_gradient_loss
from rlx.value import returns_to_go

RNG = np.random.default_rng(0)
X, M, H = 5, 6, 7
COVERS, WEIGHT = RNG.random((X, M)) < 0.4, RNG.random(M)
FACTOR = RNG.normal(size=(X, 3))
SIMILARITY = RNG.random((X, M))
PRIOR, ANSWER = RNG.dirichlet(np.ones(H)), RNG.integers(3, size=(X, H))


def joint_entropy(path: list[int]) -> float:
    groups: dict[tuple, float] = {}
    for h in range(H):
        said = tuple(ANSWER[path, h])
        groups[said] = groups.get(said, 0.0) + PRIOR[h]
    return -sum(p * np.log(p) for p in groups.values())


FUNCTIONS = {
    "coverage": (exploration.coverage(COVERS, WEIGHT), lambda path: WEIGHT[COVERS[path].any(0)].sum()),
    "information": (
        exploration.information(FACTOR @ FACTOR.T, 0.3),
        lambda path: 0.5 * np.linalg.slogdet(np.eye(len(path)) + (FACTOR @ FACTOR.T)[np.ix_(path, path)] / 0.3)[1],
    ),
    "facility location": (
        exploration.facility_location(SIMILARITY),
        lambda path: SIMILARITY[path].max(0, initial=0.0).sum(),
    ),
    "entropy reduction": (exploration.entropy_reduction(PRIOR, ANSWER), joint_entropy),
}
PATH = [2, 0, 2, 4, 1, 3, 0]


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest):
    return FUNCTIONS[request.param]


def test_gains_of_a_path_add_up_to_its_value(function):
    made, value = function
    found = np.cumsum(marginal_gains(made, jnp.array(PATH)))
    np.testing.assert_allclose(found, [value(PATH[: i + 1]) for i in range(len(PATH))], rtol=1e-4, atol=1e-5)


def test_gains_diminish_and_order_does_not_matter(function):
    made, _ = function
    memories, memory = [made.init()], made.init()
    for x in PATH:
        memory = made.add(memory, jnp.array(x))
        memories.append(memory)
    for x in range(X):
        gains = np.array([made.gain(memory, jnp.array(x)) for memory in memories])
        assert np.all(gains > -1e-5)
        assert np.all(np.diff(gains) < 1e-5)
    totals = [marginal_gains(made, jnp.array(path)).sum() for path in (PATH, PATH[::-1])]
    np.testing.assert_allclose(totals[0], totals[1], rtol=1e-4)


def test_masked_elements_add_nothing(function):
    made, _ = function
    mask = np.array([True, False, True, False, True, True, False])
    gains = marginal_gains(made, jnp.array(PATH), jnp.array(mask))
    np.testing.assert_array_equal(gains[~mask], 0.0)
    np.testing.assert_allclose(gains[mask], marginal_gains(made, jnp.array(PATH)[mask]), rtol=1e-5, atol=1e-6)


def test_information_is_half_the_log_of_one_plus_the_elliptical_bonus():
    features, lam = jnp.asarray(FACTOR, jnp.float32), 0.3
    inverse, wanted = jnp.eye(3) / lam, []
    for x in PATH:
        wanted.append(0.5 * jnp.log1p(elliptical_bonus(features[x], inverse)))
        inverse = exploration.elliptical_update(inverse, features[x])
    made = exploration.information(FACTOR @ FACTOR.T, lam)
    np.testing.assert_allclose(marginal_gains(made, jnp.array(PATH)), jnp.stack(wanted), rtol=1e-3, atol=1e-5)


def test_coverage_of_single_elements_pays_for_first_visits():
    first = [x not in PATH[:i] for i, x in enumerate(PATH)]
    np.testing.assert_array_equal(marginal_gains(exploration.coverage(np.eye(X)), jnp.array(PATH)), first)


def test_greedy_choice_reaches_its_share_of_the_best_set(function):
    made, value = function
    memory, chosen = made.init(), []
    for _ in range(3):
        chosen.append(int(np.argmax([made.gain(memory, jnp.array(x)) for x in range(X)])))
        memory = made.add(memory, jnp.array(chosen[-1]))
    best = max(value(list(each)) for each in itertools.combinations(range(X), 3))
    assert value(chosen) >= (1 - 1 / np.e) * best - 1e-5


def paths(steps: int = 4, states: int = 4):
    """All sequences of going left and right from the second of four states: actions, and states they lead to."""
    actions = np.array(list(itertools.product((0, 1), repeat=steps)))
    reached = np.empty_like(actions)
    state = np.ones(len(actions), int)
    for t in range(steps):
        state = np.clip(state + 2 * actions[:, t] - 1, 0, states - 1)
        reached[:, t] = state
    before = np.concatenate([np.ones((len(actions), 1), int), reached[:, :-1]], axis=1)
    return jnp.asarray(actions), jnp.asarray(before), jnp.asarray(reached)


def test_gradient_from_gains_is_that_of_the_expected_value():
    """Over all 16 paths: `grad E[F]` from the probabilities, and the expectation of the estimator, with a baseline."""
    actions, before, reached = paths()
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 2)), jnp.float32)  # [t, s, a]
    gains = jax.vmap(lambda xs: marginal_gains(exploration.coverage(np.eye(4)), xs))(reached)  # [16, 4]
    steps = jnp.arange(4)

    def log_prob(logits: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(logits)[steps, before, actions]

    probability = jnp.exp(log_prob(logits).sum(1))
    wanted = jax.grad(lambda x: jnp.exp(log_prob(x).sum(1)) @ gains.sum(1))(logits)

    def estimate(discount: float, baseline: jax.Array) -> jax.Array:
        advantage = jax.vmap(lambda g: returns_to_go(g, discount, jnp.zeros(4, bool)))(gains) - baseline
        loss = lambda x: probability @ policy_gradient_loss(log_prob(x), advantage).sum(1)  # noqa: E731
        return -jax.grad(loss)(logits)

    past = jnp.cumsum(gains, axis=1) - gains  # depends on the history alone
    np.testing.assert_allclose(estimate(1.0, jnp.zeros(())), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(estimate(1.0, 0.5 * past + before), wanted, rtol=1e-4, atol=1e-6)
    assert float(jnp.abs(estimate(0.0, jnp.zeros(())) - wanted).max()) > 0.01  # the greedy variant is another gradient


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="shape of weight"):
        exploration.coverage(COVERS, np.ones(M + 1))
    with pytest.raises(ValueError, match="similarity"):
        exploration.facility_location(-SIMILARITY)
    with pytest.raises(ValueError, match="noise"):
        exploration.information(np.eye(2), 0.0)
    with pytest.raises(ValueError, match="xs must have rank 1"):
        marginal_gains(exploration.coverage(COVERS), jnp.zeros((2, 3), int))
