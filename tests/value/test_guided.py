"""Guided decoding: closed forms, the Lagrangian by SciPy, exact tables, and searches against exhaustive ones."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from rlx import reward, value


def test_it_maximises_the_value_less_the_divergences():
    """The pooled form is what SciPy finds for `E_pi q - sum_k l_k KL(pi || pi_k)`."""
    rng = np.random.default_rng(0)
    base, q, multiplier = rng.dirichlet(np.ones(5), 3), rng.normal(size=5), np.array([0.3, 0.5, 0.1])

    def objective(free):
        p = scipy.special.softmax(np.append(free, 0.0))
        return -(p @ q - np.sum(multiplier[:, None] * p * np.log(p / base)))

    found = scipy.optimize.minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-10})
    total = multiplier.sum()
    with jax.enable_x64(True):
        got = value.value_guided_logits(jnp.log(base), jnp.asarray(q), 1 / total, jnp.asarray(multiplier / total))
    np.testing.assert_allclose(jnp.exp(got), scipy.special.softmax(np.append(found.x, 0.0)), atol=1e-6)


def test_one_base_is_the_soft_optimal_policy_and_the_tilt():
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        log_base = jnp.asarray(np.log(rng.dirichlet(np.ones(6), 4)))
        q = jnp.asarray(rng.normal(size=(4, 6)))
        got = value.value_guided_logits(log_base, q, 1 / 0.3)
        np.testing.assert_allclose(got, reward.tilt(log_base, q, 0.3), rtol=1e-6)
        np.testing.assert_allclose(got, log_base + (q - value.soft_value(q, log_base, 0.3)[:, None]) / 0.3, rtol=1e-6)
        np.testing.assert_allclose(value.value_guided_logits(log_base, q, 0.0), log_base, rtol=1e-6)
        constant = value.value_guided_logits(log_base, q - 7.0, 1 / 0.3)  # centred values, or advantages
        np.testing.assert_allclose(constant, got, rtol=1e-6)
        pool = jnp.stack([log_base, log_base], 1)
        np.testing.assert_allclose(value.value_guided_logits(pool, q, 1 / 0.3, jnp.array([0.4, 0.6])), got, rtol=1e-6)


def test_an_inverse_temperature_for_each_state():
    rng = np.random.default_rng(2)
    logits, q, beta = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((3, 4), (3, 4), (3,)))
    beta = jnp.abs(beta)
    got = value.value_guided_logits(logits, q, beta)
    for i in range(3):
        np.testing.assert_allclose(got[i], value.value_guided_logits(logits[i], q[i], beta[i]), rtol=1e-5)


def test_only_the_top_of_the_base_is_kept():
    logits = jnp.array([[0.0, 2.0, 1.0, 1.0, -1.0]])
    q = jnp.array([[9.0, 0.0, 1.0, 5.0, 9.0]])
    got = np.exp(value.value_guided_logits(logits, q, 0.7, top_k=2))[0]
    wanted = np.exp([2.0, 1.7])  # the first of the two that tie
    np.testing.assert_allclose(got, [0, wanted[0] / wanted.sum(), wanted[1] / wanted.sum(), 0, 0], rtol=1e-6)
    everything = value.value_guided_logits(logits, q, 0.7, top_k=5)
    np.testing.assert_allclose(everything, value.value_guided_logits(logits, q, 0.7), rtol=1e-6)


def test_a_base_without_weight_has_no_say():
    logits = jnp.array([[0.0, 1.0, 2.0], [-jnp.inf, 0.0, 5.0]])
    got = value.value_guided_logits(logits, jnp.zeros(3), 1.0, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(got, jax.nn.log_softmax(logits[0]), rtol=1e-6)
    assert value.value_guided_logits(logits, jnp.zeros(3), 1.0, jnp.array([0.5, 0.5]))[0] == -jnp.inf


def bigrams(seed: int = 0, tokens: int = 4, length: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A process whose states are (place, last token), a base policy in it, and a reward for each 3 followed by 1."""
    rng = np.random.default_rng(seed)
    states = length * tokens + 1
    transition, paid = np.zeros((states, tokens, states)), np.zeros((states, tokens))
    for place, last, token in itertools.product(range(length), range(tokens), range(tokens)):
        after = states - 1 if place == length - 1 else (place + 1) * tokens + token
        transition[place * tokens + last, token, after] = 1.0
        paid[place * tokens + last, token] = float(place > 0 and last == 3 and token == 1)
    transition[-1, :, -1] = 1.0
    base = np.tile(rng.dirichlet(np.ones(tokens), tokens), (length, 1))
    return transition, paid, np.concatenate([base, np.full((1, tokens), 1 / tokens)])


def test_values_of_the_base_improve_it_and_fall_short_of_the_soft_optimum():
    """With all tokens kept the return rises with the inverse temperature; a cut of the best token may undo that."""
    transition, paid, base = bigrams()
    discount = np.ones(paid.shape)
    discount[-1] = 0.0
    _, q = value.policy_evaluation(transition, paid, discount, base)

    def measure(policy):
        cost = paid - np.sum(policy * (np.log(policy + 1e-300) - np.log(base)), -1, keepdims=True) * discount
        got = value.policy_evaluation(transition, paid, discount, policy)[0][0]
        return got, got - value.policy_evaluation(transition, cost, discount, policy)[0][0]

    def guided(beta, **options):
        with jax.enable_x64(True):
            return np.exp(value.value_guided_logits(jnp.log(base), jnp.asarray(q), beta, **options))

    fronts = [measure(guided(beta)) for beta in (0.0, 0.5, 1.0, 2.0, 4.0, 50.0)]
    rewards, divergences = np.transpose(fronts)
    assert divergences[0] == pytest.approx(0, abs=1e-12)
    assert np.all(np.diff(rewards) > 0)
    for temperature in (0.25, 1.0):
        v, soft = value.soft_value_iteration(transition, paid, discount, temperature, np.log(base))
        best = measure(base * np.exp((soft - v[:, None]) / temperature))
        assert best[0] - temperature * best[1] == pytest.approx(v[0])
        for got, nats in fronts:
            assert got - temperature * nats < v[0] + 1e-9
    greedy = np.eye(4)[np.argmax(q, -1)]
    assert measure(guided(1e6))[0] == pytest.approx(value.policy_evaluation(transition, paid, discount, greedy)[0][0])
    assert measure(guided(50.0, top_k=1))[0] < rewards[0]  # the base's likeliest token alone


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_conservative_penalty_alone_gives_a_sharpened_clone(temperature: float):
    """It ends at `Q / temperature = log pi_b + c`, so that decoding with it gives `pi_b^(1 + beta temperature)`."""
    with jax.enable_x64(True):
        behaviour = jnp.asarray(np.random.default_rng(7).dirichlet(np.ones(4)))

        def loss(q):
            return behaviour @ value.cql_penalty(jnp.stack([q] * 4), q, temperature)

        q = jax.lax.fori_loop(0, 5000, lambda _, q: q - temperature * jax.grad(loss)(q), jnp.zeros(4))
        log_base = jnp.log(behaviour)
        np.testing.assert_allclose(jax.nn.log_softmax(q / temperature), log_base, atol=1e-8)
        decoded = value.value_guided_logits(log_base, q, 3.0)
        np.testing.assert_allclose(decoded, jax.nn.log_softmax((1 + 3.0 * temperature) * log_base), atol=1e-7)


# --- Search ---


def table_model(seed: int, places: int = 4, tokens: int = 4):
    logits = np.random.default_rng(seed).normal(size=(places, tokens, tokens))
    log_prob = jax.nn.log_softmax(jnp.asarray(logits))

    def model(token, time):
        return log_prob[time, jnp.where(time == 0, 0, token[:, time - 1])]

    return model, np.asarray(log_prob)


def every_answer(log_prob: np.ndarray, end: int | None) -> dict[tuple[int, ...], float]:
    """Log-probabilities of all answers, padded with 0."""
    places, tokens, _ = log_prob.shape
    found = {}
    for answer in itertools.product(range(tokens), repeat=places):
        total, last, kept = 0.0, 0, []
        for place, token in enumerate(answer):
            total += log_prob[place, last, token]
            kept.append(token)
            last = token
            if token == end:
                break
        found[(*kept, *[0] * (places - len(kept)))] = total
    return found


def worth(token):
    return jnp.sum((token == 2) * jnp.array([1.0, -2.0, 3.0, 0.5]), -1) - 2.0 * jnp.any(token == 1, -1)


@pytest.mark.parametrize("end", [None, 3])
@pytest.mark.parametrize("lookahead", [0, 1, None])
def test_a_beam_that_holds_everything_is_exhaustive(end: int | None, lookahead: int | None):
    model, log_prob = table_model(3)
    every = every_answer(log_prob, end)
    answers = np.array(list(every))
    score = np.array(list(every.values())) + 1.5 * np.asarray(worth(jnp.asarray(answers)))
    order = np.argsort(-score)
    got = value.lookahead_search(model, worth, 1.5, length=4, beam=256, top_k=4, lookahead=lookahead, end=end)
    np.testing.assert_allclose(got.score[: len(order)], score[order], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got.token[:20], answers[order[:20]])
    np.testing.assert_allclose(got.log_prob[:20], [every[tuple(a)] for a in answers[order[:20]]], rtol=1e-5)
    assert np.all(np.isneginf(got.score[len(order) :]))


def loop_search(log_prob, heuristic, weight, beam, top_k, lookahead, end):
    """The same with lists, one hypothesis at a time."""
    places = len(log_prob)

    def greedy(answer, count):
        answer = list(answer)
        while count > 0 and len(answer) < places and end not in answer:
            answer.append(int(np.argmax(log_prob[len(answer), answer[-1] if answer else 0])))
            count -= 1
        return answer

    hypotheses = [((), 0.0, 0.0)]
    for place in range(places):
        candidates = []
        for answer, total, _ in hypotheses:
            if end in answer:
                options = [(answer, total)]
            else:
                row = log_prob[place, answer[-1] if answer else 0]
                options = [((*answer, int(a)), total + row[a]) for a in np.argsort(-row)[:top_k]]
            for longer, sum_ in options:
                seen = greedy(longer, places if lookahead is None else lookahead)
                padded = jnp.array([seen + [0] * (places - len(seen))])
                candidates.append((longer, sum_, sum_ + weight * float(heuristic(padded)[0])))
        hypotheses = sorted(candidates, key=lambda c: -c[2])[:beam]
    return hypotheses


@pytest.mark.parametrize(("weight", "lookahead"), [(0.0, 0), (1.0, 0), (1.0, 1), (1.0, None)])
def test_it_equals_a_loop_over_hypotheses(weight: float, lookahead: int | None):
    """Without a heuristic that loop is beam search."""
    for seed in range(3):
        model, log_prob = table_model(10 + seed, 5)
        got = value.lookahead_search(model, heavy, weight, length=5, beam=3, top_k=2, lookahead=lookahead, end=3)
        wanted = loop_search(log_prob, heavy, weight, 3, 2, lookahead, 3)
        for i, (answer, total, score) in enumerate(wanted):
            np.testing.assert_array_equal(got.token[i], [*answer, *[0] * (5 - len(answer))])
            np.testing.assert_allclose([got.log_prob[i], got.score[i]], [total, score], rtol=1e-5, atol=1e-5)


def heavy(token):
    return token @ jnp.array([0.3, -0.2, 0.4, 0.1, 0.9])


def test_what_pays_at_the_end_needs_the_look_ahead():
    """A first token 1, unlikely, makes the last a 1, which alone pays; the one-step heuristic drops it at once."""
    first, rest = np.log([0.9, 0.1]), np.log(np.array([[0.999, 0.001], [0.001, 0.999]]))

    def model(token, time):
        return jnp.where(time == 0, jnp.asarray(first), jnp.asarray(rest)[token[:, time - 1]])

    def last(token):
        return (token[:, -1] == 1).astype(jnp.float32)

    options = dict(length=6, beam=1, top_k=2)
    assert value.lookahead_search(model, last, 5.0, lookahead=0, **options).token[0].sum() == 0
    assert value.lookahead_search(model, last, 5.0, **options).token[0].tolist() == [1] * 6


def test_what_the_heuristic_forbids_is_not_found():
    model, log_prob = table_model(4)

    def no_twos(token):
        return jnp.where(jnp.any(token == 2, -1), -jnp.inf, 0.0)

    got = value.lookahead_search(model, no_twos, 0.0, length=4, beam=6, top_k=4, lookahead=0)
    allowed = {answer: p for answer, p in every_answer(log_prob, None).items() if 2 not in answer}
    assert not np.any(np.asarray(got.token) == 2)
    assert float(got.score[0]) <= max(allowed.values()) + 1e-6
    never = value.lookahead_search(model, lambda token: jnp.full(len(token), -jnp.inf), 1.0, length=4, beam=2, top_k=4)
    assert np.all(np.isneginf(never.score))
    assert np.all(np.isneginf(never.log_prob))


def test_errors_name_the_argument():
    x = jnp.zeros((3, 4))
    with pytest.raises(ValueError, match="inverse_temperature"):
        value.value_guided_logits(x, x, -1.0)
    with pytest.raises(ValueError, match="q "):
        value.value_guided_logits(x, x[:, 0], 1.0)
    with pytest.raises(ValueError, match="top_k"):
        value.value_guided_logits(x, x, 1.0, top_k=5)
    with pytest.raises(ValueError, match="shape of weights"):
        value.value_guided_logits(x, x[0], 1.0, jnp.ones(4))
    with pytest.raises(ValueError, match="weights must be"):
        value.value_guided_logits(x, x[0], 1.0, jnp.array([1.0, -1.0, 1.0]))
    model, _ = table_model(0)
    for name, wrong in (("beam", 0), ("top_k", 9), ("length", 0), ("lookahead", -1), ("end", 0)):
        options = {"length": 4, "beam": 1, "top_k": 2, name: wrong}
        with pytest.raises(ValueError, match=name):
            value.lookahead_search(model, worth, 1.0, **options)
