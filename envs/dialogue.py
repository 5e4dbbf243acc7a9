"""Something hidden, to be found out by questions.

`AttributeDialogue`: a vector of attributes. A question is about one attribute and divides its values into groups; the
answer names the group. The finest division names the value. With probability `error` another group of the question is
named instead. `GuessWho`: one item of a table, by yes-or-no questions and then a guess that ends the game.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check, space
from rlx.envs.interface import at_time_limit, reset, step, strong
from rlx.exploration.information import belief_update, information_gain
from rlx.types import Array

Reward = Literal["gain", "resolved"]
RESOLVED = 1e-3  # bits below which an attribute counts as known


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DialogueParams:
    value: Any  # int [N, K]: the vectors that there are
    prob: Any  # [N] of them
    prior: Any  # [K, V], their marginals: what the asker believes at first
    attribute: Any  # int [A] of each question
    group: Any  # int [A, V]: to which group a value of the attribute belongs; -1: no such value
    error: Any  # probability of a wrong answer
    cost: Any  # of a question, in bits
    threshold: Any  # bits of entropy left at which the dialogue ends
    max_steps_in_episode: Any  # questions

    def replace(self, **changes: Any) -> DialogueParams:
        return dataclasses.replace(self, **changes)


class DialogueState(NamedTuple):
    value: Array  # int [K], hidden
    belief: Array  # [K, V], or [1, N] with a joint belief
    asked: Array  # bool [A]
    time: Array  # int32 []


class AttributeDialogue:
    """Guess a vector by questions; the reward is what they tell.

    The belief is one distribution for each attribute, as if they were independent, or with `joint` one over all
    vectors. An episode ends when its entropy is at most `threshold` bits. Reward "gain" is the information gained, in
    bits, less `cost`; "resolved" the number of attributes that have become known, less `cost`. `info["gain"]` is the
    gain in any case.

    The observation is the belief of each attribute `[K, V]` (with a joint belief its marginals), then which questions
    have been asked `[A]`.

    Args:
      prior: `[K, V]`, rows padded with zeros: independent attributes; or `(value int [N, K], prob [N])`: the vectors
        that there are. Independent attributes with a joint belief are multiplied out.
      questions: `(attribute int [A], group int [A, V])`; None: one for each attribute, which names its value.
      joint: whether the asker knows how attributes depend on each other.
      error: probability of an answer that names another group, each with the same probability.
      cost: of a question, in bits (or attributes).
      threshold: bits.
      reward: "gain" or "resolved".
      max_steps: the time limit; default twice the number of questions.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        prior: Any,
        questions: tuple[Any, Any] | None = None,
        *,
        joint: bool = False,
        error: float = 0.0,
        cost: float = 0.0,
        threshold: float = 0.5,
        reward: Reward = "gain",
        max_steps: int | None = None,
    ):
        check.require(reward in get_args(Reward), "reward", reward, f"one of {get_args(Reward)}")
        check.in_range("error", error, 0.0, 1.0, open_high=True)
        check.in_range("threshold", threshold, 0.0)
        self.joint, self.reward, self.independent = joint, reward, not isinstance(prior, tuple)
        if isinstance(prior, tuple):
            value, prob = np.asarray(prior[0]), np.asarray(prior[1], float)
            marginal = np.zeros((value.shape[1], int(value.max()) + 1))
            for k in range(len(marginal)):
                np.add.at(marginal[k], value[:, k], prob)
        else:
            marginal = np.asarray(prior, float)
            if joint:
                value = np.stack(np.meshgrid(*(np.flatnonzero(p) for p in marginal), indexing="ij"), -1)
                value = value.reshape(-1, len(marginal))
                prob = np.prod(marginal[np.arange(len(marginal)), value], axis=-1)
            else:  # drawn attribute by attribute
                value, prob = np.zeros((1, len(marginal)), int), np.ones(1)
        check.require(np.allclose(marginal.sum(1), 1), "prior", marginal.sum(1), "of probabilities that sum to 1")
        self.attributes, self.values = marginal.shape
        if questions is None:
            group = np.where(marginal > 0, np.arange(self.values), -1)
            questions = np.arange(self.attributes), group
        attribute, group = (np.asarray(x, np.int32) for x in questions)
        wanted = (len(attribute), self.values)
        check.require(group.shape == wanted, "the shape of questions[1]", group.shape, f"[A, V] = {wanted}")
        max_steps = 2 * len(attribute) if max_steps is None else max_steps
        self.default_params: DialogueParams = strong(
            DialogueParams(
                jnp.asarray(value, jnp.int32),
                jnp.asarray(prob, jnp.float32),
                jnp.asarray(marginal, jnp.float32),
                jnp.asarray(attribute),
                jnp.asarray(group),
                float(error),
                float(cost),
                float(threshold),
                max_steps,
            )
        )

    def reset_env(self, key: Array, params: DialogueParams) -> tuple[Array, DialogueState]:
        if self.independent:
            value = jax.random.categorical(key, jnp.log(params.prior)).astype(jnp.int32)
        else:
            value = params.value[jax.random.categorical(key, jnp.log(params.prob))]
        belief = params.prob[None] if self.joint else params.prior
        state = DialogueState(value, belief, jnp.zeros(params.attribute.shape, bool), jnp.zeros((), jnp.int32))
        return self._observe(state, params), state

    def step_env(
        self, key: Array, state: DialogueState, action: Array, params: DialogueParams
    ) -> tuple[Array, DialogueState, Array, Array, dict[str, Any]]:
        attribute, group = params.attribute[action], params.group[action]
        groups = jnp.max(group) + 1
        wrong_key, other_key = jax.random.split(key)
        said = group[state.value[attribute]]
        shift = jax.random.randint(other_key, (), 1, jnp.maximum(groups, 2))
        wrong = jax.random.bernoulli(wrong_key, params.error) & (groups > 1)
        said = jnp.where(wrong, (said + shift) % jnp.maximum(groups, 1), said)

        likely = jnp.where(group == said, 1 - params.error, params.error / jnp.maximum(groups - 1, 1))
        likely = jnp.where((group >= 0) & ((groups > 1) | (group == said)), likely, 0.0)
        likely = jnp.where(groups > 1, likely, 1.0)
        if self.joint:
            likelihood = likely[params.value[:, attribute]][None]
        else:
            likelihood = jnp.where(jnp.arange(self.attributes)[:, None] == attribute, likely, 1.0)
        belief = belief_update(state.belief, likelihood)
        gain = information_gain(state.belief, belief)
        after = DialogueState(state.value, belief, state.asked.at[action].set(True), state.time + 1)
        told = gain if self.reward == "gain" else self._resolved(after, params) - self._resolved(state, params)
        terminated = self.entropy(after) <= params.threshold
        info = {"gain": gain, "entropy": self.entropy(after)}
        return self._observe(after, params), after, told - params.cost, terminated, info

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (self.attributes * self.values + self.action_space().n,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(len(self.default_params.attribute))

    def entropy(self, state: DialogueState) -> Array:
        """Of the belief, in bits."""
        return information_gain(state.belief, jnp.eye(1, state.belief.shape[1]) * jnp.ones_like(state.belief))

    def marginals(self, state: DialogueState, params: DialogueParams) -> Array:
        """The belief about each attribute, `[K, V]`."""
        if not self.joint:
            return state.belief
        return jnp.einsum("n,nkv->kv", state.belief[0], jax.nn.one_hot(params.value, self.values))

    def optimal_questions(self, params: DialogueParams | None = None) -> float:
        """The least expected number of questions to the end, by exhaustive dynamic programming over what may be known.

        For truthful answers, and priors with few possible beliefs: all sets of questions are gone through.

        Raises:
          ValueError: with wrong answers, or if the questions cannot end the dialogue.
        """
        params = self.default_params if params is None else params
        check.require(float(params.error) == 0, "error", params.error, "0 for the optimum")
        value, prob, prior, attribute, group = (
            np.asarray(x) for x in (params.value, params.prob, params.prior, params.attribute, params.group)
        )
        threshold = float(params.threshold) + 1e-6
        tables = [prob.astype(float)] if self.joint else list(prior.astype(float))

        def entropy(weights: np.ndarray) -> float:
            p = weights[weights > 0] / weights.sum()
            return float(-(p * np.log2(p)).sum())

        @functools.cache
        def best(possible: tuple[bytes, ...]) -> float:
            masks = [np.frombuffer(mask, bool) for mask in possible]
            if sum(entropy(table * mask) for table, mask in zip(tables, masks, strict=True)) <= threshold:
                return 0.0
            found = np.inf
            for k, groups in zip(attribute, group, strict=True):
                place, of_row = (0, groups[value[:, k]]) if self.joint else (k, groups)
                table, mask = tables[place], masks[place]
                answers = [mask & (of_row == g) for g in range(groups.max() + 1)]
                weights = np.array([(table * answer).sum() for answer in answers]) / (table * mask).sum()
                if weights.max() > 1 - 1e-9:
                    continue  # nothing to be learned
                after = 1.0
                for answer, weight in zip(answers, weights, strict=True):
                    if weight > 0:
                        after += weight * best((*possible[:place], answer.tobytes(), *possible[place + 1 :]))
                found = min(found, after)
            return found

        found = best(tuple((table > 0).tobytes() for table in tables))
        check.require(np.isfinite(found), "questions", group, "such as can end the dialogue")
        return float(found)

    def _resolved(self, state: DialogueState, params: DialogueParams) -> Array:
        p = self.marginals(state, params)[:, None]
        left = information_gain(p, jnp.eye(1, self.values) * jnp.ones_like(p))
        return jnp.sum(left < RESOLVED, dtype=jnp.float32)

    def _observe(self, state: DialogueState, params: DialogueParams) -> Array:
        return jnp.concatenate([self.marginals(state, params).ravel(), state.asked.astype(jnp.float32)])


def unequal_attributes(num: int = 8) -> np.ndarray:
    """Priors `[num, num + 1]` of independent attributes with 2, 3, ..., `num + 1` equally likely values."""
    check.count("num", num)
    sizes = np.arange(2, num + 2)
    return (np.arange(num + 1) < sizes[:, None]) / sizes[:, None]


def coupled_attributes(values: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Three attributes: the first, uniform over `values`, determines the two others, its half and its parity."""
    check.count("values", values, 2)
    first = np.arange(values)
    return np.stack([first, first // 2, first % 2], 1), np.full(values, 1 / values)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GuessParams:
    attribute: Any  # bool [N, K] of the items
    cost: Any  # of a turn, a guess too
    prize: Any  # of the right guess; a wrong one costs as much
    max_steps_in_episode: Any  # turns

    def replace(self, **changes: Any) -> GuessParams:
        return dataclasses.replace(self, **changes)


class GuessState(NamedTuple):
    item: Array  # int32 [], hidden
    known: Array  # int32 [K]: 0 not asked, 1 no, 2 yes
    time: Array  # int32 []


class GuessLog(NamedTuple):
    """Games, a row each; `situation` is what was known as one number, see `GuessWho.situation`."""

    situation: Array  # int32 [E, T + 1], before each turn and at the end
    action: Array  # int32 [E, T]
    reward: Array  # [E, T]
    mask: Array  # bool [E, T], turns that were played
    terminated: Array  # bool [E, T], turns that ended the game by a guess


class GuessWho:
    """One of N items is meant; actions 0 to K - 1 ask for an attribute, the others guess an item and end the game.

    Answers are truthful. A turn costs `cost`, the right guess pays `prize`, a wrong one minus `prize`. The observation
    is one-hot, `[K, 3]` laid flat: each attribute unknown, no or yes.

    Known optimum, by dynamic programming over what may be known: `optimal_return()`; of any policy over the `3 ** K`
    situations the exact return is `evaluate(policy)`.

    Args:
      attribute: bool `[N, K]`, rows that differ; None: `num_items` random ones of `num_attributes`, drawn by `seed`.
      cost: of a turn.
      prize: of the right guess.
      max_steps: the time limit, in turns.

    Raises:
      ValueError: for rows that are equal, more than 8 attributes, or more items than can differ.
    """

    is_truncated = at_time_limit
    reset = reset
    step = step

    def __init__(
        self,
        attribute: Any = None,
        *,
        num_items: int = 16,
        num_attributes: int = 6,
        seed: int = 0,
        cost: float = 1.0,
        prize: float = 10.0,
        max_steps: int = 8,
    ):
        if attribute is None:
            check.count("num_attributes", num_attributes)
            check.count("num_items", num_items)
            check.require(num_items <= 2**num_attributes, "num_items", num_items, f"at most 2 ** {num_attributes}")
            chosen = np.random.default_rng(seed).permutation(2**num_attributes)[:num_items]
            attribute = chosen[:, None] >> np.arange(num_attributes) & 1
        attribute = np.asarray(attribute, bool)
        check.rank("attribute", attribute, 2)
        check.require(len(np.unique(attribute, axis=0)) == len(attribute), "attribute", attribute, "rows that differ")
        self.items, self.attributes = attribute.shape
        check.require(self.attributes <= 8, "the number of attributes", self.attributes, "at most 8")
        self.default_params: GuessParams = strong(
            GuessParams(jnp.asarray(attribute), float(cost), float(prize), max_steps)
        )

    def reset_env(self, key: Array, params: GuessParams) -> tuple[Array, GuessState]:
        item = jax.random.randint(key, (), 0, self.items, jnp.int32)
        state = GuessState(item, jnp.zeros(self.attributes, jnp.int32), jnp.zeros((), jnp.int32))
        return self._observe(state), state

    def step_env(
        self, key: Array, state: GuessState, action: Array, params: GuessParams
    ) -> tuple[Array, GuessState, Array, Array, dict[str, Any]]:
        del key
        guesses = action >= self.attributes
        right = action - self.attributes == state.item
        answer = 1 + params.attribute[state.item].astype(jnp.int32)
        known = jnp.where(jnp.arange(self.attributes) == action, answer, state.known)
        reward = jnp.where(guesses, jnp.where(right, params.prize, -params.prize), 0.0) - params.cost
        after = GuessState(state.item, known, state.time + 1)
        return self._observe(after), after, reward, guesses, {"right": guesses & right}

    def observation_space(self, params: Any = None) -> space.Box:
        del params
        return space.Box(0.0, 1.0, (3 * self.attributes,))

    def action_space(self, params: Any = None) -> space.Discrete:
        del params
        return space.Discrete(self.attributes + self.items)

    def situation(self, known: Array) -> Array:
        """What is known, int `[..., K]`, as a number below `3 ** K`: int32 `[...]`."""
        return (known @ 3 ** jnp.arange(self.attributes)).astype(jnp.int32)

    def possible(self, params: GuessParams | None = None) -> Array:
        """Which items agree with each situation, bool `[3 ** K, N]`."""
        attribute = (self.default_params if params is None else params).attribute
        known = np.arange(3**self.attributes)[:, None] // 3 ** np.arange(self.attributes) % 3
        return jnp.all((known[:, None] == 0) | (known[:, None] == 1 + attribute), -1)

    def scripted_log(
        self, key: Array, games: int, *, careless: float = 0.2, hasty: float = 0.1, params: GuessParams | None = None
    ) -> GuessLog:
        """Games of people who ask in any order: `[games, T]`.

        At each turn, with probability `hasty`, they guess one of the items that are still possible; with probability
        `careless` they ask for any attribute, known ones too; else for one that is not known. Who knows the item
        names it (unless careless).
        """
        check.count("games", games)
        params = self.default_params if params is None else params
        possible = self.possible(params)
        turns = int(self.default_params.max_steps_in_episode)

        def turn(carry: tuple[GuessState, Array], key: Array) -> tuple[tuple[GuessState, Array], tuple[Array, ...]]:
            state, playing = carry
            hasty_key, careless_key, any_key, new_key, guess_key = jax.random.split(key, 5)
            here = self.situation(state.known)
            left = possible[here]
            guess = self.attributes + jax.random.categorical(guess_key, jnp.where(left, 0.0, -jnp.inf))
            new = jax.random.categorical(new_key, jnp.where(state.known == 0, 0.0, -jnp.inf))
            certain = jnp.sum(left) == 1
            asks = jnp.where(certain, guess, new)
            any_attribute = jax.random.randint(any_key, (), 0, self.attributes)
            action = jnp.where(jax.random.bernoulli(careless_key, careless), any_attribute, asks)
            action = jnp.where(jax.random.bernoulli(hasty_key, hasty), guess, action).astype(jnp.int32)
            _, after, reward, ended, _ = self.step_env(key, state, action, params)
            return (after, playing & ~ended), (here, action, reward, playing, playing & ended)

        def game(key: Array) -> GuessLog:
            reset_key, run_key = jax.random.split(key)
            _, state = self.reset_env(reset_key, params)
            (last, _), (here, *rest) = jax.lax.scan(turn, (state, jnp.bool_(True)), jax.random.split(run_key, turns))
            return GuessLog(jnp.append(here, self.situation(last.known)), *rest)

        return jax.vmap(game)(jax.random.split(key, games))

    def evaluate(self, policy: Array, params: GuessParams | None = None) -> Array:
        """The exact expected return, within the time limit, of a policy `[3 ** K, K + N]` of probabilities."""
        params = self.default_params if params is None else params
        shape = (3**self.attributes, self.attributes + self.items)
        check.require(jnp.shape(policy) == shape, "the shape of policy", jnp.shape(policy), f"{shape}")
        place = 3 ** jnp.arange(self.attributes)
        here = jnp.arange(shape[0])
        unknown = here[:, None] // place % 3 == 0
        attribute = params.attribute.astype(jnp.int32)
        after = here[None, :, None] + jnp.where(unknown, place, 0) * (1 + attribute)[:, None]  # [N, S, K]
        each = jnp.arange(self.items)

        def turn(mass: Array, _: None) -> tuple[Array, Array]:
            paid = -params.cost * mass.sum()
            guessed = mass @ policy[:, self.attributes :]  # [item, guess]
            paid += params.prize * (2 * jnp.trace(guessed) - guessed.sum())
            asked = mass[..., None] * policy[:, : self.attributes]
            return jnp.zeros_like(mass).at[each[:, None, None], after].add(asked), paid

        start = jnp.zeros((self.items, shape[0])).at[:, 0].set(1 / self.items)
        _, paid = jax.lax.scan(turn, start, None, length=int(self.default_params.max_steps_in_episode))
        return paid.sum()

    def optimal_policy(self, params: GuessParams | None = None) -> tuple[float, np.ndarray]:
        """The highest expected return, and a policy `[3 ** K, K + N]` that has it.

        For a time limit of at least the number of attributes and one turn more, with which it never interferes.
        """
        params = self.default_params if params is None else params
        check.require(
            int(params.max_steps_in_episode) > self.attributes,
            "max_steps_in_episode",
            params.max_steps_in_episode,
            f"above the {self.attributes} attributes",
        )
        possible, cost, prize = np.asarray(self.possible(params)), float(params.cost), float(params.prize)
        place = 3 ** np.arange(self.attributes)
        policy = np.zeros((len(possible), self.attributes + self.items))
        value = np.zeros(len(possible))
        asked = np.sum(np.arange(len(possible))[:, None] // place % 3 > 0, 1)
        for here in np.argsort(-asked, kind="stable"):
            count = possible[here].sum()
            if count == 0:
                policy[here, -1] = 1.0
                continue
            q = np.full(policy.shape[1], -np.inf)
            for k in np.flatnonzero(here // place % 3 == 0):
                then = here + place[k] * np.array([1, 2])
                q[k] = possible[then].sum(1) @ value[then] / count - cost
            share = possible[here] / count
            q[self.attributes :] = prize * (2 * share - 1) - cost
            value[here] = q.max()
            policy[here, q.argmax()] = 1.0
        return float(value[0]), policy

    def optimal_return(self) -> float:
        return self.optimal_policy()[0]

    def _observe(self, state: GuessState) -> Array:
        return jax.nn.one_hot(state.known, 3).ravel()
