"""The few types that everything shares: batches of data, and components as tuples of pure functions.

Shapes: `T` time, `B` parallel environments or queries, `C` candidates of a query, `K` reward channels. A component (a
reward source, a weighting, an algorithm, a policy) is a `NamedTuple` of functions; whatever it remembers is a pytree
that the caller holds and passes back in, so every component can be jitted, vmapped, sharded and checkpointed. Functions
named `init` make that pytree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from rlx.space import Space

Array = jax.Array
PyTree = Any


class Transition(NamedTuple):
    """Steps of `B` environments over `T` time steps, time-major.

    `next_obs` is what the step led to *before* any reset (gymnax's `final_observation`), at every step and not only at
    the last: bootstrap from it with `discount * (1 - terminated)`. An environment resets after `terminated |
    truncated`, so where that holds `obs[t + 1]` belongs to the next episode.
    """

    obs: PyTree  # leaves [T, B, ...]
    action: Array  # [T, B, ...]
    log_prob: Array  # [T, B] natural logarithm, under the policy that acted; zeros where the policy has none
    reward: Array  # [T, B] or [T, B, K_env], as the environment gave it
    terminated: Array  # bool [T, B]: the episode ended in a terminal state, whose value is zero
    truncated: Array  # bool [T, B]: the episode was cut (a time limit); the next state still has a value
    next_obs: PyTree  # leaves [T, B, ...]


class PreferenceBatch(NamedTuple):
    """`B` queries with `C` candidates each (trajectory segments, answers to a prompt), and what was said of them.

    Candidates come in no order: `target`, `rank` or `binary` says which are better, never the position, so exchanging
    candidates in all fields with a candidate axis must change no loss. Segments are cut from rollouts by transposition
    and padded at their end to `T` steps; a one-shot answer has `T = 1`. Tokens are actions: their ids are in `action`
    and `obs` is None, or the features that a model reads. What is unknown is None, which makes the structure static
    under jit. Further leading axes (users, bootstrapped members) are vmapped over.
    """

    obs: PyTree  # leaves [B, C, T, ...]; None where the actions say all
    action: Array | None  # [B, C, T, ...], token ids int [B, C, T]; None where the observations say all
    mask: Array  # bool [B, C, T], valid steps: a prefix; a candidate without any is padding
    target: Array  # [B, C] probability that each is the one chosen, rows sum to 1: (1, 0) the first, (.5, .5) a tie
    next_obs: PyTree = None  # leaves [B, C, ...], what the last valid step led to
    prompt: PyTree = None  # leaves [B, ...], shared by the candidates: features, or token ids [B, P]
    prompt_mask: Array | None = None  # bool [B, P], valid tokens of the prompt
    rank: Array | None = None  # int [B, C]: 0 the best, equal ones tie, -1 not ranked
    weight: Array | None = None  # [B] of the example in a loss: 0 drops it, so that curation changes no shape
    strength: Array | None = None  # [B] >= 0, how much better the better of two was said to be; 0 unknown
    annotator: Array | None = None  # int [B], who judged
    principle: Array | None = None  # [B, P], the criterion that was judged by
    factor: Array | None = None  # [B, C, F] ratings, attributes or domain features of each candidate
    factor_mask: Array | None = None  # bool [B, C, F], which of them are known
    step_label: Array | None = None  # [B, C, T, L] labels of L kinds, each at the last step of what it is about
    step_mask: Array | None = None  # bool [B, C, T, L], which of them are known
    binary: Array | None = None  # [B, C] in [0, 1], a reaction to one candidate alone (a thumb up)
    binary_mask: Array | None = None  # bool [B, C], which of them are known
    source: Array | None = None  # int [B]: 0 a person, 1 a synthetic teacher, 2 a model, 3 a label changed by curation
    behaviour_log_prob: Array | None = None  # [B, C, T] of each action under the policy that produced it
    reference_log_prob: Array | None = None  # [B, C, T] of each action under the reference policy
    gold: Array | None = None  # [B, C] true returns, for evaluation only: no loss may read them


class GroupBatch(NamedTuple):
    """`B` prompts with `G` answers each, which have `K` rewards each: what policy gradients of groups learn from.

    Answers come in no order. Tokens are actions, padded at their end to `T`. What is unknown is None.
    """

    action: Array  # int [B, G, T]
    mask: Array  # bool [B, G, T], valid tokens: a prefix
    reward: Array  # [B, G, K] of whole answers; losses take the sum, whoever weighs rewards does so before
    prompt: PyTree = None  # leaves [B, ...], shared by the group: token ids [B, P]
    prompt_mask: Array | None = None  # bool [B, P], valid tokens of the prompt
    weight: Array | None = None  # [B] of the prompt in a loss
    behaviour_log_prob: Array | None = None  # [B, G, T] of each token under the policy that produced it
    reference_log_prob: Array | None = None  # [B, G, T] of each token under the reference policy


class Mean(NamedTuple):
    """A metric that is a mean over a varying number of items (returns over the episodes that happened to end).

    Kept as total and count so that means over updates, devices and processes stay exact and no NaN stands for "none".
    """

    total: Array
    count: Array


class Channel(NamedTuple):
    """One reward channel: its name, and how a critic treats it."""

    name: str
    discount: Array | float | None = None  # per step; None: the algorithm's own
    lambda_: Array | float | None = None  # trace decay; None: the algorithm's own
    episodic: bool = True  # False: the value continues through episode ends, from the first state of the next episode


class Front(NamedTuple):
    """A set of value vectors at a fixed capacity; larger is better in every objective."""

    points: Array  # [N, m]
    valid: Array  # bool [N]; the other rows are padding


class HeatMap(NamedTuple):
    """A number for each cell of a map, the first axis to the right and the second upwards."""

    value: Array  # [n, m]
    filled: Array  # bool [n, m]; the other cells are empty


class EnvSpec(NamedTuple):
    """What a reward source may know of the environment when it is initialised."""

    observation_space: Space
    action_space: Space
    reward_channels: tuple[str, ...]  # names of the environment's own rewards
    num_envs: int  # B of the batches in stream order


class RewardSource(NamedTuple):
    """Makes `k = len(channels)` reward channels from transitions.

    `compute` sees batches in stream order; episodic memory and running statistics advance in it. `update` is the
    learning of the source itself (a predictor, a reward model), once for each batch. Off-policy algorithms store what
    `compute` gave and, where a source has `rescore`, ask it again for replayed transitions, in any order and under the
    source's newest state: a source whose reward depends on one transition alone should have it, an episodic one cannot.
    `stored` is what a channel that cannot be scored again keeps; None where all of them must be.
    """

    # (key, spec) -> state
    init: Callable[[Array, EnvSpec], PyTree]
    # (state, batch, key) -> rewards [T, B, k], state
    compute: Callable[[PyTree, Transition, Array], tuple[Array, PyTree]]
    # (state, batch, key) -> state, metrics
    update: Callable[[PyTree, Transition, Array], tuple[PyTree, dict[str, Any]]]
    channels: tuple[Channel, ...]
    # (state, batch, stored, key) -> rewards [T, B, k]
    rescore: Callable[[PyTree, Transition, Array | None, Array], Array] | None = None


class WeightingStats(NamedTuple):
    """What a weighting may look at after each batch."""

    returns: Array  # [K] mean undiscounted return of each channel over the episodes that ended; zeros if none did
    episodes: Array  # [] how many ended: where it is zero `returns` means nothing
    gram: Array | None  # [K, K] inner products of the channels' policy gradients, if the weighting asks for them


class Weighting(NamedTuple):
    """Turns `K` channels into one direction of improvement: the advantage is `sum_k weights_k advantage_k`."""

    init: Callable[[int], PyTree]  # num_channels -> state
    update: Callable[[PyTree, WeightingStats], tuple[Array, PyTree, dict[str, Any]]]  # -> weights [K], state, metrics
    needs_gram: bool = False


class Policy(NamedTuple):
    """How to act: `init(batch_size) -> carry` (`()` without memory) and `act(...) -> (action, carry)`.

    `act(key, obs, carry, reset, greedy=False)`; leaves of `obs` are `[B, ...]`; `reset` is bool `[B]`, true where
    `obs` is the first of an episode, so that memory does not leak from one episode into the next.
    """

    init: Callable[[int], PyTree]
    act: Callable[..., tuple[Array, PyTree]]


class Algorithm(NamedTuple):
    """A learner as pure functions.

    `update` is one iteration: collect and learn, or learn from `data`. Its metrics are scalars, vectors `[K]` with one
    entry for each channel, or `Mean`s of those; the driver averages them over updates.

    An algorithm that keeps several policies, or one that is told what to aim at, has `front`: the returns that they
    reach, `points [N, K]` with one column for each channel, as the algorithm measures them. The driver logs their
    hypervolume where the environment has a `reference_point`, and writes them beside its tables.
    """

    init: Callable[[Array], PyTree]  # key -> state
    update: Callable[..., tuple[PyTree, dict[str, Any]]]  # (state, data=None) -> state, metrics
    policy: Callable[[PyTree], Policy]
    # Environment steps that one update takes, over all its environments; gradient steps, where it only reads data.
    steps_per_update: int
    channels: tuple[Channel, ...]
    # What learning has changed (parameters, optimiser, statistics), without environments and replay: state -> learned,
    # and (state, learned) -> state. Populations keep and exchange it.
    learned: Callable[[PyTree], PyTree] | None = None
    with_learned: Callable[[PyTree, PyTree], PyTree] | None = None
    front: Callable[[PyTree], Front] | None = None  # state -> the returns [N, K] of what it has found
    heat_map: Callable[[PyTree], HeatMap] | None = None  # state -> its archive, cell by cell; the driver stores it


class Environment(Protocol):
    """gymnax 1.0's interface, structurally: a gymnax environment is one, and so is any class with these methods."""

    @property
    def default_params(self) -> Any: ...

    def reset_env(self, key: Array, params: Any) -> tuple[PyTree, PyTree]:
        """Start an episode: `(obs, state)`."""
        ...

    def step_env(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, dict[Any, Any]]:
        """One step without reset: `(obs, state, reward, terminated, info)`."""
        ...

    def is_truncated(self, state: PyTree, params: Any) -> Array:
        """Whether the state just reached ends the episode for a reason outside the task (the time limit)."""
        ...

    def reset(self, key: Array, params: Any) -> tuple[PyTree, PyTree]: ...

    def step(
        self, key: Array, state: PyTree, action: Array, params: Any
    ) -> tuple[PyTree, PyTree, Array, Array, Array, dict[Any, Any]]:
        """One step with reset where it ended: `(obs, state, reward, terminated, truncated, info)`."""
        ...

    def observation_space(self, params: Any) -> Any: ...

    def action_space(self, params: Any) -> Any: ...
