"""Sampling, scoring and enumerating say the same of a model, wherever the padding is."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs.token import toy_seq
from rlx.nets.language import (
    GRULM,
    TransformerLM,
    completion_log_prob,
    completion_logits,
    enumerated_log_prob,
    init,
    sample,
    sft,
    with_heads,
)

ENV = toy_seq("tiny")
KEY = jax.random.key(0)
MODELS = [TransformerLM(8, width=16, depth=2), GRULM(8, width=16, depth=2)]
log_prob_of = jax.jit(completion_log_prob, static_argnums=0)
PROMPT = jnp.repeat(ENV.prompts, 16, axis=0)


@pytest.fixture(params=MODELS, ids=["transformer", "gru"])
def model(request):
    return request.param


def scaled(params):
    """Parameters whose outputs are far from uniform, and none of which is zero."""
    return jax.tree.map(lambda x: 2 * x + 0.1 * jax.random.normal(KEY, x.shape), params)


@functools.cache
def started(model, condition=0):
    return jax.jit(lambda: scaled(init(model, KEY, condition=condition)))()


def test_sampling_is_scored_as_it_was_drawn(model):
    params = started(model)
    drawn = jax.jit(lambda: sample(model, params, KEY, PROMPT, PROMPT != 0, 4))()
    scored = log_prob_of(model, params, PROMPT, PROMPT != 0, drawn.token, drawn.mask)
    np.testing.assert_allclose(drawn.log_prob, scored, atol=1e-5)
    ended = np.asarray(drawn.token == 1)
    assert ended.any()
    np.testing.assert_array_equal(drawn.mask, np.cumsum(np.cumsum(ended, 1), 1) <= 1)
    assert not np.asarray(drawn.token)[~np.asarray(drawn.mask)].any()
    assert np.asarray(drawn.token)[np.asarray(drawn.mask)].min() >= 1


def test_what_is_drawn_has_the_enumerated_probability(model):
    params, every = started(model), ENV.enumerate()
    exact = jax.jit(lambda: enumerated_log_prob(model, params, ENV.prompts, ENV.prompts != 0, every))()
    np.testing.assert_allclose(jnp.exp(exact).sum(axis=1), 1, atol=1e-5)
    some = jnp.arange(0, 1555, 97)
    scored = log_prob_of(
        model,
        params,
        ENV.prompts,
        ENV.prompts != 0,
        jnp.stack([every.token[some]] * 8),
        jnp.stack([every.mask[some]] * 8),
    )
    np.testing.assert_allclose(exact[:, some], scored.sum(axis=-1), atol=2e-5)

    prompt = jnp.repeat(ENV.prompts[:1], 20_000, axis=0)
    drawn = sample(model, params, KEY, prompt, prompt != 0, 4)
    place = jnp.array([512, 64, 8, 1])
    code = np.asarray(every.token @ place)
    count = np.bincount(np.asarray(drawn.token @ place), minlength=4096)[code]
    likely = np.argsort(np.asarray(exact[0]))[-20:]
    probability = np.exp(np.asarray(exact[0]))[likely]
    error = np.abs(count[likely] / 20_000 - probability) / np.sqrt(probability * (1 - probability) / 20_000)
    assert error.max() < 4
    assert count.sum() == 20_000


def test_padding_changes_nothing(model):
    params = started(model)
    prompt = jnp.array([[5, 3, 2]])
    padded = jnp.array([[0, 0, 7, 5, 3, 2]])
    mask = jnp.array([[False, False, False, True, True, True]])
    token = jnp.array([[4, 1, 6, 6]])
    valid = jnp.array([[True, True, False, False]])
    plain = log_prob_of(model, params, prompt, prompt != 0, token, valid)
    left = log_prob_of(model, params, padded, mask, token.at[:, 2:].set(0), valid)
    np.testing.assert_allclose(plain, left, atol=1e-5)
    assert (plain[:, 2:] == 0).all()


def test_candidates_of_a_prompt_are_scored_as_if_alone(model):
    params = started(model, 3)
    token = jax.random.randint(KEY, (8, 2, 4), 1, 8)
    mask = jnp.ones(token.shape, bool)
    told = jax.random.normal(KEY, (8, 2, 3))
    given = functools.partial(completion_log_prob, model, params, ENV.prompts, ENV.prompts != 0)
    both = given(token, mask, told)
    np.testing.assert_allclose(both[:, 1], given(token[:, 1], mask[:, 1], told[:, 1]), atol=1e-5)
    same = given(token, mask, told[:, 0])
    np.testing.assert_allclose(same[:, 0], both[:, 0], atol=1e-5)
    assert np.abs(same[:, 1] - both[:, 1]).max() > 1e-2


def test_mixtures_multiply_probabilities(model):
    one, other = (scaled(init(model, key)) for key in jax.random.split(KEY))
    stack = jax.tree.map(lambda *x: jnp.stack(x), one, other)
    mix = jnp.array([0.3, 0.7])
    drawn = sample(model, stack, KEY, PROMPT, PROMPT != 0, 4, mix=mix, temperature=0.5)
    logits = [completion_logits(model, p, PROMPT, PROMPT != 0, drawn.token, drawn.mask) for p in (one, other)]
    log_prob = jax.nn.log_softmax((0.3 * logits[0] + 0.7 * logits[1])[..., 1:] / 0.5)
    chosen = jnp.take_along_axis(log_prob, jnp.maximum(drawn.token - 1, 0)[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(drawn.log_prob, jnp.where(drawn.mask, chosen, 0), atol=5e-5)


@pytest.mark.parametrize("kind", [TransformerLM, GRULM])
def test_one_weight_alone_is_that_head(kind):
    model = kind(8, width=16, depth=1, heads=2)
    params = started(model)
    drawn = sample(model, params, KEY, PROMPT, PROMPT != 0, 4, mix=jnp.array([0.0, 1.0]))
    logits = completion_logits(model, params, PROMPT, PROMPT != 0, drawn.token, drawn.mask)
    assert logits.shape == (*drawn.token.shape, 2, 8)
    log_prob = jax.nn.log_softmax(logits[..., 1, :])
    chosen = jnp.take_along_axis(log_prob, drawn.token[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(drawn.log_prob, jnp.where(drawn.mask, chosen, 0), atol=1e-5)
    with pytest.raises(ValueError, match="mix must be the weights of the model's 2 heads"):
        sample(model, params, KEY, PROMPT, PROMPT != 0, 4)


def test_more_heads_begin_as_copies():
    model = GRULM(8, width=16, depth=1)
    params = started(model)
    several = with_heads(params, 3, KEY, scale=0.0)
    every = ENV.enumerate()
    exact = functools.partial(enumerated_log_prob, prompt=ENV.prompts, prompt_mask=ENV.prompts != 0, completions=every)
    mixed = exact(model.clone(heads=3), several, mix=jnp.array([0.5, 0.2, 0.3]))
    np.testing.assert_allclose(mixed, exact(model, params), atol=1e-4)
    noisy = with_heads(params, 3, KEY)
    assert not np.array_equal(noisy["params"]["output"]["kernel"], several["params"]["output"]["kernel"])


def test_a_condition_begins_in_vain(model):
    params = jax.jit(lambda: init(model, KEY, condition=2))()
    told = (jnp.ones((8, 2)), None)
    token = jax.random.randint(KEY, (8, 4), 1, 8)
    one, other = (completion_logits(model, params, ENV.prompts, ENV.prompts != 0, token, token > 0, x) for x in told)
    np.testing.assert_array_equal(one, other)


def test_imitation_learns_the_demonstrations():
    """A single prompt, whose demonstrations have known frequencies: the loss falls to about their entropy."""
    env = toy_seq("tiny", prompts=1)
    model = GRULM(8, width=32, depth=1)
    params, loss = jax.jit(
        lambda key: sft(model, init(model, key), key, functools.partial(env.demonstrations, count=128), 300, 1e-2)
    )(KEY)
    every = env.enumerate()
    log_prob = enumerated_log_prob(model, params, env.prompts, env.prompts != 0, every)[0]
    shown = env.demonstrations(jax.random.key(1), 20_000)
    place = jnp.array([512, 64, 8, 1])
    frequency = np.bincount(np.asarray(shown.token @ place), minlength=4096)[np.asarray(every.token @ place)] / 20_000
    used = frequency > 0
    divergence = np.sum(frequency[used] * (np.log(frequency[used]) - np.asarray(log_prob)[used]))
    assert divergence < 0.25
    assert loss[-10:].mean() < loss[0] - 0.5
