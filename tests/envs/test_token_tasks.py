"""Rules for rewards against a plain Python reading of them; demonstrators; optima from the list of all answers."""

from __future__ import annotations

import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlx.envs import check_env
from rlx.envs.token import END, FIRST, PAD, completion_mask
from rlx.envs.token_tasks import bracket_tasks, evaluate_postfix, keyword_tasks, pattern_tasks, postfix_tasks


def keyword(prompt, answer, env):
    digits = [x for x in answer if x >= FIRST]
    return [float(set(prompt[:-1]) <= set(digits)), float(END in answer and len(digits) == prompt[-1] - FIRST)]


def pattern(prompt, answer, env):
    pairs = list(itertools.pairwise(answer))
    return [float(pairs.count(tuple(prompt[:2]))), float(pairs.count(tuple(prompt[2:])))]


def bracket(prompt, answer, env):
    brackets = "".join("()"[x - FIRST] if x in (FIRST, FIRST + 1) else "" for x in answer if x != END)
    others = [x for x in answer if x > FIRST + 1]
    if others or len(brackets) != 2 * (prompt[0] - FIRST):
        return [-1.0]
    while "()" in brackets:
        brackets = brackets.replace("()", "")
    return [-0.3 if brackets else 1.0]


def postfix(prompt, answer, env):
    digits, stack = env.task.vocabulary - FIRST - 3, []
    for token in (x - FIRST for x in answer if x >= FIRST):
        if token < digits:
            stack.append(token)
        elif len(stack) < 2:
            return [-0.6]
        else:
            b, a = stack.pop(), stack.pop()
            stack.append((operator.add, operator.sub, operator.mul)[token - digits](a, b))
    return [-1.0 if len(stack) != 1 else 1.0 if stack[0] == prompt[0] - FIRST else -0.3]


ENVS = {
    keyword: keyword_tasks(digits=5, length=5),
    pattern: pattern_tasks(),
    bracket: bracket_tasks(pairs=2),
    postfix: postfix_tasks(),
}


@pytest.mark.parametrize(("rule", "env"), ENVS.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_gold_rewards_follow_the_rules(rule, env):
    """Of random answers, and of the demonstrator's, which are more often right."""
    rng = np.random.default_rng(0)
    token = jnp.asarray(rng.integers(END, env.task.vocabulary, (600, env.task.length)))
    prompt = env.prompts[rng.integers(0, len(env.prompts), 600)]
    shown = env.demonstrations(jax.random.key(0), 600)
    seen = set()
    for asked, answers, mask in ((prompt, token, completion_mask(token)), (shown.prompt, shown.token, shown.mask)):
        wanted = [rule(p, t[m].tolist(), env) for p, t, m in zip(asked.tolist(), answers, mask, strict=True)]
        np.testing.assert_allclose(env.gold_reward(asked, answers, mask), wanted, atol=1e-6)
        seen |= {tuple(row) for row in wanted}
    assert len(seen) >= {keyword: 4, pattern: 5, bracket: 3, postfix: 4}[rule]


@pytest.mark.parametrize("env", ENVS.values())
def test_each_can_be_played(env):
    check_env(env)


@pytest.mark.parametrize("rule", [keyword, bracket, postfix])
def test_the_optimum_is_one(rule):
    small = {
        keyword: keyword_tasks(digits=5, length=4, prompts=4),
        bracket: bracket_tasks(pairs=2),
        postfix: ENVS[postfix],
    }
    assert small[rule].optimal_return() == 1.0


def test_optimum_of_competing_patterns():
    """Pairs (a, b), (c, d) in five places: by brute force in Python over the listed answers."""
    env = ENVS[pattern]
    every = env.enumerate()
    answers = [t[m].tolist() for t, m in zip(np.asarray(every.token), np.asarray(every.mask), strict=True)]
    best = [max(sum(pattern(p, a, env)) for a in answers) for p in env.prompts.tolist()]
    assert env.optimal_return() == pytest.approx(np.mean(best))
    assert min(best) >= 2


@pytest.mark.parametrize(("env", "careful"), [(keyword_tasks, 1.0), (postfix_tasks, 1.0), (postfix_tasks, 0.5)])
def test_a_careful_demonstrator_is_right(env, careful):
    env = env(careful=careful)
    shown = env.demonstrations(jax.random.key(1), 2000)
    score = np.asarray(env.score(shown.prompt, shown.token, shown.mask))
    if careful == 1:
        assert np.all(score == 1)
    else:
        assert 0.5 < np.mean(score == 1) < 0.65  # some of the spoilt ones are right all the same
    assert len({tuple(row) for row in shown.token.tolist()}) > 500


def test_nothing_runs_after_an_underflow():
    program = jnp.array([[4, 8, 5, 6, PAD], [4, 5, 6, PAD, PAD]])  # "2 -", and "2 3 4"
    value, depth, underflow = evaluate_postfix(program, program != PAD, 5)
    assert underflow.tolist() == [True, False]
    assert depth.tolist() == [1, 3]
    assert value.tolist() == [2, 4]


def test_errors_name_the_argument():
    for make, name, wrong in (
        (keyword_tasks, "keywords", {"keywords": 8}),
        (keyword_tasks, "length", {"length": 11}),
        (keyword_tasks, "careful", {"careful": 1.5}),
        (pattern_tasks, "prompts", {"prompts": 1000}),
        (bracket_tasks, "pairs", {"pairs": 0}),
        (postfix_tasks, "length", {"length": 4}),
        (postfix_tasks, "digits", {"digits": 3}),
    ):
        with pytest.raises(ValueError, match=name):
            make(**wrong)
