"""Environments with vector rewards: fronts against known figures."""

import moocore
import numpy as np
import pytest

from rlx.envs import check_env, make

TREASURES = {
    "convex": (0.7, 8.2, 11.5, 14.0, 15.1, 16.1, 19.6, 20.3, 22.4, 23.7),
    "concave": (1, 2, 3, 5, 8, 16, 24, 50, 74, 124),
    "mirrored": (1, 2, 3, 5, 8, 16, 24, 50, 74, 124),
}
STEPS = np.array([1, 3, 5, 7, 8, 9, 13, 14, 17, 19])


@pytest.mark.parametrize("name", ["deep-sea-treasure-convex", "deep-sea-treasure-mirrored"])
def test_interface(name):
    report = check_env(*make(f"rlx/{name}", observation="features"))
    assert report.terminations > 0


@pytest.mark.parametrize("layout", list(TREASURES))
@pytest.mark.parametrize("gamma", [1.0, 0.99])
def test_treasure_front_is_the_ten_treasures_on_shortest_paths(layout, gamma):
    env, _ = make(f"rlx/deep-sea-treasure-{layout}")
    time = STEPS if gamma == 1 else (1 - gamma**STEPS) / (1 - gamma)
    expected = np.stack([TREASURES[layout] * gamma ** (STEPS - 1), -time], axis=1)
    np.testing.assert_allclose(env.pareto_front(gamma), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("layout", "gamma", "volume", "hull"),
    [
        ("convex", 1.0, 994.3, 9),  # 20.3 lies on the line between its neighbours
        ("convex", 0.99, 854.8504, 10),
        ("convex", 0.98, 731.6139, 10),
        ("concave", 1.0, 4255.0, 2),
        ("concave", 0.99, 3688.3771, 2),
        ("mirrored", 0.98, 3175.1971, 2),
    ],
)
def test_treasure_hypervolume_and_hull(layout, gamma, volume, hull):
    env, _ = make(f"rlx/deep-sea-treasure-{layout}")
    front = env.pareto_front(gamma)
    np.testing.assert_allclose(moocore.hypervolume(front, ref=env.reference_point, maximise=True), volume, rtol=1e-7)
    coverage = env.convex_coverage_set(gamma)
    assert len(coverage) == hull
    assert all((np.abs(front - row).max(1) < 1e-9).any() for row in coverage)
