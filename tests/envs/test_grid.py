"""The grid world against a breadth-first search over coordinates that shares no code, and against its exact process."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import GridWorld, check_env, grid
from rlx.envs.grid import parse
from rlx.value.tabular import value_iteration

UP, DOWN, LEFT, RIGHT, STAY = range(5)
SNAKE = """
S.X.#0
.##K#.
..#.DG
0.#..#
"""


def bfs(rows):
    """Fewest steps from S to G, by coordinates, a set of flags and nothing of the library's."""
    cells = {(r, c): ch for r, row in enumerate(rows) for c, ch in enumerate(row)}
    start = next(p for p, ch in cells.items() if ch == "S")
    pairs = {ch: [p for p, c in cells.items() if c == ch] for ch in "0123456789" if ch in cells.values()}
    queue, seen = collections.deque([(start, False, 0)]), {(start, False)}
    while queue:
        (r, c), has_key, steps = queue.popleft()
        if cells[r, c] == "G":
            return steps
        for p in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            ch = cells.get(p, "#")
            if ch == "#" or (ch == "D" and not has_key):
                continue
            if ch in pairs:
                p = next(q for q in pairs[ch] if q != p)
            state = (p, has_key or ch == "K")
            if state not in seen:
                seen.add(state)
                queue.append((*state, steps + 1))
    return np.inf


def draw(layout):
    """Back to characters (teleports apart)."""
    cells = np.full(layout.wall.shape, ".")
    for character, name in zip("#SGXKD", ("wall", "start", "goal", "hazard", "key", "door"), strict=True):
        cells[np.asarray(getattr(layout, name))] = character
    return ["".join(row) for row in cells]


def play(env, actions, params=None):
    """Step through `actions` without reset: rewards, events and the states."""
    params = env.default_params if params is None else params
    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    rewards, events, states = [], [], [state]
    step = jax.jit(env.step_env)
    for action in actions:
        _, state, reward, terminated, info = step(jax.random.key(1), state, action, params)
        rewards.append(np.asarray(reward))
        events.append(env.events[int(info["event"])])
        states.append(state)
    return np.array(rewards), events, states, bool(terminated)


@pytest.mark.parametrize("n", [5, 11, 15])
def test_keydoor_is_solved_in_three_times_n_minus_one_steps(n):
    layout = grid.keydoor(n)
    env = GridWorld(layout)
    np.testing.assert_array_equal(env.steps_to_goal(), [3 * (n - 1)])
    assert bfs(draw(layout)) == 3 * (n - 1)
    middle = n // 2
    solution = (
        [DOWN] * (n - 1) + [RIGHT] * (middle - 1) + [UP] * middle + [RIGHT] * 2 + [UP] * middle + [RIGHT] * (middle - 1)
    )
    assert len(solution) == 3 * (n - 1)
    rewards, events, _, terminated = play(env, solution)
    np.testing.assert_array_equal(rewards, [0.0] * (len(solution) - 1) + [1.0])
    assert terminated
    assert [e for e in events if e != "none"] == ["key", "door", "room 1", "goal"]


@pytest.mark.parametrize(
    "layout",
    [grid.four_rooms(11), grid.four_rooms(5), grid.two_rooms(), grid.corridor(9), grid.open_room(6), grid.hazards(7)],
    ids=["fourrooms11", "fourrooms5", "tworooms", "corridor", "open", "hazards"],
)
def test_shortest_paths_are_those_of_breadth_first_search(layout):
    np.testing.assert_array_equal(GridWorld(layout).steps_to_goal(), [bfs(draw(layout))])


def test_documented_path_lengths():
    assert bfs(draw(grid.four_rooms(11))) == 20
    assert bfs(draw(grid.two_rooms())) == 11
    assert bfs(draw(grid.hazards(7))) == 6
    safe = [row.replace("X", "#") for row in draw(grid.hazards(7))]
    assert bfs(safe) == 18


def test_a_drawn_layout_with_everything_in_it():
    env = GridWorld(parse(SNAKE))
    np.testing.assert_array_equal(env.steps_to_goal(), [bfs(SNAKE.split())])
    unreachable = GridWorld(parse("SD.G"))
    assert np.isinf(unreachable.steps_to_goal()).all()


@pytest.mark.parametrize("gamma", [0.9, 0.99])
def test_optimal_return_is_discounted_once_less_than_the_path_is_long(gamma):
    for layout in (grid.keydoor(7), grid.four_rooms(7, random_start=True), parse(SNAKE)):
        env = GridWorld(layout)
        np.testing.assert_allclose(env.optimal_return(gamma), np.mean(gamma ** (env.steps_to_goal() - 1)), rtol=1e-6)


def test_the_exact_process_predicts_the_environment_step_by_step():
    """Random play: every state that follows has the probability one that `to_mdp` gives it, and the reward."""
    env = GridWorld(parse(SNAKE), costs=True, stay=True)
    P, R, _, _ = env.to_mdp().arrays()
    terminal = env.to_mdp().default_params.terminal
    actions = jax.random.randint(jax.random.key(3), (300,), 0, 5)
    params = env.default_params

    def one_step(carry, action):
        state, key = carry
        key, step_key, reset_key = jax.random.split(key, 3)
        _, after, reward, terminated, _ = env.step_env(step_key, state, action, params)
        record = (env.index(state), env.index(after), reward, terminated)
        _, fresh = env.reset_env(reset_key, params)
        return (jax.tree.map(lambda x, y: jnp.where(terminated, x, y), fresh, after), key), record

    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    _, (s, after, reward, terminated) = jax.lax.scan(one_step, (state, jax.random.key(5)), actions)
    np.testing.assert_array_equal(P[s, actions, after], 1.0)
    np.testing.assert_array_equal(R[s, actions], reward)
    np.testing.assert_array_equal(np.asarray(terminal)[after], terminated)
    assert reward[:, 1].sum() > 0  # met the hazard


def test_slip_mixes_the_chosen_action_with_a_uniform_one():
    """In the middle of a corridor of three up and down stay, and each action comes by slipping with slip / 4."""
    slip = 0.4
    env = GridWorld(grid.corridor(3), slip=slip)
    mdp = env.to_mdp(gamma=1.0)
    P, R, _, _ = mdp.arrays()
    np.testing.assert_allclose(P[1, RIGHT], [slip / 4, slip / 2, 1 - slip + slip / 4], rtol=1e-6)
    np.testing.assert_allclose(R[1], [slip / 4] * 3 + [1 - slip + slip / 4], rtol=1e-6)
    keys = jax.random.split(jax.random.key(0), 4000)
    state = grid.GridState(jnp.int32(1), jnp.bool_(False), jnp.bool_(False), jnp.int32(0))
    _, after, *_ = jax.jit(jax.vmap(env.step_env, (0, None, None, None)))(keys, state, RIGHT, env.default_params)
    share = np.bincount(after.cell, minlength=3) / len(keys)
    np.testing.assert_allclose(share, P[1, RIGHT], atol=0.03)  # 4 standard errors


def test_hazards_cost_and_the_safe_path_does_not():
    env = GridWorld(grid.hazards(5), costs=True)
    assert env.reward_channels == ("reward", "cost")
    straight, _, _, _ = play(env, [RIGHT] * 4)
    np.testing.assert_array_equal(straight.sum(0), [1.0, 3.0])
    around, events, _, _ = play(env, [UP] * 4 + [RIGHT] * 4 + [DOWN] * 4)
    np.testing.assert_array_equal(around.sum(0), [1.0, 0.0])
    assert events[-1] == "goal"
    P, R, discount, _ = env.to_mdp(0.9).arrays()
    frugal, _ = value_iteration(P, R[..., 0] - 10 * R[..., 1], discount)
    start = 4 * 5
    np.testing.assert_allclose(frugal[start], 0.9**11, rtol=1e-6)


def test_events_of_bumps_doors_teleports_and_hazards():
    env = GridWorld(parse("#0S\n0XG"))
    _, events, states, _ = play(env, [RIGHT, LEFT, RIGHT, RIGHT])
    # bump into the border; teleport to (1, 0); hazard at (1, 1); goal
    assert events == ["bump", "teleport", "hazard", "goal"]
    assert [int(s.cell) for s in states] == [2, 2, 3, 4, 5]
    locked = GridWorld(parse("SDG"))
    _, events, _, _ = play(locked, [RIGHT])
    assert events == ["bump"]


def test_observations_say_where_the_agent_is():
    layout = grid.keydoor(5)
    onehot, xy = GridWorld(layout), GridWorld(layout, observation="xy")
    image, patch = GridWorld(layout, observation="image"), GridWorld(layout, observation="patch", view=2)
    actions = [DOWN] * 4 + [RIGHT, UP, UP, RIGHT, RIGHT]
    state = play(onehot, actions)[2][-1]  # on (2, 3), with the key, through the door
    params = onehot.default_params
    look = lambda env: np.asarray(jax.jit(env._observe)(jax.random.key(0), state, params))  # noqa: E731
    np.testing.assert_array_equal(look(onehot), np.r_[np.eye(25)[13], 1, 1])
    np.testing.assert_allclose(look(xy), [0.0, 0.5, 1, 1])
    planes = {name: look(image)[..., i] for i, name in enumerate(grid.PLANES)}
    assert planes["agent"][2, 3] == planes["agent"].sum() == 1
    np.testing.assert_array_equal(planes["wall"], layout.wall)
    assert planes["key"].sum() == planes["door"].sum() == 0  # taken, so open
    assert planes["has_key"].all()
    # the patch is the image around the agent, with wall outside
    padded = np.pad(look(image), ((2, 2), (2, 2), (0, 0)))
    padded[..., 1] = np.pad(np.asarray(layout.wall, float), 2, constant_values=1.0)
    np.testing.assert_array_equal(look(patch), padded[2 : 2 + 5, 3 : 3 + 5])


@pytest.mark.parametrize("observation", grid.OBSERVATIONS)
def test_noise_changes_at_every_look_and_nothing_else_does(observation):
    env = GridWorld(grid.open_room(4), observation=observation, noise=6, view=1)
    looks = jax.jit(jax.vmap(lambda key: env.reset_env(key, env.default_params)[0]))(
        jax.random.split(jax.random.key(0), 64)
    )
    signal, noise = np.asarray(looks[..., :-6]), np.asarray(looks[..., -6:])
    assert (signal == signal[0]).all()
    assert set(np.unique(noise)) == {0.0, 1.0}
    assert noise.mean(0).min() > 0.3
    assert noise.mean(0).max() < 0.7


def test_masked_actions_never_bump():
    env = GridWorld(parse(SNAKE), mask_actions=True)
    check_env(env)
    params = env.default_params

    def one_step(carry, key):
        obs, state = carry
        action_key, step_key = jax.random.split(key)
        legal = obs["action_mask"]
        action = jax.random.categorical(action_key, jnp.where(legal, 0.0, -jnp.inf))
        obs, state, _, _, _, info = env.step(step_key, state, action, params)
        return (obs, state), (info["event"], legal)

    keys = jax.random.split(jax.random.key(1), 400)
    _, (events, legal) = jax.jit(lambda: jax.lax.scan(one_step, env.reset(jax.random.key(0), params), keys))()
    assert not np.any(events == grid.BUMP)
    assert not legal.all()
    assert legal.any(axis=1).all()
    boxed_in = GridWorld(parse("S#G"), mask_actions=True)
    assert boxed_in.reset(jax.random.key(0))[0]["action_mask"].all()


def test_random_starts_cover_all_free_cells_evenly():
    env = GridWorld(grid.four_rooms(5, random_start=True))
    cells = jax.jit(jax.vmap(lambda key: env.reset(key)[1].cell))(jax.random.split(jax.random.key(0), 8000))
    share = np.bincount(cells, minlength=25) / 8000
    free = ~np.asarray(env.default_params.layout.wall).ravel()
    free[24] = False  # the goal
    np.testing.assert_allclose(share, free / free.sum(), atol=0.012)


def test_a_batch_holds_different_layouts():
    env = GridWorld(grid.open_room(5))
    other = GridWorld(grid.four_rooms(5)).default_params
    both = jax.tree.map(lambda *x: jnp.stack(x), env.default_params, other)
    # two steps down: free in the open room, into a wall in the other
    _, state = jax.jit(jax.vmap(env.reset, (None, 0)))(jax.random.key(0), both)
    step = jax.jit(jax.vmap(env.step_env, (None, 0, None, 0)))
    for action in (DOWN, DOWN):
        _, state, *_ = step(jax.random.key(0), state, action, both)
    np.testing.assert_array_equal(state.cell, [10, 5])


def test_the_time_limit_truncates_and_the_goal_terminates():
    env = GridWorld(grid.corridor(4), max_steps=3)
    params = env.default_params
    step = jax.jit(env.step)
    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    flags = []
    for action in (LEFT, RIGHT, LEFT, RIGHT, RIGHT, RIGHT):
        obs, state, reward, terminated, truncated, info = step(jax.random.key(0), state, action, params)
        flags.append(
            (
                bool(terminated),
                bool(truncated),
                float(reward),
                int(info["final_observation"][:4].argmax()),
                int(obs[:4].argmax()),
            )
        )
    # the third step is cut on cell 0; the last reaches the goal just at the limit
    assert flags[2] == (False, True, 0.0, 0, 0)
    assert flags[5] == (True, True, 1.0, 3, 0)
    assert flags[4] == (False, False, 0.0, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse("S.\nG"), "equal length"),
        (lambda: parse("S?G"), "characters"),
        (lambda: parse("S0G"), "pair"),
        (lambda: grid.keydoor(6), "odd integer >= 3; got 6"),
        (lambda: GridWorld(parse("S..")), "layout.goal"),
        (lambda: GridWorld(grid.corridor(3), observation="pixels"), "onehot, xy, patch, image"),
        (lambda: GridWorld(grid.corridor(3), slip=1.5), "slip"),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises(ValueError, match=message):
        make()
