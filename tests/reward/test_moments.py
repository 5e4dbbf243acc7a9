"""Running moments against NumPy in double precision, over splits, masks, long streams and devices."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.reward import RunningMoments, init_moments, merge_moments, normalise, update_moments


def samples(*shape: int, seed: int = 0) -> np.ndarray:
    """Components of different scale; the second one far from zero."""
    x = np.random.default_rng(seed).normal(size=(*shape, 3))
    return (x * [1.0, 2.0, 1e-3] + [0.5, 1e4, -2.0]).astype(np.float32)


def assert_moments(moments: RunningMoments, x: np.ndarray) -> None:
    x = x.reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(moments.count, len(x))
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.var, x.var(0), rtol=2e-4)


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3], [30], [7, 50, 51]])
def test_any_split_equals_one_pass(cuts):
    x = samples(64, 5)
    moments = init_moments((3,))
    for part in np.split(x, cuts):
        moments = update_moments(moments, jnp.asarray(part))
    assert_moments(moments, x)


def test_merge_equals_one_pass_in_either_order():
    x = samples(40)
    a, b = (update_moments(init_moments((3,)), jnp.asarray(part)) for part in (x[:9], x[9:]))
    assert_moments(merge_moments(a, b), x)
    assert_moments(merge_moments(b, a), x)


def test_merging_nothing_changes_nothing():
    seen = update_moments(init_moments((3,)), jnp.asarray(samples(4)))
    for a, b in ((seen, init_moments((3,))), (init_moments((3,)), seen)):
        jax.tree.map(np.testing.assert_array_equal, merge_moments(a, b), seen)


def test_masked_samples_do_not_count_even_if_not_finite():
    x = samples(6, 4)
    mask = np.random.default_rng(1).random((6, 4)) < 0.5
    spoilt = np.where(mask[..., None], x, np.nan)
    assert_moments(update_moments(init_moments((3,)), jnp.asarray(spoilt), jnp.asarray(mask)), x[mask])


def test_an_empty_batch_changes_nothing():
    seen = update_moments(init_moments((3,)), jnp.asarray(samples(4)))
    after = update_moments(seen, jnp.asarray(samples(2, seed=1)), jnp.zeros(2, bool))
    jax.tree.map(np.testing.assert_array_equal, after, seen)


def test_float32_holds_over_a_billion_samples():
    """10^4 batches of 10^5 samples: means 1 +- 0.5 in turn, variance 4, so the whole has variance 4.25."""
    signs = jnp.tile(jnp.array([0.5, -0.5]), 5_000)

    def add(moments: RunningMoments, sign: jax.Array) -> tuple[RunningMoments, None]:
        return merge_moments(moments, RunningMoments(1 + sign, jnp.array(4.0), jnp.array(1e5))), None

    moments, _ = jax.jit(lambda: jax.lax.scan(add, init_moments(), signs))()
    np.testing.assert_allclose(moments.count, 1e9, rtol=1e-3)  # it is rounded in every merge
    np.testing.assert_allclose(moments.mean, 1.0, atol=1e-4)
    np.testing.assert_allclose(moments.var, 4.25, rtol=1e-4)


def test_a_saturated_count_still_follows_the_stream():
    """2^24 + 1 is not a float32: from there on old samples fade, and a new mean is reached in the end."""
    moments = RunningMoments(jnp.zeros(()), jnp.ones(()), jnp.array(2.0**24))
    one = RunningMoments(jnp.ones(()), jnp.ones(()), jnp.ones(()))
    after, _ = jax.jit(lambda m: jax.lax.scan(lambda m, _: (merge_moments(m, one), None), m, length=100_000))(moments)
    assert after.count == moments.count
    np.testing.assert_allclose(after.mean, 1 - np.exp(-100_000 / 2.0**24), rtol=1e-2)


def test_shards_of_a_mapped_axis_count_as_one_batch():
    x, mask = samples(4, 10), np.random.default_rng(2).random((4, 10)) < 0.7
    seen = update_moments(init_moments((3,)), jnp.asarray(samples(5, seed=3)))

    def update(part, mask):
        return update_moments(seen, part, mask, axis_name="data")

    moments = jax.vmap(update, axis_name="data")(jnp.asarray(x), jnp.asarray(mask))
    everything = np.concatenate([samples(5, seed=3), x[mask]])
    for shard in range(4):
        assert_moments(jax.tree.map(lambda leaf, i=shard: leaf[i], moments), everything)


PROGRAM = """
import jax, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from rlx.reward import init_moments, update_moments

mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
x = np.random.default_rng(0).normal(100.0, 3.0, (8, 16)).astype(np.float32) * np.arange(1, 9)[:, None]
update = lambda part: update_moments(init_moments(), part, axis_name="data")
moments = jax.jit(jax.shard_map(update, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False))(x)
assert len(jax.devices()) == 4
print(float(moments.mean) / x.astype(float).mean(), float(moments.var) / x.astype(float).var(), float(moments.count))
"""


def test_four_devices_equal_one():
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose([float(word) for word in done.stdout.split()], [1, 1, 128], rtol=1e-5)


def test_normalise():
    x = samples(200)
    z = normalise(jnp.asarray(x), update_moments(init_moments((3,)), jnp.asarray(x)))
    wanted = (x.astype(np.float64) - x.mean(0, dtype=np.float64)) / np.sqrt(x.var(0, dtype=np.float64) + 1e-8)
    np.testing.assert_allclose(z, wanted, atol=5e-3)


def test_normalise_before_any_sample_and_of_a_constant():
    x = jnp.array([3.0, -7.0])
    np.testing.assert_allclose(normalise(x, init_moments((2,))), x, rtol=1e-6)
    constant = update_moments(init_moments((2,)), jnp.tile(x, (5, 1)))
    np.testing.assert_array_equal(normalise(x, constant), 0.0)
    np.testing.assert_array_equal(normalise(x + jnp.array([1.0, -1.0]), constant, clip=5.0), [5.0, -5.0])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"batch must be \(3,\)"):
        update_moments(init_moments((3,)), jnp.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"shape of mask must be \(5,\)"):
        update_moments(init_moments((3,)), jnp.zeros((5, 3)), jnp.ones((5, 3), bool))
