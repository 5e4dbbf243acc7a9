"""Alignment with several objectives: a direction that the policy is told, and heads that are mixed as it answers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import runtime
from rlx.algos import directional_alignment, offline_alignment, online_alignment
from rlx.algos.directional_alignment import arc, orthant
from rlx.envs.token import toy_seq
from rlx.nets.language import GRULM, completion_logits, enumerated_log_prob, init, sample, sft, with_heads
from rlx.policy import multi_head_dpo_loss, token_log_prob
from rlx.types import PreferenceBatch

ENV = toy_seq("tiny", prompts=2)
MODEL, TWO = GRULM(8, width=32, depth=1), GRULM(8, width=32, depth=1, heads=2)
KEY = jax.random.key(0)
EVERY = ENV.enumerate()
REWARD = ENV.gold_reward(ENV.prompts[:, None], EVERY.token, EVERY.mask)  # [X, N, 3]


@jax.jit
def style_and_length(params, direction):
    """Exact expected style and length (over T) of a policy under a direction."""
    told = jnp.broadcast_to(direction, (2, 2))
    log_prob = enumerated_log_prob(MODEL, params, ENV.prompts, ENV.prompts != 0, EVERY, condition=told)
    style, brief = jnp.mean(jnp.sum(jnp.exp(log_prob)[..., None] * REWARD, axis=1), axis=0)[1:]
    return jnp.stack([style, -brief])


def test_one_policy_follows_every_direction():
    """Style against brevity: the two disagree, for an empty answer has no style."""
    config = directional_alignment.Config(
        width=32, depth=1, reference_steps=150, num_samples=8, learning_rate=1e-2, calibration=256
    )
    algorithm = directional_alignment.make(
        config, ENV, directions=arc(0.0, 90.0), rewards=lambda *answers: ENV.gold_reward(*answers)[..., 1:]
    )
    state, metrics = jax.jit(lambda key: runtime.train(algorithm, key, 80))(KEY)
    style, length = np.stack(
        [style_and_length(state.params, jnp.array([np.cos(a), np.sin(a)])) for a in np.deg2rad([0, 45, 90])], axis=1
    )
    assert style[0] > 0.95
    assert length[2] < 0.3
    assert (np.diff(style) < 1e-2).all()
    assert (np.diff(length) < 1e-2).all()
    assert metrics["reward"].shape == (80, 2)
    assert (metrics["along/best"] >= metrics["along"] - 1e-6).all()
    mean, deviation = state.moments
    assert abs(float(mean[1]) + 0.7) < 0.1
    assert (deviation > 0.1).all()


def test_directions_are_unit_vectors_where_they_should_be():
    keys = jax.random.split(KEY, 500)
    for draw, size in ((arc(-45.0, 0.0), 2), (orthant(3), 3)):
        drawn = jax.vmap(draw)(keys)
        assert drawn.shape == (500, size)
        np.testing.assert_allclose(jnp.linalg.norm(drawn, axis=1), 1, rtol=1e-5)
    angle = jnp.rad2deg(jnp.arctan2(*jax.vmap(arc(-45.0, 0.0))(keys).T[::-1]))
    assert angle.min() >= -45
    assert angle.max() <= 0
    assert angle.std() == pytest.approx(45 / 12**0.5, rel=0.1)
    assert (jax.vmap(orthant(3))(keys) >= 0).all()


def test_a_cut_run_goes_on(tmp_path):
    config = directional_alignment.Config(
        num_prompts=4, num_samples=2, width=8, depth=1, reference_steps=5, reference_batch=8, calibration=8
    )
    algorithm = directional_alignment.make(config, ENV)
    steps = algorithm.steps_per_update
    options = dict(env=ENV, eval_episodes=4, log_every=steps, checkpoint_every=steps, progress=False)
    whole = runtime.fit(algorithm, total_steps=4 * steps, **options)
    runtime.fit(algorithm, total_steps=2 * steps, out=tmp_path, **options)
    cut = runtime.fit(algorithm, total_steps=4 * steps, out=tmp_path, **options)
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, cut.state.params)


# --- Heads ---


@pytest.fixture(scope="module")
def reference():
    draw = functools.partial(ENV.demonstrations, count=128)
    return jax.jit(lambda key: sft(MODEL, init(MODEL, key), key, draw, 150, 1e-2)[0])(KEY)


@jax.jit
def judged_pairs(reference):
    """1024 pairs, of which the first quarter was judged by style and the rest by brevity, exactly."""
    prompt = jnp.repeat(ENV.prompts, 512, axis=0)[jax.random.permutation(KEY, 1024)]
    twice = jnp.repeat(prompt, 2, axis=0)
    drawn = sample(MODEL, reference, KEY, twice, twice != 0, 4)
    token, mask = (x.reshape(1024, 2, 4) for x in (drawn.token, drawn.mask))
    objective = (jnp.arange(1024) >= 256).astype(jnp.int32)
    reward = ENV.gold_reward(prompt[:, None], token, mask)[..., 1:]
    score = jnp.take_along_axis(reward, objective[:, None, None], axis=-1)[..., 0]
    return PreferenceBatch(
        None,
        token,
        mask,
        jax.nn.softmax(4 * score, axis=1),
        prompt=prompt,
        prompt_mask=prompt != 0,
        principle=jax.nn.one_hot(objective, 2),
        reference_log_prob=drawn.log_prob.reshape(1024, 2, 4),
    )


def test_heads_learn_their_objectives_and_mix(reference):
    config = offline_alignment.Config(beta=0.5, learning_rate=1e-2)
    start = with_heads(reference, 2, KEY)
    algorithm = offline_alignment.make(config, ENV, model=TWO, reference=start)
    state, _ = jax.jit(lambda data: runtime.train(algorithm, KEY, 150, data))(judged_pairs(reference))

    @jax.jit
    def reached(mix):
        log_prob = enumerated_log_prob(TWO, state.params, ENV.prompts, ENV.prompts != 0, EVERY, mix=mix)
        return jnp.mean(jnp.sum(jnp.exp(log_prob)[..., None] * REWARD, axis=1), axis=0)[1:]

    style, brief = np.stack([reached(jnp.array([1 - w, w])) for w in (0.0, 0.25, 0.5, 0.75, 1.0)], axis=1)
    assert (np.diff(style) < 0).all()
    assert (np.diff(brief) > 0).all()
    assert style[0] - style[-1] > 0.3
    assert brief[-1] - brief[0] > 0.1
    played = runtime.evaluate(algorithm.policy(state), ENV, KEY, 32)
    assert bool(played.finished.all())


def test_rows_train_their_own_head_and_objectives_count_equally(reference):
    """One step against the kernel of the published method; an objective without rows moves nothing of its head."""
    data = jax.tree.map(lambda x: x[128:384], judged_pairs(reference))
    start = with_heads(reference, 2, KEY)
    make = functools.partial(offline_alignment.make, offline_alignment.Config(batch_size=None), ENV)
    algorithm = make(model=TWO, reference=start)
    update = jax.jit(algorithm.update)
    _, metrics = update(algorithm.init(KEY), data)
    logits = completion_logits(TWO, start, data.prompt, data.prompt_mask, data.action, data.mask)
    log_prob = jnp.stack([token_log_prob(logits[..., h, :], data.action, data.mask) for h in (0, 1)])
    objective = jnp.argmax(data.principle, axis=1)
    kernel = multi_head_dpo_loss(log_prob, data.mask, data.target[:, 0], data.reference_log_prob, objective)
    np.testing.assert_allclose(metrics["loss"], kernel.mean(), rtol=1e-5)

    only = jax.tree.map(lambda x: jnp.concatenate([x[128:]] * 2), data)
    state, metrics = update(algorithm.init(KEY), only)
    moved = np.abs(state.params["params"]["output"]["kernel"] - start["params"]["output"]["kernel"]).max(axis=0)
    assert (moved[:8] == 0).all()
    assert moved[8:].max() > 0
    assert np.isfinite(metrics["loss"])


def test_refusals(reference):
    start = with_heads(reference, 2, KEY)
    algorithm = offline_alignment.make(offline_alignment.Config(batch_size=4), ENV, model=TWO, reference=start)
    data = judged_pairs(reference)
    with pytest.raises(ValueError, match=r"data\.principle must say one-hot which of the 2 heads"):
        algorithm.update(algorithm.init(KEY), data._replace(principle=None))
    with pytest.raises(ValueError, match="loss must be one of pairs"):
        offline_alignment.make(offline_alignment.Config(loss="kto"), ENV, model=TWO, reference=start)
    for module in (online_alignment, directional_alignment):
        with pytest.raises(ValueError, match=r"model\.heads must be 1"):
            module.make(module.Config(), ENV, model=TWO, reference=start)
    with pytest.raises(ValueError, match="num_samples"):
        directional_alignment.Config(num_samples=0)
