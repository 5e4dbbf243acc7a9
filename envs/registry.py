"""Names of environments. gymnax and brax are imported when one of theirs is made, not before."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax

from rlx.envs import (
    adapters,
    applied,
    bandit,
    dialogue,
    diffusion,
    goal_grid,
    grid,
    multi_objective,
    point,
    stock,
    tabular,
    token,
    token_tasks,
)

# all of gymnax 1.0 but MNISTBandit-bsuite, which downloads its data
_GYMNAX = (
    "CartPole-v1",
    "Pendulum-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
    "Catch-bsuite",
    "DeepSea-bsuite",
    "MemoryChain-bsuite",
    "UmbrellaChain-bsuite",
    "DiscountingChain-bsuite",
    "SimpleBandit-bsuite",
    "FourRooms-misc",
    "MetaMaze-misc",
    "PointRobot-misc",
    "BernoulliBandit-misc",
    "GaussianBandit-misc",
    "Reacher-misc",
    "Swimmer-misc",
    "Pong-misc",
    "FrozenLake-misc",
)

# all of brax but swimmer, whose fluid forces call jax.numpy.clip in a way that jax no longer accepts
_BRAX = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "walker2d",
)

# the same with vector rewards
_BRAX_VECTOR = {"mo-hopper": multi_objective.hopper, "mo-halfcheetah": multi_objective.half_cheetah}

# name -> (number after the dash by default, constructor from that number)
_OWN: dict[str, tuple[int | None, Callable[..., Any]]] = {
    "keydoor": (15, lambda n, **kwargs: grid.GridWorld(grid.keydoor(n), **kwargs)),
    "fourrooms": (
        11,
        lambda n, random_start=False, **kwargs: grid.GridWorld(grid.four_rooms(n, random_start=random_start), **kwargs),
    ),
    "tworooms": (None, lambda **kwargs: grid.GridWorld(grid.two_rooms(), **kwargs)),
    "corridor": (20, lambda n, **kwargs: grid.GridWorld(grid.corridor(n), **kwargs)),
    "open": (8, lambda n, **kwargs: grid.GridWorld(grid.open_room(n), **kwargs)),
    "hazards": (7, lambda n, costs=True, **kwargs: grid.GridWorld(grid.hazards(n), costs=costs, **kwargs)),
    "goal-umaze": (9, lambda n, **kwargs: goal_grid.GoalGrid(grid.u_maze(n), **kwargs)),
    "goal-serpentine": (9, lambda n, **kwargs: goal_grid.GoalGrid(grid.serpentine(n), **kwargs)),
    "goal-fourrooms": (11, lambda n, **kwargs: goal_grid.GoalGrid(grid.four_rooms(n), **kwargs)),
    "chain": (10, tabular.chain),
    "randomwalk": (19, tabular.random_walk),
    "garnet": (0, lambda seed, **kwargs: tabular.garnet(jax.random.key(seed), **kwargs)),
    "fleet": (5, applied.fleet),
    "windy-walk": (7, tabular.windy_walk),
    "gamble": (6, stock.gamble),
    "homeostat": (6, stock.homeostat),
    "features": (
        0,
        lambda seed, **kwargs: bandit.CategoricalBandit(bandit.feature_bandit(jax.random.key(seed), **kwargs)),
    ),
    "cyclic": (
        0,
        lambda seed, **kwargs: bandit.CategoricalBandit(bandit.cyclic_bandit(jax.random.key(seed), **kwargs)),
    ),
    "lucky": (10, lambda percent, **kwargs: bandit.LuckyBandit(percent / 100, **kwargs)),
    "dialogue": (4, lambda n, **kwargs: dialogue.AttributeDialogue(dialogue.unequal_attributes(n), **kwargs)),
    "guess-who": (16, lambda n, **kwargs: dialogue.GuessWho(num_items=n, **kwargs)),
    "user": (0, lambda seed, **kwargs: tabular.user_mdp(jax.random.key(seed), **kwargs)),
    "keywords": (None, token_tasks.keyword_tasks),
    "patterns": (None, token_tasks.pattern_tasks),
    "brackets": (4, lambda n, **kwargs: token_tasks.bracket_tasks(pairs=n, **kwargs)),
    "postfix": (5, lambda n, **kwargs: token_tasks.postfix_tasks(length=n, **kwargs)),
    "corner": (5, tabular.corner),
    "gaussian-chain": (8, diffusion.GaussianChain),
    "ring": (20, diffusion.Ring),
    "delivery": (0, lambda seed, **kwargs: tabular.delivery(jax.random.key(seed), **kwargs)),
    "cmdp": (0, lambda seed, **kwargs: tabular.constrained(jax.random.key(seed), **kwargs)),
    "point-goals": (4, point.goals),
    "point-obstacles": (1, point.obstacles),
    "point-maze": (None, point.maze),
    "point-puck": (None, point.puck),
    "point-patrols": (1, point.patrols),
    "goldpool": (0, lambda seed, **kwargs: bandit.GoldPool(jax.random.key(seed), **kwargs)),
    "toyseq-tiny": (None, lambda **kwargs: token.toy_seq("tiny", **kwargs)),
    "toyseq-small": (None, lambda **kwargs: token.toy_seq("small", **kwargs)),
    "critiqueseq-tiny": (None, lambda **kwargs: token.critique_seq("tiny", **kwargs)),
    "critiqueseq-small": (None, lambda **kwargs: token.critique_seq("small", **kwargs)),
    "verifier": (1, lambda digits, **kwargs: token.verifier_tasks(digits=digits, **kwargs)),
    "deep-sea-treasure-convex": (None, lambda **kwargs: multi_objective.deep_sea_treasure("convex", **kwargs)),
    "deep-sea-treasure-concave": (None, lambda **kwargs: multi_objective.deep_sea_treasure("concave", **kwargs)),
    "deep-sea-treasure-mirrored": (None, lambda **kwargs: multi_objective.deep_sea_treasure("mirrored", **kwargs)),
    "resource-gathering": (None, multi_objective.resource_gathering),
    "fruit-tree": (6, multi_objective.fruit_tree),
    "breakable-bottles": (None, multi_objective.bottles),
    "unbreakable-bottles": (None, lambda **kwargs: multi_objective.bottles(breakable=False, **kwargs)),
    "fishwood": (None, multi_objective.fishwood),
    "minecart": (None, multi_objective.Minecart),
    "minecart-deterministic": (None, lambda **kwargs: multi_objective.Minecart(deterministic=True, **kwargs)),
    "water-reservoir": (2, multi_objective.WaterReservoir),
    "lqr": (2, multi_objective.LQR),
    "mo-mountain-car": (None, multi_objective.mountain_car),
}


def names() -> list[str]:
    """All names that `make` knows, with the default number of those that take one. `brax/` needs rlx's extra `brax`."""
    own = [f"rlx/{name}" if number is None else f"rlx/{name}-{number}" for name, (number, _) in _OWN.items()]
    return [*_GYMNAX, *(f"brax/{name}" for name in (*_BRAX, *_BRAX_VECTOR)), *own]


def make(name: str, **kwargs: Any) -> tuple[Any, Any]:
    """An environment and its default parameters, by name; `kwargs` go to its constructor.

    The type is `Any` because environments have more than `rlx.types.Environment`: `to_mdp`, `pareto_front`, ...

    - `CartPole-v1`, `Breakout-MinAtar`, ...: gymnax's ids, and whatever was registered with `gymnax.register`;
    - `brax/ant`, `brax/ant:generalized`: brax, with a backend after the colon; keyword `episode_length`;
    - `rlx/keydoor-15`, `rlx/fourrooms-11`, `rlx/cmdp-3`, ...: own ones; the number is the size, or the seed of a random
      process.

        >>> env, params = make("rlx/keydoor-5", observation="xy")

    Raises:
      ValueError: for an unknown name, with the nearest known ones.
    """
    family, _, rest = name.rpartition("/")
    if family == "brax":
        base, _, backend = rest.partition(":")
        chosen = {"backend": backend} if backend else {}
        if base in _BRAX:
            env = adapters.make_brax(base, **chosen, **kwargs)
            return env, env.default_params
        if base in _BRAX_VECTOR:
            env = _BRAX_VECTOR[base](**chosen, **kwargs)
            return env, env.default_params
    elif family == "rlx":
        match = re.fullmatch(r"([a-z-]+?)(?:-(\d+))?", rest)
        if match and match[1] in _OWN:
            default, constructor = _OWN[match[1]]
            if default is not None:
                env = constructor(int(match[2] or default), **kwargs)
                return env, env.default_params
            if match[2] is None:
                env = constructor(**kwargs)
                return env, env.default_params
    elif name in _GYMNAX or _registered_with_gymnax(name):
        env = adapters.make_gymnax(name, **kwargs)
        return env, env.default_params
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
    raise ValueError(
        f"no environment named {name!r}" + (f"; nearest: {', '.join(near)}" if near else "; see rlx.envs.names()")
    )


def _registered_with_gymnax(name: str) -> bool:
    """Only a program that has imported gymnax can have registered an environment with it."""
    gymnax = sys.modules.get("gymnax")
    return gymnax is not None and name in gymnax.registered_envs and name != "MNISTBandit-bsuite"
