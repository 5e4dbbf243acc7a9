"""Preferences lead to the policy that enumeration says they must; offline and online are the same learner."""

from __future__ import annotations

import functools
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx import runtime
from rlx.algos import offline_alignment, online_alignment
from rlx.algos.offline_alignment import LOSSES, SCORED, UNPAIRED, LossName, with_reference
from rlx.envs.token import toy_seq
from rlx.nets.language import GRULM, enumerated_log_prob, init, sample, sft
from rlx.policy import dpo_loss
from rlx.reward import swap_candidates, tilt
from rlx.types import GroupBatch, PreferenceBatch

ENV = toy_seq("tiny", prompts=2)
MODEL = GRULM(8, width=32, depth=1)
KEY = jax.random.key(0)
LAST = dict(sampler="previous", refresh_every=2, refresh_reference=True)
EVERY = ENV.enumerate()
GOLD = ENV.score(ENV.prompts[:, None], EVERY.token, EVERY.mask)


@pytest.fixture(scope="module")
def reference() -> Any:
    draw = functools.partial(ENV.demonstrations, count=128)
    return jax.jit(lambda key: sft(MODEL, init(MODEL, key), key, draw, 150, 1e-2)[0])(KEY)


@jax.jit
def exact(params: Any) -> jax.Array:
    return enumerated_log_prob(MODEL, params, ENV.prompts, ENV.prompts != 0, EVERY)


@functools.partial(jax.jit, static_argnums=1)
def drawn_pairs(reference: Any, count: int) -> PreferenceBatch:
    prompt = jnp.repeat(ENV.prompts, count // 2, axis=0)
    twice = jnp.repeat(prompt, 2, axis=0)
    drawn = sample(MODEL, reference, KEY, twice, twice != 0, 4)
    token, mask = (x.reshape(count, 2, 4) for x in (drawn.token, drawn.mask))
    target = jax.nn.softmax(ENV.score(prompt[:, None], token, mask), axis=1)
    return PreferenceBatch(None, token, mask, target, prompt=prompt)


def pairs(reference: Any, count: int) -> PreferenceBatch:
    """Answers of the reference with the exact probability that each is preferred, by a judge of gold rewards."""
    return with_reference(MODEL, reference, drawn_pairs(reference, count))


def expected_gain(params: Any, reference: Any) -> jax.Array:
    return jnp.mean(jnp.sum((jnp.exp(exact(params)) - jnp.exp(exact(reference))) * GOLD, axis=1))


def divergence(p: jax.Array, q: jax.Array) -> float:
    """Mean over prompts of KL(p || q)."""
    return float(jnp.mean(jnp.sum(jnp.exp(p) * (p - q), axis=-1)))


def test_online_dpo_on_the_reference_reaches_the_tilt(reference):
    """With the exact label of every pair the loss is the population's, whose minimum is the tilted reference."""
    config = online_alignment.Config(beta=0.5, sampler="reference", label="soft", num_prompts=128, learning_rate=1e-2)
    algorithm = online_alignment.make(config, ENV, model=MODEL, reference=reference)
    state, metrics = jax.jit(lambda key: runtime.train(algorithm, key, 300))(KEY)
    target = tilt(exact(reference), GOLD, 0.5)
    assert divergence(target, exact(reference)) > 0.2
    assert divergence(target, exact(state.params)) < 0.01
    assert metrics["accuracy"][-50:].mean() > 0.9


def test_pairs_of_the_data_alone_reach_it_nearly(reference):
    config = offline_alignment.Config(beta=0.5, learning_rate=3e-3)
    algorithm = offline_alignment.make(config, ENV, model=MODEL, reference=reference)
    run = jax.jit(lambda key, data: runtime.train(algorithm, key, 300, data)[0].params)
    target = tilt(exact(reference), GOLD, 0.5)
    assert divergence(target, exact(run(KEY, pairs(reference, 4096)))) < 0.03


def test_offline_is_online_without_refreshing(reference):
    """The same pairs give the same bits."""
    config = online_alignment.Config(sampler="reference", num_prompts=16)
    online = online_alignment.make(config, ENV, model=MODEL, reference=reference)
    offline = offline_alignment.make(offline_alignment.Config(batch_size=None), ENV, model=MODEL, reference=reference)
    collect = jax.jit(online_alignment.collector(config, ENV, ENV.default_params, MODEL))
    live, logged = online.init(KEY), offline.init(KEY)
    for _ in range(4):
        key = jax.random.split(live.key)[1]
        rows = collect(key, live.params, live.previous, live.reference).rows
        live, _ = jax.jit(online.update)(live)
        logged, _ = jax.jit(offline.update)(logged, rows)
    jax.tree.map(np.testing.assert_array_equal, live.params, logged.params)
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (live.params, reference)), strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_pairs_widens_the_margin(loss):
    """A step down raises the likelihood of the preferred one over the other's, in either place.

    It starts where the order is wrong: at the reference itself "discopop" goes the other way.
    """
    rng = np.random.default_rng(0)
    log_prob = jnp.asarray(-1 - 0.1 * rng.random((8, 2, 3)), jnp.float32)
    mask = jnp.broadcast_to(jnp.asarray(np.arange(3) < rng.integers(1, 4, (8, 1, 1))), log_prob.shape)
    first = jnp.asarray(rng.integers(0, 2, 8), jnp.float32)
    target = jnp.stack([first, 1 - first], axis=1)
    base, factor = log_prob + 3 * target[..., None], jnp.zeros((8, 2, 1))
    rows = PreferenceBatch(None, None, mask, target, reference_log_prob=base, factor=factor)
    config = offline_alignment.Config(loss=loss)
    each = LOSSES[loss](log_prob, rows, config)
    assert each.shape == (8,)
    slope = jax.grad(lambda x: LOSSES[loss](x, rows, config).sum())(log_prob).sum(-1)
    assert (jnp.sum((2 * rows.target - 1) * slope, axis=1) < -1e-3).all()


@pytest.mark.parametrize("loss", UNPAIRED)
def test_reactions_to_single_answers_are_enough(reference, loss):
    config = offline_alignment.Config(loss=loss, batch_size=None, learning_rate=1e-2)
    algorithm = offline_alignment.make(config, ENV, model=MODEL, reference=reference)
    data = pairs(reference, 256)
    liked = ENV.score(data.prompt[:, None], data.action, data.mask) > jnp.median(GOLD)  # pyright: ignore[reportOptionalSubscript]
    known = jnp.arange(256)[:, None] + jnp.arange(2) < 200
    data = data._replace(target=jnp.full((256, 2), 0.5), binary=liked.astype(jnp.float32), binary_mask=known)
    state, _ = jax.jit(lambda data: runtime.train(algorithm, KEY, 20, data))(data)
    assert float(expected_gain(state.params, reference)) > 0.05
    unknown_turned = jnp.where(known, liked, ~liked).astype(jnp.float32)
    other = data._replace(binary=unknown_turned)
    again, _ = jax.jit(lambda data: runtime.train(algorithm, KEY, 20, data))(other)
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)


def test_every_loss_has_one_name():
    names = [*LOSSES, *UNPAIRED, *SCORED]
    assert sorted(names) == sorted(get_args(LossName))


@functools.partial(jax.jit, static_argnums=1)
def drawn_groups(reference: Any, count: int) -> GroupBatch:
    """Three answers of the reference to each of `count` prompts, with their gold rewards."""
    prompt = jnp.repeat(ENV.prompts, count // 2, axis=0)
    many = jnp.repeat(prompt, 3, axis=0)
    drawn = sample(MODEL, reference, KEY, many, many != 0, 4)
    token, mask, behaviour = (x.reshape(count, 3, 4) for x in (drawn.token, drawn.mask, drawn.log_prob))
    return GroupBatch(token, mask, ENV.gold_reward(prompt[:, None], token, mask), prompt, behaviour_log_prob=behaviour)


@pytest.mark.parametrize("loss", ["copg", "rebel"])
def test_scores_of_the_data_alone_reach_the_tilt(reference, loss):
    """A square loss whose minimum is the tilt, whatever the answers were sampled from."""
    config = offline_alignment.Config(loss=loss, beta=0.5, learning_rate=3e-3)
    algorithm = offline_alignment.make(config, ENV, model=MODEL, reference=reference)
    data = drawn_groups(reference, 2048)
    data = with_reference(MODEL, reference, data._replace(reward=ENV.default_params.weight * data.reward))
    state, metrics = jax.jit(lambda data: runtime.train(algorithm, KEY, 300, data))(data)
    target = tilt(exact(reference), GOLD, 0.5)
    assert divergence(target, exact(reference)) > 0.2
    assert divergence(target, exact(state.params)) < 0.03
    assert metrics["accuracy"][-50:].mean() > 0.9


def test_losses_of_groups_by_hand():
    rng = np.random.default_rng(0)
    log_prob, base, sampler = (-rng.exponential(1, (4, 2, 3)) for _ in range(3))
    mask, reward, beta, clip = np.ones((4, 2, 3), bool), rng.normal(size=(4, 2, 2)), 0.3, 0.2
    rows = GroupBatch(*(jnp.asarray(x) for x in (np.ones((4, 2, 3), int), mask, reward)))
    rows = rows._replace(behaviour_log_prob=jnp.asarray(sampler), reference_log_prob=jnp.asarray(base))
    config = offline_alignment.Config(beta=beta, clip=clip)
    score, before = (log_prob - base).sum(-1), (sampler - base).sum(-1)
    gain = reward.sum(-1)
    off = (score[:, 0] - score[:, 1]) - (gain[:, 0] - gain[:, 1]) / beta
    priced = gain - beta * before
    advantage, ratio = priced - priced[:, ::-1], np.exp(score - before)
    clipped = -np.minimum(ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage)
    near = np.clip(log_prob - sampler, -clip, clip).sum(-1) + before
    apart = (near[:, 0] - near[:, 1]) - (gain[:, 0] - gain[:, 1]) / beta
    joint = (score - before) @ np.array([1.0, -1.0])
    ahead = advantage[:, 0] / 2
    expected = {
        "copg": beta / 2 * off**2,
        "rebel": beta**2 * off**2,
        "rloo": clipped.mean(1),
        "p3o": clipped.sum(1) / 2,
        "p3o_joint": -np.minimum(ahead * joint, ahead * np.clip(joint, -clip, clip)),
        "prdp": np.maximum(off**2, apart**2),
    }
    assert set(expected) == set(SCORED)
    for name, value in expected.items():
        np.testing.assert_allclose(SCORED[name](jnp.asarray(log_prob), rows, config), value, rtol=2e-5, err_msg=name)


def test_a_judge_of_preferences_that_go_in_circles(reference):
    """Answers of one, two and three tokens beat each other in a circle: a pair's label is its own, not its scores'."""

    def judge(prompt: Any, token: Any, mask: Any) -> Any:
        kind = mask.sum(-1) % 3
        ahead = (kind[:, :, None] - kind[:, None]) % 3
        return jnp.array([0.5, 1.0, 0.0])[ahead]

    shared = dict(num_prompts=32, sampler="reference", label="soft")
    rows = {}
    for score in ("judge", "win_rate"):
        config = online_alignment.Config(num_samples=4, score=score, **shared)  # pyright: ignore[reportArgumentType]
        collect = jax.jit(online_alignment.collector(config, ENV, ENV.default_params, MODEL, judge))
        rows[score] = collect(KEY, reference, None, reference).rows
    token, mask = rows["judge"].action, rows["judge"].mask
    np.testing.assert_array_equal(token, rows["win_rate"].action)
    np.testing.assert_array_equal(rows["judge"].target[:, 0], judge(None, token, mask)[:, 0, 1])
    assert set(np.unique(rows["judge"].target)) == {0.0, 0.5, 1.0}
    assert ((rows["win_rate"].target >= jax.nn.sigmoid(-1.0)) & (rows["win_rate"].target <= jax.nn.sigmoid(1.0))).all()
    assert (rows["win_rate"].target[:, 0] >= 0.5).all()  # the best of the group comes first


def test_order_of_candidates_changes_nothing(reference):
    config = offline_alignment.Config(batch_size=None)
    algorithm = offline_alignment.make(config, ENV, model=MODEL, reference=reference)
    data, update = pairs(reference, 64), jax.jit(algorithm.update)
    one, two = (update(algorithm.init(KEY), x)[0].params for x in (data, swap_candidates(data)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, two)


def test_a_loss_of_the_readers_own(reference):
    data = pairs(reference, 64)

    def own(log_prob: Any, rows: PreferenceBatch, config: Any) -> Any:
        return dpo_loss(log_prob, rows.mask, rows.target[:, 0], rows.reference_log_prob, beta=config.beta)

    config = offline_alignment.Config(batch_size=None, beta=0.3)
    made = [offline_alignment.make(config, ENV, model=MODEL, reference=reference, loss=x) for x in (own, None)]
    one, two = (jax.jit(x.update)(x.init(KEY), data)[0].params for x in made)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), one, two)


def test_beta_and_seeds_are_one_program(reference):
    data, betas = pairs(reference, 64), [0.1, 0.5, 1.0]
    make = functools.partial(offline_alignment.make, env=ENV, model=MODEL, reference=reference)
    config = offline_alignment.Config(batch_size=16)
    swept = runtime.sweep(make, config, total_steps=6, seeds=2, over={"beta": betas}, data=data, progress=False)
    alone = runtime.fit(
        make(offline_alignment.Config(batch_size=16, beta=0.5)), total_steps=6, seed=1, data=data, progress=False
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[3], y, atol=1e-4), swept.state.params, alone.state.params)


def test_a_run_that_was_cut_goes_on(reference, tmp_path):
    config = online_alignment.Config(
        num_prompts=4, sampler="previous+current", refresh_every=3, refresh_reference=True, loss="sppo"
    )
    algorithm = online_alignment.make(config, ENV, model=MODEL, reference=reference)
    steps = algorithm.steps_per_update
    options = dict(env=ENV, eval_episodes=8, log_every=2 * steps, checkpoint_every=2 * steps, progress=False)
    whole = runtime.fit(algorithm, total_steps=8 * steps, out=tmp_path / "whole", **options)
    runtime.fit(algorithm, total_steps=4 * steps, out=tmp_path / "cut", **options)
    cut = runtime.fit(algorithm, total_steps=8 * steps, out=tmp_path / "cut", **options)
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, cut.state.params)
    jax.tree.map(np.testing.assert_array_equal, whole.state.previous, cut.state.previous)


@pytest.mark.parametrize(
    "settings",
    [
        dict(sampler="mixture", label="hard"),
        dict(sampler="reference+current", optimism=0.01),
        dict(num_samples=4, label="hard", missing_end_penalty=1.0),
        dict(loss="ipo", reference_weight=0.1, **LAST),
        dict(num_steps=2, length_bias=0.1, temperature=0.7),
        dict(loss="kto"),
        dict(num_samples=4, label="soft", score="win_rate", **LAST),
        dict(loss="rebel", num_samples=4, **LAST),
        dict(loss="rloo", num_samples=4, num_steps=2),
        dict(loss="p3o", num_steps=2),
        dict(loss="prdp", num_steps=2, num_samples=3),
    ],
    ids=["mixture", "optimism", "best_worst", "inpo", "biased", "kto", "dno", "rebel", "rloo", "p3o", "prdp"],
)
def test_online_settings_raise_the_reward(reference, settings):
    config = online_alignment.Config(num_prompts=64, learning_rate=1e-2, **settings)
    algorithm = online_alignment.make(config, ENV, model=MODEL, reference=reference)
    state, _ = jax.jit(lambda key: runtime.train(algorithm, key, 30))(KEY)
    assert float(expected_gain(state.params, reference)) > 0.02


def test_a_judge_that_was_learned_from_pairs_is_as_good_a_guide(reference):
    judge, losses = online_alignment.fit_judge(
        MODEL, drawn_pairs(reference, 1024), KEY, num_steps=150, learning_rate=3e-3
    )
    assert losses[-20:].mean() < losses[:20].mean() - 0.02
    every = [jnp.broadcast_to(x, (len(ENV.prompts), *x.shape)) for x in (EVERY.token, EVERY.mask)]
    score = jax.jit(judge)(ENV.prompts, *every)
    weight = jnp.exp(exact(reference))
    centred = [x - jnp.sum(weight * x, 1, keepdims=True) for x in (score, GOLD)]
    spread = [jnp.sqrt(jnp.sum(weight * jnp.square(x), 1)) for x in centred]
    assert (jnp.sum(weight * centred[0] * centred[1], 1) / spread[0] / spread[1]).min() > 0.8
    config = online_alignment.Config(num_prompts=64, learning_rate=1e-2, label="soft")
    algorithm = online_alignment.make(config, ENV, model=MODEL, reference=reference, judge=judge)
    state, _ = jax.jit(lambda key: runtime.train(algorithm, key, 30))(KEY)
    assert float(expected_gain(state.params, reference)) > 0.05


def test_optimism_lowers_the_likelihood_of_the_reference_answers(reference):
    def after(optimism: float) -> float:
        config = online_alignment.Config(
            num_prompts=64, sampler="reference+current", optimism=optimism, learning_rate=3e-3
        )
        algorithm = online_alignment.make(config, ENV, model=MODEL, reference=reference)
        state, _ = jax.jit(lambda key: runtime.train(algorithm, key, 10))(KEY)
        return float(jnp.sum(jnp.exp(exact(reference)) * exact(state.params)))

    assert after(0.3) < after(0.0) - 0.1


def test_the_reference_is_made_where_none_is_given():
    config = online_alignment.Config(num_prompts=4, width=8, depth=1, reference_steps=60, reference_batch=32)
    algorithm = online_alignment.make(config, ENV)
    first, second = (jax.jit(algorithm.init)(jax.random.key(seed)) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    played = runtime.evaluate(algorithm.policy(first), ENV, KEY, 64, greedy=False)
    assert bool(played.finished.all())


def test_refusals(reference):
    data = pairs(reference, 8)
    make = functools.partial(offline_alignment.make, env=ENV, model=MODEL, reference=reference)
    algorithm = make(offline_alignment.Config(batch_size=None))
    state = algorithm.init(KEY)
    with pytest.raises(ValueError, match="data must be a PreferenceBatch"):
        algorithm.update(state)
    with pytest.raises(ValueError, match=r"data\.reference_log_prob must be given for loss 'dpo'"):
        algorithm.update(state, data._replace(reference_log_prob=None))
    groups, scored = drawn_groups(reference, 4), make(offline_alignment.Config(batch_size=None, loss="prdp"))
    with pytest.raises(ValueError, match="data must be a PreferenceBatch for 'dpo'; got 'GroupBatch'"):
        algorithm.update(state, groups)
    with pytest.raises(ValueError, match="data must be a GroupBatch for 'prdp'; got 'PreferenceBatch'"):
        scored.update(state, data)
    with pytest.raises(ValueError, match=r"data\.behaviour_log_prob must be given for loss 'prdp'"):
        scored.update(state, with_reference(MODEL, reference, groups)._replace(behaviour_log_prob=None))
    with pytest.raises(ValueError, match=r"data\.factor must be the rewards"):
        make(offline_alignment.Config(batch_size=None, loss="modpo")).update(state, data)
    with pytest.raises(ValueError, match=r"data\.action must be token ids"):
        algorithm.update(state, data._replace(action=None))
    with pytest.raises(ValueError, match="loss must be one of"):
        offline_alignment.Config(loss="dpoo")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"model\.vocabulary must be the environment's, 8"):
        offline_alignment.make(offline_alignment.Config(), ENV, model=GRULM(9), reference=reference)
    for settings, message in (
        (dict(sampler="someone"), "sampler must be one of"),
        (dict(sampler="reference+current", num_samples=3), "the number of samplers must divide num_samples"),
        (dict(loss="p3o", num_samples=4), "num_samples must be 2 with loss 'p3o'"),
        (dict(optimism=0.1), "sampler must be 'reference' or 'previous' first"),
        (dict(refresh_reference=True), "refresh_every"),
    ):
        with pytest.raises(ValueError, match=message):
            online_alignment.Config(**settings)  # pyright: ignore[reportArgumentType]
