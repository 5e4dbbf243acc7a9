"""Novelty search, with emitters where rewards were found and learned behaviour spaces: NS, SERENE, TAXONS and STAX.

One search with two switches. Novelty search keeps what behaves unlike everything before. With `emitters` chunks of the
budget climb, one after the other, from solutions with a reward (SERENE). With an `autoencoder` as behaviour space,
behaviour is what it makes of observations, and it learns on the way (TAXONS); with both it is STAX.

Sources: Lehman and Stanley, "Abandoning Objectives: Evolution Through the Search for Novelty Alone" (2011); Paolo et
al., "Unsupervised Learning and Exploration of Reachable Outcome Space" (2020), "Sparse Reward Exploration via Novelty
Search and Emitters" (2021), "Discovering and Exploiting Sparse Rewards in a Learned Behavior Space" (2023).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rlx import check
from rlx.exploration import (
    autoencoder_descriptor,
    emitter_improvement,
    emitter_schedule,
    emitter_stagnates,
    insert_random,
    knn_novelty,
    nearest_neighbours,
)
from rlx.pareto import nondominated_mask
from rlx.types import Algorithm, Array, Channel, Policy, PyTree

CRITERIA = ("novelty", "surprise", "either", "reward")
TRIAL = 6  # generations that a candidate runs before it is known whether it improves

Score = Callable[[Array, Array], tuple[Array, Array]]  # (key, genome [M, n]) -> reward [M], observation [M, ...]


class BehaviourSpace(NamedTuple):
    """What is behaviour in an observation of an episode."""

    init: Callable[[Array, Array], PyTree]  # (key, observations [M, ...]) -> state
    describe: Callable[[PyTree, Array], tuple[Array, Array]]  # (state, [M, ...]) -> descriptors [M, d], surprises [M]
    update: Callable[[PyTree, Array, Array, Array], PyTree]  # (state, [N, ...], bool [N], key) -> state


def given(describe: Callable[[Array], Array] = lambda x: x) -> BehaviourSpace:
    """A known function of observations `[M, ...] -> [M, d]`: by default they are the behaviour themselves."""
    return BehaviourSpace(
        lambda key, observation: (),
        lambda state, observation: (describe(observation), jnp.zeros(len(observation))),
        lambda state, observation, filled, key: state,
    )


class Autoencoder(nn.Module):
    """Two layers to a code, and two back."""

    hidden: int
    code: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        code = nn.Dense(self.code)(nn.selu(nn.Dense(self.hidden)(x)))
        return code, nn.Dense(x.shape[-1])(nn.selu(nn.Dense(self.hidden)(code)))


def autoencoder(
    *,
    code: int = 10,
    hidden: int = 64,
    learning_rate: float = 1e-3,
    num_steps: int = 50,
    batch_size: int = 64,
    trained: bool = True,
) -> BehaviourSpace:
    """The code of an autoencoder that is trained on what the search has found; observations are `[M, frames, ...]`.

    Args:
      code: numbers that a frame becomes; 10: the papers.
      hidden: width of the layer on either side.
      learning_rate: of Adam.
      num_steps: gradient steps at each training.
      batch_size: rows of each of them, drawn from archive and population.
      trained: False keeps the random network that it began as, to compare with.
    """
    module, optimiser = Autoencoder(hidden, code), optax.adam(learning_rate)

    def describe_by(params: PyTree, observation: Array) -> tuple[Array, Array]:
        flat = observation.reshape(*observation.shape[:2], -1)
        encoding, reconstruction = module.apply(params, flat)
        return autoencoder_descriptor(encoding, reconstruction, flat)

    def init(key: Array, observation: Array) -> PyTree:
        params = module.init(key, observation.reshape(*observation.shape[:2], -1))
        return params, optimiser.init(params)

    def update(state: PyTree, observation: Array, filled: Array, key: Array) -> PyTree:
        if not trained:
            return state

        def step(state: PyTree, key: Array) -> tuple[PyTree, None]:
            params, opt_state = state
            row = jax.random.categorical(key, jnp.where(filled, 0.0, -jnp.inf), shape=(batch_size,))
            loss = lambda params: jnp.mean(describe_by(params, observation[row])[1])  # noqa: E731
            updates, opt_state = optimiser.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, state, jax.random.split(key, num_steps))[0]

    return BehaviourSpace(init, lambda state, observation: describe_by(state[0], observation), update)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of novelty search. Floats may be traced (swept in one program); the rest fix the program's shape."""

    population: int = 10  # of the search and of each emitter; 10: STAX's settings, which has 6 in an emitter
    generations: int = 10  # in one update, before the behaviour space learns
    sigma: float = 0.5  # standard deviation of a mutation; 0.5: STAX's settings
    limit: float = 5.0  # genes are cut to [-limit, limit]; 5: the same
    k: int = 15  # neighbours that novelty is the mean distance from; 15: the papers
    rate: int = 5  # offspring of a generation that go into the archive; 5: the papers
    capacity: int = 1000  # of the archive, whose rows are overwritten at random when it is full
    reward_capacity: int = 500  # of the archive of rewarded solutions
    criterion: str = "novelty"  # what survives: one of CRITERIA, "either" novelty or surprise by a coin (TAXONS)
    emitters: bool = False  # climb where there was a reward (SERENE)
    chunk: int = 1000  # evaluations that exploration and emitters have in turn; 1000: the papers
    num_emitters: int = 16  # that can wait
    founder_scale: float = 1.0  # of an emitter's mutations, in a third of the distance to the nearest genome

    def __post_init__(self) -> None:
        names = ("population", "generations", "k", "rate", "capacity", "reward_capacity", "chunk", "num_emitters")
        for name in names:
            check.count(name, getattr(self, name))
        check.require(self.rate <= 2 * self.population, "rate", self.rate, "at most two for each of the population")
        check.require(self.criterion in CRITERIA, "criterion", self.criterion, f"one of {', '.join(CRITERIA)}")
        for name in ("sigma", "limit", "founder_scale"):
            check.positive(name, getattr(self, name))


class Solutions(NamedTuple):
    """Genomes with what they did."""

    genome: Array  # [M, n]
    reward: Array  # [M]
    observation: Array  # [M, ...]
    behaviour: Array  # [M, d] in the space as it is now


class Memory(NamedTuple):
    """An archive of fixed capacity."""

    solutions: Solutions
    filled: Array  # bool [N]


def best_of(solutions: Solutions) -> Solutions:
    """The one with the highest reward, the first on a tie, as `[1]`."""
    row = jnp.argmax(solutions.reward)
    return jax.tree.map(lambda x: x[row][None], solutions)


def empty(like: Solutions, capacity: int) -> Memory:
    """An archive without solutions, for such as the ones given."""
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape[1:]), x.dtype), like)
    return Memory(rows, jnp.zeros(capacity, bool))


class Emitters(NamedTuple):
    """Searches that wait, each round a founder; leaves `[E, ...]`."""

    genome: Array  # [E, P, n]
    reward: Array  # [E, P]
    founder: Array  # [E, ...] its observation
    sigma: Array  # [E]
    history: Array  # [E, H, P] rewards of the last generations, the newest last
    age: Array  # int32 [E] generations
    improvement: Array  # [E] known from generation TRIAL on
    best: Array  # [E] reward that the next in the reward archive has to exceed
    novel: Array  # [E] novelty that the next in the archive has to exceed


class State(NamedTuple):
    """Everything that the search remembers between updates."""

    population: Solutions
    archive: Memory
    rewarded: Memory  # the reward archive
    champion: Solutions  # [1] the highest reward so far; its behaviour is as of then
    emitters: Emitters
    waiting: Array  # bool [E]: emitters that exist
    running: Array  # int32 []: the one at work, or -1
    space: PyTree
    evaluations: Array  # int32 []
    key: Array


def make(
    config: Config,
    score: Score,
    init_genome: Callable[[Array], Array],
    space: BehaviourSpace | None = None,
    *,
    policy: Callable[[PyTree], Policy] | None = None,
) -> Algorithm:
    """Novelty search over `score`.

    `fit(make(...), total_steps=n)` scores n solutions after the first population. Metrics: `best_reward` so far, how
    many solutions have been `archived` and `rewarded` (in the reward archive), and how many `emitters` wait.

    Args:
      score: `(key, genome [M, n]) -> (reward [M], observation [M, ...])`. The reward has to be sparse: whatever has one
        above 0 founds an emitter.
      init_genome: key -> a genome `[n]` of the first population.
      space: what is behaviour in an observation; by default the observation `[M, d]` itself.
      policy: genome -> how to act by it, if genomes are policies: then the algorithm's policy is that of the highest
        reward.
    """
    chosen_space = given() if space is None else space
    size, born = config.population, 2 * config.population

    def scored(key: Array, space: PyTree, genome: Array) -> Solutions:
        reward, observation = score(key, genome)
        return Solutions(genome, reward, observation, chosen_space.describe(space, observation)[0])

    def described(solutions: Solutions, space: PyTree) -> Solutions:
        """The same in a space that has changed."""
        return solutions._replace(behaviour=chosen_space.describe(space, solutions.observation)[0])

    def store(key: Array, memory: Memory, new: Solutions, accept: Array) -> Memory:
        return Memory(*insert_random(key, memory.solutions, memory.filled, new, accept))

    def init(key: Array) -> State:
        genome_key, score_key, space_key, key = jax.random.split(key, 4)
        genome = jax.vmap(init_genome)(jax.random.split(genome_key, size))
        learned = chosen_space.init(space_key, score(score_key, genome)[1])
        population = scored(score_key, learned, genome)
        genes, number = genome.shape[1], config.num_emitters
        archive, rewarded = empty(population, config.capacity), empty(population, config.reward_capacity)
        emitters = Emitters(
            jnp.zeros((number, size, genes)),
            jnp.zeros((number, size)),
            jnp.zeros((number, *population.observation.shape[1:])),
            jnp.zeros(number),
            jnp.zeros((number, 20 * genes // size + 120, size)),
            jnp.zeros(number, jnp.int32),
            jnp.zeros(number),
            jnp.zeros(number),
            jnp.zeros(number),
        )
        nothing = jnp.zeros(number, bool), -jnp.ones((), jnp.int32)
        return State(
            population,
            archive,
            rewarded,
            best_of(population),
            emitters,
            *nothing,
            learned,
            jnp.zeros((), jnp.int32),
            key,
        )

    def founded(state: State, key: Array, new: Solutions, novelty: Array, exploit: Array) -> State:
        """An emitter round every rewarded offspring of the exploring population, as long as there is room."""
        accept = (new.reward > 0) & ~exploit & config.emitters
        accept &= jnp.cumsum(accept) <= jnp.sum(~state.waiting)
        genomes = jnp.concatenate([new.genome, state.population.genome])
        nearest, _ = nearest_neighbours(new.genome, genomes, k=1, exclude_self=True)
        distance = jnp.sqrt(nearest[:, 0])
        sigma = config.founder_scale * jnp.where(distance > 0, distance / 3, config.sigma)
        around = Emitters(
            jnp.repeat(new.genome[:, None], size, axis=1),
            jnp.repeat(new.reward[:, None], size, axis=1),
            new.observation,
            sigma,
            jnp.zeros((born, *state.emitters.history.shape[1:])),
            jnp.zeros(born, jnp.int32),
            jnp.zeros(born),
            new.reward,
            novelty,
        )
        emitters, waiting = insert_random(key, state.emitters, state.waiting, around, accept)
        return state._replace(emitters=emitters, waiting=waiting)

    def choose(state: State, key: Array) -> Array:
        """The emitter at work goes on; else candidates, the most novel first; else one of the Pareto front."""
        founders = chosen_space.describe(state.space, state.emitters.founder)[0]
        novelty = knn_novelty(founders, state.rewarded.solutions.behaviour, state.rewarded.filled, k=config.k)
        candidate = state.waiting & (state.emitters.age < TRIAL)
        proven = state.waiting & ~candidate
        front = nondominated_mask(jnp.stack([novelty, state.emitters.improvement], 1), proven, keep_duplicates=True)
        by_novelty = jnp.argmax(jnp.where(candidate, novelty, -jnp.inf))
        by_front = jnp.argmax(jnp.where(front, jax.random.uniform(key, front.shape), -1.0))
        return jnp.where(state.running >= 0, state.running, jnp.where(candidate.any(), by_novelty, by_front))

    def climbed(state: State, index: Array, new: Solutions, novelty: Array) -> State:
        """The state after a generation of the emitter: its best survive; it ends when it is of no more use."""
        one: Emitters = jax.tree.map(lambda x: x[index], state.emitters)
        reward, kept = jax.lax.top_k(jnp.concatenate([one.reward, new.reward]), size)
        genome = jnp.concatenate([one.genome, new.genome])[kept]
        history, age = jnp.roll(one.history, -1, axis=0).at[-1].set(reward), one.age + 1
        improved = emitter_improvement(history[-TRIAL:]).mean()  # of sorted members, none of which can become worse
        improvement = jnp.where(age == TRIAL, improved, one.improvement)
        ended = (age >= TRIAL) & (improvement <= 0) | (age >= len(history)) & emitter_stagnates(history)
        best, novel = jnp.maximum(one.best, new.reward.max()), jnp.maximum(one.novel, novelty.max())
        one = Emitters(genome, reward, one.founder, one.sigma, history, age, improvement, best, novel)
        emitters = jax.tree.map(lambda all_, x: all_.at[index].set(x), state.emitters, one)
        waiting = state.waiting.at[index].set(~ended)
        return state._replace(
            emitters=emitters, waiting=waiting, running=jnp.where(ended | (age == TRIAL), -1, index).astype(jnp.int32)
        )

    def generation(state: State, _: None) -> tuple[State, None]:
        key, *keys = jax.random.split(state.key, 9)
        exploit = config.emitters & emitter_schedule(state.evaluations, state.waiting.any(), chunk=config.chunk)
        index = choose(state, keys[0])
        parents = jnp.where(exploit, state.emitters.genome[index], state.population.genome)
        sigma = jnp.where(exploit, state.emitters.sigma[index], config.sigma)
        children = jnp.repeat(parents, 2, axis=0)
        children += sigma * jax.random.normal(keys[1], children.shape, children.dtype)
        children = jnp.clip(children, -config.limit, config.limit)
        new = scored(keys[2], state.space, children)

        both: Solutions = jax.tree.map(lambda *x: jnp.concatenate(x), new, state.population)
        memories = (state.archive, state.rewarded)
        reference = jnp.concatenate([both.behaviour, *(memory.solutions.behaviour for memory in memories)])
        counts = jnp.concatenate([jnp.ones(len(both.reward), bool), *(memory.filled for memory in memories)])
        novelty = knn_novelty(both.behaviour, reference, counts, k=config.k, exclude_self=True)
        surprise = chosen_space.describe(state.space, both.observation)[1]
        worth = {"novelty": novelty, "surprise": surprise, "reward": both.reward}.get(config.criterion)
        if worth is None:
            worth = jnp.where(jax.random.bernoulli(keys[3]), novelty, surprise)
        survivors: Solutions = jax.tree.map(lambda x: x[jax.lax.top_k(worth, size)[1]], both)

        first = state.emitters
        drawn = jnp.argsort(jax.random.uniform(keys[4], (born,))) < config.rate
        wanted = jnp.where(exploit, novelty[:born] > first.novel[index], drawn)
        wanted &= jnp.cumsum(wanted) <= config.rate
        prized = new.reward > jnp.where(exploit, first.best[index], 0.0)
        state = state._replace(
            archive=store(keys[5], state.archive, new, wanted),
            rewarded=store(keys[6], state.rewarded, new, prized),
            champion=best_of(jax.tree.map(lambda *x: jnp.concatenate(x), state.champion, new)),
        )
        explored = founded(state, keys[7], new, novelty[:born], exploit)._replace(
            population=survivors, running=-jnp.ones((), jnp.int32)
        )
        state = jax.tree.map(
            lambda a, b: jnp.where(exploit, a, b), climbed(state, index, new, novelty[:born]), explored
        )
        return state._replace(evaluations=state.evaluations + born, key=key), None

    def update(state: State, data: Any = None) -> tuple[State, dict[str, Any]]:
        del data
        key, learn_key = jax.random.split(state.key)
        state, _ = jax.lax.scan(generation, state._replace(key=key), length=config.generations)
        seen = jnp.concatenate([state.archive.solutions.observation, state.population.observation])
        filled = jnp.concatenate([state.archive.filled, jnp.ones(size, bool)])
        learned = chosen_space.update(state.space, seen, filled, learn_key)
        state = state._replace(
            space=learned,
            population=described(state.population, learned),
            archive=state.archive._replace(solutions=described(state.archive.solutions, learned)),
            rewarded=state.rewarded._replace(solutions=described(state.rewarded.solutions, learned)),
        )
        count = lambda mask: jnp.sum(mask, dtype=jnp.float32)  # noqa: E731
        return state, {
            "best_reward": state.champion.reward[0],
            "rewarded": count(state.rewarded.filled),
            "archived": count(state.archive.filled),
            "emitters": count(state.waiting),
        }

    def best(state: State) -> Policy:
        if policy is None:
            raise ValueError("policy must be a function genome -> Policy, to act by the best solution; got None")
        return policy(state.champion.genome[0])

    return Algorithm(init, update, best, born * config.generations, (Channel("reward"),))
