"""Multi-step returns against rlax, the forward view of each episode on its own, and exact tabular fixed points."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from rlx import value

T, B, K = 13, 4, 3
GAMMA = 0.9
Stream = dict[str, jax.Array]


def stream(seed: int, *trailing: int, ends: bool = True) -> Stream:
    """A random stream of episodes; `next_value` is the following value except where an episode ends."""
    rng = np.random.default_rng(seed)
    shape = (T, *trailing)
    end = rng.random(shape) < (0.3 if ends else 0.0)
    terminated = end & (rng.random(shape) < 0.5)
    values = rng.normal(size=(T + 1, *trailing))
    x = dict(
        value=values[:-1],
        next_value=np.where(end, rng.normal(size=shape), values[1:]),
        reward=rng.normal(size=shape),
        discount=rng.uniform(0.5, 1, shape) * (1 - terminated),
        cut=end,
        ratio=rng.uniform(0.2, 2, shape),
        greedy=rng.random(shape) < 0.6,
    )
    return {name: jnp.asarray(a, jnp.float32 if a.dtype == np.float64 else a.dtype) for name, a in x.items()}


def pick(x: Stream, *names: str) -> dict[str, Any]:
    return {name: x[name] for name in names}


KERNELS = {
    "gae": lambda x: value.gae(**pick(x, "value", "next_value", "reward", "discount", "cut"), lambda_=0.8),
    "lambda_returns": lambda x: value.lambda_returns(**pick(x, "next_value", "reward", "discount", "cut"), lambda_=0.8),
    "vtrace": lambda x: value.vtrace(
        **pick(x, "value", "next_value", "reward", "discount", "ratio", "cut"), lambda_=0.8
    ),
    "retrace": lambda x: value.retrace(
        x["value"], **pick(x, "next_value", "reward", "discount", "ratio", "cut"), lambda_=0.8
    ),
    "q_lambda, Peng": lambda x: value.q_lambda(**pick(x, "next_value", "reward", "discount", "cut"), lambda_=0.8),
    "q_lambda, Watkins": lambda x: value.q_lambda(
        **pick(x, "next_value", "reward", "discount", "cut", "greedy"), lambda_=0.8
    ),
    "n_step_returns": lambda x: value.n_step_returns(**pick(x, "next_value", "reward", "discount", "cut"), n=3),
    "returns_to_go": lambda x: value.returns_to_go(**pick(x, "reward", "discount", "cut")),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))


def close(got, wanted, atol: float = 2e-5) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


# --- ends of episodes ---


@every_kernel
@pytest.mark.parametrize("terminal", [True, False], ids=["terminated", "truncated"])
def test_inner_cut_equals_two_separate_batches(kernel, terminal: bool):
    x = stream(0, B)
    at = 5  # the last step of the first batch
    x["cut"] = x["cut"].at[at].set(True)
    x["discount"] = x["discount"].at[at].set(0.0 if terminal else 0.9)
    parts = [jax.tree.map(lambda a, part=part: a[part], x) for part in (slice(None, at + 1), slice(at + 1, None))]
    separate = jax.tree.map(lambda *a: jnp.concatenate(a), *map(kernel, parts))
    close(kernel(x), separate)


@every_kernel
def test_truncation_bootstraps_and_termination_does_not(kernel):
    """One step that is the last of its episode, followed by another episode of huge values."""
    one = {
        "value": jnp.array([0.0, 1e6]),
        "next_value": jnp.array([10.0, 1e6]),
        "reward": jnp.array([1.0, 1e6]),
        "discount": jnp.array([0.5, 0.5]),
        "cut": jnp.array([True, False]),
        "ratio": jnp.ones(2),
        "greedy": jnp.ones(2, bool),
    }
    target = 1.0 if kernel is KERNELS["returns_to_go"] else 6.0
    close([a[0] for a in jax.tree.leaves(kernel(one))], [target] * len(jax.tree.leaves(kernel(one))))
    ended = one | {"discount": jnp.array([0.0, 0.5])}
    close([a[0] for a in jax.tree.leaves(kernel(ended))], [1.0] * len(jax.tree.leaves(kernel(ended))))
    ended["cut"] = jnp.array([False, False])  # a zero discount alone already ends the sum
    close([a[0] for a in jax.tree.leaves(kernel(ended))], [1.0] * len(jax.tree.leaves(kernel(ended))))


def episodes(cut: np.ndarray) -> list[slice]:
    """The runs of steps of one column, each ending at a cut or at the end of the data."""
    bounds = [0, *(np.flatnonzero(cut[:-1]) + 1), len(cut)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def forward_view(reward, discount, next_value, weight_of_length) -> np.ndarray:
    """Mixtures of n-step returns of one episode, each n-step return summed from its own start."""
    length = len(reward)
    out = np.zeros(length)
    for t in range(length):
        total, scale = 0.0, 1.0
        for n, s in enumerate(range(t, length), start=1):
            total += scale * reward[s]
            scale *= discount[s]
            out[t] += weight_of_length(n, length - t) * (total + scale * next_value[s])
    return out


def by_episode(x: Stream, weight_of_length) -> np.ndarray:
    a = {name: np.asarray(array, np.float64 if array.dtype == jnp.float32 else None) for name, array in x.items()}
    out = np.zeros((T, B))
    for b in range(B):
        for s in episodes(a["cut"][:, b]):
            out[s, b] = forward_view(a["reward"][s, b], a["discount"][s, b], a["next_value"][s, b], weight_of_length)
    return out


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_lambda_returns_equal_the_forward_view_of_each_episode(lambda_: float):
    x = stream(1, B)

    def weight(n: int, steps_left: int) -> float:
        return lambda_ ** (n - 1) * (1.0 if n == steps_left else 1 - lambda_)

    wanted = by_episode(x, weight)
    got = value.lambda_returns(**pick(x, "next_value", "reward", "discount", "cut"), lambda_=lambda_)
    advantage, target = value.gae(**pick(x, "value", "next_value", "reward", "discount", "cut"), lambda_=lambda_)
    close((got, target, advantage), (wanted, wanted, wanted - x["value"]))


@pytest.mark.parametrize("n", [1, 2, 5, T, 3 * T])
def test_n_step_returns_equal_the_forward_view_of_each_episode(n: int):
    x = stream(2, B)
    wanted = by_episode(x, lambda m, steps_left: float(m == min(n, steps_left)))
    close(value.n_step_returns(**pick(x, "next_value", "reward", "discount", "cut"), n=n), wanted)


def test_returns_to_go_sum_each_episode():
    x = stream(3, B)
    x["next_value"] = jnp.zeros((T, B))
    wanted = by_episode(x, lambda n, steps_left: float(n == steps_left))
    close(value.returns_to_go(**pick(x, "reward", "discount", "cut")), wanted)


# --- rlax on the same inputs ---


def test_lambda_returns_equal_rlax_on_a_truncated_stream():
    x = stream(4, B)
    wanted = jax.vmap(rlax.lambda_returns, 1, 1)(x["reward"], x["discount"], x["next_value"], 0.8 * (1 - x["cut"]))
    close(value.lambda_returns(**pick(x, "next_value", "reward", "discount", "cut"), lambda_=0.8), wanted)


def test_gae_equals_rlax():
    x = stream(5, ends=False)
    values = jnp.append(x["value"], x["next_value"][-1])
    wanted = rlax.truncated_generalized_advantage_estimation(x["reward"], x["discount"], 0.8, values)
    close(KERNELS["gae"](x), (wanted, wanted + x["value"]))


def test_n_step_returns_equal_rlax():
    x = stream(6, ends=False)
    wanted = rlax.n_step_bootstrapped_returns(x["reward"], x["discount"], x["next_value"], n=3)
    close(KERNELS["n_step_returns"](x), wanted)


def rlax_vtrace(x: Stream, lambda_: Any) -> Any:
    return rlax.vtrace_td_error_and_advantage(
        x["value"], x["next_value"], x["reward"], x["discount"], x["ratio"], lambda_
    )


@pytest.mark.parametrize("lambda_", [0.5, 1.0])
def test_vtrace_equals_rlax(lambda_: float):
    """rlax cuts at a truncation through its lambda; its advantage agrees only without one and at lambda 1."""
    x = stream(7)
    _, target = value.vtrace(**pick(x, "value", "next_value", "reward", "discount", "ratio", "cut"), lambda_=lambda_)
    close(target - x["value"], rlax_vtrace(x, lambda_ * (1 - x["cut"])).errors)
    x = stream(7, ends=False)
    advantage, _ = value.vtrace(**pick(x, "value", "next_value", "reward", "discount", "ratio", "cut"), lambda_=1.0)
    close(advantage, rlax_vtrace(x, 1.0).pg_advantage)


def test_retrace_equals_rlax():
    rng = np.random.default_rng(8)
    actions = 3
    q, next_q = jnp.asarray(rng.normal(size=(2, T, actions)), jnp.float32)
    action = jnp.asarray(rng.integers(actions, size=T + 1))
    pi = jnp.asarray(rng.dirichlet(np.ones(actions), T + 1), jnp.float32)
    mu = jnp.asarray(rng.uniform(0.1, 1, T + 1), jnp.float32)
    x = stream(8, ends=False)
    errors = rlax.retrace(q, next_q, action[:-1], action[1:], x["reward"], x["discount"], pi[1:], mu[1:], 0.8)
    taken = q[jnp.arange(T), action[:-1]]
    # rlax evaluates later actions in q at the next state; give both the same network's values there
    next_taken = next_q[jnp.arange(T), action[1:]]
    v = jnp.append(taken[:1], next_taken[:-1])
    ratio = (pi[jnp.arange(T + 1), action] / mu)[:-1]
    target = value.retrace(v, (pi[1:] * next_q).sum(-1), x["reward"], x["discount"], ratio, 0.8, x["cut"])
    close(target - taken, errors, atol=1e-4)


def test_q_lambda_equals_rlax():
    x = stream(9, ends=False)
    next_q = jnp.asarray(np.random.default_rng(9).normal(size=(T, 3)), jnp.float32)
    errors = rlax.q_lambda(jnp.zeros((T, 3)), jnp.zeros(T, int), x["reward"], x["discount"], next_q, 0.8)
    close(value.q_lambda(next_q.max(-1), x["reward"], x["discount"], 0.8, x["cut"]), errors)


# --- members of the family meet in their limits ---


def test_on_policy_limits():
    x = stream(10, B) | {"ratio": jnp.ones((T, B)), "greedy": jnp.ones((T, B), bool)}
    _, target = KERNELS["gae"](x)
    close(KERNELS["vtrace"](x)[1], target)
    close(KERNELS["retrace"](x), target)
    close(KERNELS["q_lambda, Watkins"](x), KERNELS["q_lambda, Peng"](x))
    close(KERNELS["q_lambda, Peng"](x), target)


def test_watkins_trace_stops_before_an_action_that_is_not_greedy():
    x = stream(11) | {"greedy": jnp.ones(T, bool).at[6].set(False)}
    watkins = KERNELS["q_lambda, Watkins"](x)
    cut = x | {"cut": x["cut"].at[5].set(True)}
    close(watkins, KERNELS["q_lambda, Peng"](cut))
    never = KERNELS["q_lambda, Watkins"](x | {"greedy": jnp.zeros(T, bool)})
    close(never, x["reward"] + x["discount"] * x["next_value"])


def test_vtrace_clips_the_ratios_apart():
    x = stream(12)
    far = x | {"ratio": 100 * x["ratio"]}
    args = pick(far, "value", "next_value", "reward", "discount", "ratio", "cut")
    _, got = value.vtrace(**args, lambda_=0.8, rho_bar=2.0, c_bar=0.5)
    trace = jnp.where(x["cut"], 0.0, 0.8 * 0.5)
    wanted, _ = value.off_policy_returns(x["value"], x["next_value"], x["reward"], x["discount"], rho=2.0, c=trace)
    close(got, wanted)


# --- exact fixed points on a random decision process ---


def random_process(seed: int, states: int = 3, actions: int = 2):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), (states, actions))
    reward = rng.normal(size=(states, actions))
    pi, mu = rng.dirichlet(np.ones(actions), (2, states))
    return transition, reward, pi, mu


def test_vtrace_fixed_point_is_the_clipped_policys_value():
    """In expectation the one-step error vanishes at the value of the policy proportional to min(rho_bar mu, pi)."""
    transition, reward, pi, mu = random_process(13)
    clipped = np.minimum(0.8 * mu, pi)
    v, _ = value.policy_evaluation(transition, reward, GAMMA, clipped / clipped.sum(-1, keepdims=True))
    s, a, t = (index.ravel()[None] for index in np.indices(transition.shape))
    with jax.enable_x64(True):
        here, there, r, ratio = map(jnp.asarray, (v[s], v[t], reward[s, a], pi[s, a] / mu[s, a]))
        advantage, target = value.vtrace(here, there, r, GAMMA, ratio, 1.0, jnp.zeros(s.shape, bool), rho_bar=0.8)
        for error in (target - v[s], advantage):
            expected = np.zeros(3)
            np.add.at(expected, s[0], mu[s, a][0] * transition[s, a, t][0] * np.asarray(error)[0])
            np.testing.assert_allclose(expected, 0, atol=1e-12)


def test_retrace_fixed_point_is_the_target_policys_value():
    """Over all two-step paths of the behaviour policy, the expected target of (s, a) is Q^pi(s, a)."""
    transition, reward, pi, mu = random_process(14)
    v, q = value.policy_evaluation(transition, reward, GAMMA, pi)
    s0, a0, s1, a1, s2 = (index.ravel() for index in np.indices((3, 2, 3, 2, 3)))
    s, a, after = np.stack([s0, s1]), np.stack([a0, a1]), np.stack([s1, s2])
    probability = transition[s0, a0, s1] * mu[s1, a1] * transition[s1, a1, s2]
    with jax.enable_x64(True):
        taken, there, r, ratio = map(jnp.asarray, (q[s, a], v[after], reward[s, a], pi[s, a] / mu[s, a]))
        target = value.retrace(taken, there, r, GAMMA, ratio, 0.9, jnp.zeros(s.shape, bool))
        expected = np.zeros((3, 2))
        np.add.at(expected, (s0, a0), probability * np.asarray(target)[0])
    np.testing.assert_allclose(expected, q, atol=1e-12)


# --- shapes ---


@every_kernel
def test_columns_are_independent(kernel):
    x = stream(15, B, K)
    columns = [[kernel(jax.tree.map(lambda a, b=b, k=k: a[:, b, k], x)) for k in range(K)] for b in range(B)]
    rows = [jax.tree.map(lambda *a: jnp.stack(a, -1), *row) for row in columns]
    close(kernel(x), jax.tree.map(lambda *a: jnp.stack(a, 1), *rows))
    close(jax.vmap(jax.vmap(kernel, 1, 1), 2, 2)(x), kernel(x))


def test_constants_broadcast_over_channels():
    x = stream(16, B, K, ends=False)
    discount, lambda_ = jnp.array([0.9, 0.99, 1.0]), jnp.array([0.0, 0.5, 1.0])
    cut, zeros = stream(16, B)["cut"][..., None], jnp.zeros((T, B, K))
    values = pick(x, "value", "next_value", "reward")
    short = value.gae(**values, discount=discount, lambda_=lambda_, cut=cut)
    full = value.gae(**values, discount=discount + zeros, lambda_=lambda_ + zeros, cut=cut | (zeros > 0))
    close(short, full)


@pytest.mark.parametrize("unroll", [1, 3, 100])
def test_unrolling_changes_nothing(unroll: int):
    x = stream(17, B)
    args = x["value"], x["next_value"], x["reward"], x["discount"], x["ratio"], x["ratio"]
    close(value.off_policy_returns(*args, unroll=unroll), value.off_policy_returns(*args))


@every_kernel
def test_single_step(kernel):
    x = jax.tree.map(lambda a: a[:1], stream(18, B, ends=False))
    one_step = x["reward"] + x["discount"] * x["next_value"]
    if kernel is KERNELS["returns_to_go"]:
        one_step = x["reward"]
    got = kernel(x)
    if kernel is KERNELS["vtrace"]:
        rho = jnp.minimum(1.0, x["ratio"])
        close(got, (rho * (one_step - x["value"]), x["value"] + rho * (one_step - x["value"])))
    elif kernel is KERNELS["gae"]:
        close(got, (one_step - x["value"], one_step))
    else:
        close(got, one_step)


# --- errors ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cut": jnp.zeros((T, B))}, "cut must be boolean"),
        ({"cut": jnp.zeros(T, bool)}, "cut must have rank 2"),
        ({"reward": jnp.zeros((T, B, 1))}, "same shape"),
        ({"discount": jnp.zeros((T, B + 1))}, "discount must be a scalar or broadcast"),
        ({"discount": jnp.zeros(T)}, "discount must be a scalar or broadcast"),
        ({"lambda_": jnp.zeros((1, T, B))}, "lambda_ must be a scalar or broadcast"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, message: str):
    x = stream(19, B) | {"lambda_": jnp.array(0.9)} | change
    with pytest.raises(ValueError, match=message):
        value.gae(**pick(x, "value", "next_value", "reward", "discount", "lambda_", "cut"))


def test_n_must_be_a_positive_integer():
    x = stream(20)
    with pytest.raises(ValueError, match="n must be an integer >= 1; got 0"):
        value.n_step_returns(**pick(x, "next_value", "reward", "discount", "cut"), n=0)
