"""Values of programs that start from a language model's logits, and learn from what its programs returned.

Programs in postfix notation are to compute a number. A small network imitates a corpus in which half of the answers are
spoilt: the language model. Its own programs, and the corpus, with what they were paid, are the data; nothing else is
run. B-Coder learns in three steps: the logits, times a temperature and less their maximum, are advantages; a state
value is fitted to them by TD, with the logits frozen; then both go on, with a residual value that starts at 0, along
backups that follow the frozen model's greedy action, beside two terms for the corpus's programs that pass (small
advantages, and cross entropy). All are sampled from softmax(Q / temperature).

Compared are the language model; the same values from scratch with the maximum in the backup, a dueling DQN; B-Coder
with the maximum, both with and without the two terms; and, without a condition, the language model trained further by
the cross entropy alone, which passes more often than any: a thousand programs that pass say more here than what the
others were paid. Programs are ranked by the sum of the rewards that the values imply.

Chosen on seeds 0 and 1, in three rounds: the step size (1e-3, 3e-3), how often the target network is renewed (50, 200)
and the weights of the terms (0.1 and 0.5, or 0.02 for both, with which B-Coder passes less often).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.claims.claim import Claim, Condition
from benchmarks.claims.descent import descend
from rlx.envs.token import END, PAD, completion_mask
from rlx.envs.token_tasks import postfix_tasks
from rlx.types import Array, PyTree
from rlx.value import dueling, greedy_action, inverse_bellman_reward, q_target, take_action, td_loss

ENV = postfix_tasks()
T, V, PROMPTS = ENV.task.length, ENV.task.vocabulary - END, len(ENV.prompts)
HIDDEN = 64
CORPUS, OWN = 2000, 4000  # programs
BATCH, LEARNING_RATE = 64, 3e-3
IMITATE, WARM, STEPS = 1000, 200, 800
TEMPERATURE = 0.2  # reward per nat of the logits
SMALL, CROSS = 0.1, 0.5  # weights of the two terms for programs that pass
DISCOUNT, SLOW = 1.0, 50  # the target network is that of so many steps before, at most
DRAWN, RANKED = 64, 16  # programs of each prompt to measure by; of which the best is taken
ARMS = (
    "language model",
    "from scratch",
    "cross entropy alone",
    "B-Coder",
    "B-Coder without terms",
    "with the maximum",
    "with the maximum, without terms",
)


class Programs(NamedTuple):
    target: Array  # int32 [N], the number asked for
    token: Array  # int32 [N, T]
    reward: Array  # [N]


def begin(key: Array, outputs: int) -> PyTree:
    """Three layers; the last one starts near 0."""
    sizes = (PROMPTS + T * (V + 1), HIDDEN, HIDDEN, outputs)
    keys = jax.random.split(key, 3)
    scale = (1.0, 1.0, 0.01)
    return [
        (s * jax.random.normal(k, (n, m)) / n**0.5, jnp.zeros(m))
        for k, n, m, s in zip(keys, sizes[:-1], sizes[1:], scale, strict=True)
    ]


def apply(params: PyTree, target: Array, token: Array) -> Array:
    """Outputs before each token of programs and after the last, `[N, T + 1, outputs]`."""
    before = jnp.tril(jnp.ones((T + 1, T)), -1)
    written = jax.nn.one_hot(token, V + 1)[:, None] * before[..., None]  # [N, T + 1, T, V + 1]
    asked = jnp.broadcast_to(jax.nn.one_hot(target, PROMPTS)[:, None], (len(token), T + 1, PROMPTS))
    x = jnp.concatenate([asked, written.reshape(len(token), T + 1, -1)], -1)
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


class Learned(NamedTuple):
    policy: PyTree  # logits, and a residual value as the last output
    value: PyTree


def action_values(params: Learned, target: Array, token: Array) -> tuple[Array, Array]:
    """Values `[N, T + 1, V]`, and the advantages in them."""
    out = apply(params.policy, target, token)
    value = out[..., -1] + apply(params.value, target, token)[..., 0]
    q = dueling(value, TEMPERATURE * out[..., :-1], baseline="max")
    return q, q - value[..., None]


def draw(key: Array, log_policy: Callable[[Array, Array], Array], number: int) -> Programs:
    """`number` programs to each prompt; `log_policy(target, token)` has logits `[N, T + 1, V]`."""
    target = jnp.repeat(jnp.arange(PROMPTS), number)

    def step(carry: tuple[Array, Array], xs: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        (token, over), (key, place) = carry, xs
        logits = jnp.take(log_policy(target, token), place, axis=1)
        chosen = jnp.where(over, PAD, END + jax.random.categorical(key, logits)).astype(jnp.int32)
        return (token.at[:, place].set(chosen), over | (chosen == END)), None

    start = jnp.zeros((len(target), T), jnp.int32), jnp.zeros(len(target), bool)
    (token, _), _ = jax.lax.scan(step, start, (jax.random.split(key, T), jnp.arange(T)))
    return Programs(target, token, ENV.score(ENV.prompts[target], token, completion_mask(token)))


def some(rows: Programs, key: Array) -> Programs:
    index = jax.random.randint(key, (BATCH,), 0, len(rows.target))
    return jax.tree.map(lambda x: x[index], rows)


def imitation(logits: Array, token: Array) -> Array:
    """Cross entropy of each token `[N, T]`, 0 for padding."""
    log_prob = jax.nn.log_softmax(logits[:, :-1])
    return jnp.where(token != PAD, -take_action(log_prob, jnp.maximum(token - END, 0)), 0.0)


def td(params: Learned, slow: Learned, rows: Programs, frozen: PyTree | None) -> Array:
    """The TD loss of each token `[N, T]`; without a frozen model the backup takes the maximum."""
    mask = rows.token != PAD
    last = mask & ~jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    q, _ = action_values(params, rows.target, rows.token)
    ahead, _ = action_values(slow, rows.target, rows.token)
    guide = ahead if frozen is None else apply(frozen, rows.target, rows.token)[..., :-1]
    paid, discount = jnp.where(last, rows.reward[:, None], 0.0), jnp.where(last, 0.0, DISCOUNT)
    wanted = q_target(guide[:, 1:], ahead[:, 1:], paid, discount, double=True)
    taken = take_action(q[:, :-1], jnp.maximum(rows.token - END, 0))
    return jnp.where(mask, td_loss(taken, wanted), 0.0)


def learn(key: Array, start: Learned, data: Programs, loss: Callable[..., Array], steps: int) -> Learned:
    """Adam on `loss(params, slow, rows, key)`; the slow parameters are renewed every `SLOW` steps."""
    rounds = max(1, steps // SLOW)

    def stretch(params: Learned, keys: Array) -> tuple[Learned, None]:
        slow = params
        found, _ = descend(lambda p, k: loss(p, slow, some(data, k), k), params, keys[None], LEARNING_RATE)
        return found, None

    return jax.lax.scan(stretch, start, jax.random.split(key, (rounds, steps // rounds)))[0]


def one(seed: Array, steps: int) -> dict[str, Array]:
    keys = jax.random.split(jax.random.key(seed), 12)
    shown = ENV.demonstrations(keys[0], CORPUS)
    corpus = Programs(
        shown.prompt[:, 0] - ENV.prompts[0, 0], shown.token, ENV.score(shown.prompt, shown.token, shown.mask)
    )
    passing = corpus.reward == 1

    # --- the language model ---

    def imitate(params: PyTree, key: Array) -> Array:
        rows = some(corpus, key)
        return imitation(apply(params, rows.target, rows.token)[..., :-1], rows.token).mean()

    model, _ = descend(
        imitate, begin(keys[1], V + 1), jax.random.split(keys[2], (1, min(IMITATE, 10 * steps))), LEARNING_RATE
    )
    model[-1] = tuple(x.at[..., -1].set(0.0) for x in model[-1])  # the residual value
    own = draw(keys[3], lambda target, token: apply(model, target, token)[..., :-1], OWN // PROMPTS)
    data = jax.tree.map(lambda *x: jnp.concatenate(x), corpus, own)
    right = jax.tree.map(lambda x: x[jnp.argsort(~passing)[: CORPUS // 2]], corpus)  # at least half of them pass

    # --- values ---

    def warm(params: Learned, slow: Learned, rows: Programs, key: Array) -> Array:
        del key
        held = params._replace(policy=jax.lax.stop_gradient(params.policy))
        return td(held, slow, rows, model).mean()

    def with_terms(frozen: PyTree | None, weight: Array) -> Callable[..., Array]:
        def loss(params: Learned, slow: Learned, rows: Programs, key: Array) -> Array:
            params = params._replace(value=jax.lax.stop_gradient(params.value))
            good = some(right, jax.random.fold_in(key, 1))
            _, advantage = action_values(params, good.target, good.token)
            small = -take_action(advantage[:, :-1], jnp.maximum(good.token - END, 0))
            cross = imitation(advantage / TEMPERATURE, good.token)
            terms = jnp.where(good.token != PAD, weight[0] * small, 0.0) + weight[1] * cross
            return (td(params, slow, rows, frozen) + terms).mean()

        return loss

    def alone(params: Learned, slow: Learned, rows: Programs, key: Array) -> Array:
        del key
        return td(params, slow, rows, None).mean()

    def further(params: Learned, slow: Learned, rows: Programs, key: Array) -> Array:
        del slow, rows
        good = some(right, jax.random.fold_in(key, 1))
        return imitation(apply(params.policy, good.target, good.token)[..., :-1], good.token).mean()

    first = Learned(model, begin(keys[4], 1))
    warmed = learn(keys[5], first, data, warm, min(WARM, steps))
    scratch = Learned(begin(keys[6], V + 1), begin(keys[7], 1))
    weights = jnp.array([[SMALL, CROSS], [0.0, 0.0]])  # with the terms, and without

    def coder(frozen: PyTree | None) -> Learned:
        return jax.vmap(lambda weight: learn(keys[8], warmed, data, with_terms(frozen, weight), steps))(weights)

    dqn = learn(keys[9], scratch, data, alone, min(WARM, steps) + steps)
    imitating = learn(keys[8], first, data, further, steps)
    singly = [jax.tree.map(lambda x: x[None], params) for params in (first, dqn, imitating)]
    arms = jax.tree.map(lambda *x: jnp.concatenate(x), *singly, coder(model), coder(None))

    def measure(params: Learned) -> dict[str, Array]:
        drawn = draw(keys[10], lambda *x: action_values(params, *x)[1] / TEMPERATURE, DRAWN)
        passed = drawn.reward == 1
        q, _ = action_values(params, drawn.target, drawn.token)
        mask = drawn.token != PAD
        last = mask & ~jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
        taken = take_action(q[:, :-1], jnp.maximum(drawn.token - END, 0))
        ahead = take_action(q, greedy_action(q))[:, 1:]
        implied = inverse_bellman_reward(taken, ahead, jnp.where(last, 0.0, DISCOUNT))
        total = jnp.sum(jnp.where(mask, implied, 0.0), 1).reshape(-1, RANKED)
        best = jnp.take_along_axis(passed.reshape(-1, RANKED), total.argmax(1)[:, None], 1)
        return {"": passed.mean(), ", ranked": best.mean(), ": highest value": q.max()}

    measured = jax.vmap(measure)(arms)
    return {f"{name}{what}": x[i] for i, name in enumerate(ARMS) for what, x in measured.items()}


def run(seeds: Sequence[int], updates: int) -> dict[str, list[float]]:
    found = jax.jit(jax.vmap(lambda seed: one(seed, updates)))(jnp.asarray(seeds, jnp.uint32))
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


CLAIM = Claim(
    name="program_values",
    title="B-Coder: Value-Based Deep Reinforcement Learning for Program Synthesis",
    year=2024,
    cards=(151,),
    environment="rlx/postfix-5: programs of at most five tokens that compute a number, 8 numbers",
    baseline="the language model, of a corpus that is half wrong; a dueling DQN from scratch; B-Coder with the maximum",
    method="values that start at the model's logits, with backups by its greedy action",
    metric="share of sampled programs that pass",
    conditions=(
        Condition("over the language model: by 0.1", "B-Coder", "language model", 0.1, paired=True),
        Condition("over a dueling DQN from scratch: by 0.1", "B-Coder", "from scratch", 0.1, paired=True),
        Condition(
            "without the terms for what passes: over the same with the maximum in the backup",
            "B-Coder without terms",
            "with the maximum, without terms",
            paired=True,
        ),
        Condition("ranked by implied rewards, the best of 16: over any", "B-Coder, ranked", "B-Coder", paired=True),
    ),
    settings={
        "corpus": CORPUS,
        "own": OWN,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "warm": WARM,
        "temperature": TEMPERATURE,
        "small": SMALL,
        "cross": CROSS,
        "slow": SLOW,
        "hidden": HIDDEN,
    },
    updates=STEPS,
    steps_per_update=BATCH,
    run=run,
)
