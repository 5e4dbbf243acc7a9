"""Verdicts on synthetic samples, what is stored and listed, and the claims' own definitions at tiny budgets."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.claims import __main__ as command_line
from benchmarks.claims import lagrange_cost, report, rnd_keydoor
from benchmarks.claims.claim import Claim, Condition, judge
from rlx.envs.tabular import constrained, constrained_optimum

RNG = np.random.default_rng(0)
HIGH, LOW = (RNG.normal(mean, 0.1, 20) for mean in (1.0, 0.0))


def toy(*conditions: Condition, samples: dict | None = None, **changes) -> Claim:
    settings = dict(
        name="toy",
        title="A paper",
        year=2000,
        cards=(7, 9),
        environment="none",
        baseline="low",
        method="high",
        metric="a number",
        conditions=conditions,
        settings={"learning_rate": 0.1},
        updates=50,
        steps_per_update=10,
        run=lambda seeds, updates: samples or {"high": HIGH[: len(seeds)].tolist(), "low": LOW[: len(seeds)].tolist()},
    )
    return Claim(**{**settings, **changes})


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition("", "high", "low"), "reproduced"),
        (Condition("", "high", "low", margin=0.5), "reproduced"),
        (Condition("", "high", "low", margin=1.0), "not reproduced"),  # about as large as claimed: could be smaller
        (Condition("", "high", "low", margin=5.0), "not reproduced"),  # positive, but far less than claimed
        (Condition("", "low", "high"), "refuted"),
        (Condition("", "low", "high", direction=-1), "reproduced"),
        (Condition("", "low", "low"), "not reproduced"),
        (Condition("", "high", 0.5), "reproduced"),
        (Condition("", "high", 1.5), "refuted"),
        (Condition("", "high", 1.5, direction=-1, margin=0.3), "reproduced"),
    ],
)
def test_verdicts(condition, expected):
    verdict, judged = judge(toy(condition), {"high": HIGH, "low": LOW})
    assert verdict == expected == judged[0].verdict


def test_the_worst_condition_decides():
    good, unclear, bad = (Condition("", "high", at) for at in (0.5, 1.0, 1.5))
    samples = {"high": np.concatenate([HIGH, 2 - HIGH])}  # mean 1 exactly
    for conditions, expected in (
        ((good, good), "reproduced"),
        ((good, unclear), "not reproduced"),
        ((good, unclear, bad), "refuted"),
    ):
        assert judge(toy(*conditions), samples)[0] == expected


def test_pairs_are_resampled_together():
    problem = RNG.normal(0, 10, 20)  # differences between problems hide an effect that every one of them shows
    samples = {"high": problem + HIGH, "low": problem + LOW}
    assert judge(toy(Condition("", "high", "low")), samples)[0] == "not reproduced"
    assert judge(toy(Condition("", "high", "low", paired=True)), samples)[0] == "reproduced"


def test_equal_seeds_have_an_interval_and_one_seed_has_none():
    solved = {"high": [1.0] * 10, "low": [0.0] * 10}
    condition = Condition("", "high", "low", margin=0.5)
    assert judge(toy(condition), solved)[0] == "reproduced"
    assert judge(toy(condition), {"high": [1.0], "low": [0.0]})[0] == "not reproduced"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "TABLE", tmp_path / "CLAIMS.md")
    return tmp_path


def test_a_result_is_stored_listed_and_in_the_table(store, monkeypatch, capsys):
    samples = {"high": [1.0] * 9 + [0.9], "low": [0.0] * 10, "first": [3.0] + [float("inf")] * 9}
    condition = Condition("high is higher", "high", "low", margin=0.5)
    claim = toy(condition, samples=samples, history=("2000-01-01: twice the budget",))
    monkeypatch.setattr(report, "load_claims", lambda: {"toy": claim, "other": toy(condition, name="other")})
    command_line.main(["run", "--cards", "9,7", "--smoke"])
    assert not report.path("toy").exists()
    command_line.main(["run", "toy"])
    stored = json.loads(report.path("toy").read_text())
    assert stored["samples"]["high"] == samples["high"]
    assert stored["samples"]["first"] == [3.0] + [None] * 9
    assert stored["steps"] == 500
    assert stored["seeds"] == list(range(1000, 1010))
    assert stored["settings"] == {"learning_rate": 0.1}
    assert stored["commit"]
    capsys.readouterr()

    command_line.main(["list", "--json"])
    toy_row, other = json.loads(capsys.readouterr().out)
    assert toy_row["verdict"] == "reproduced"
    assert toy_row["cards"] == [7, 9]
    assert toy_row["effect"] == 0.99
    assert other["verdict"] is None
    command_line.main(["list"])
    assert "not run" in capsys.readouterr().out

    command_line.main(["table"])
    text = report.TABLE.read_text()
    assert "| [toy](claims/toy.py) | A paper, 2000 | high is higher | 0.99 [" in text
    assert "twice the budget" in text
    assert "| first | 3 | 3 | 3 |" in text


@pytest.mark.parametrize("arguments", [["run"], ["run", "nonsense"], ["run", "--cards", "12345"]])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit):
        command_line.main(arguments)


def test_every_claim_is_complete():
    claims = report.load_claims()
    assert {"rnd_keydoor", "lagrange_cost"} <= set(claims)
    for claim in claims.values():
        assert claim.conditions
        json.dumps(claim.settings)


def test_stored_results_follow_from_their_numbers():
    """The files were not edited: judged again, their samples give the stored verdicts, and the table is theirs."""
    claims = report.load_claims()
    for claim in claims.values():
        if result := report.stored(claim):
            samples = {name: [np.inf if x is None else x for x in values] for name, values in result["samples"].items()}
            verdict, judged = judge(claim, samples)
            assert result["verdict"] == verdict
            for stored, (condition, effect, each) in zip(result["conditions"], judged, strict=True):
                assert stored["verdict"] == each
                assert stored["statement"] == condition.statement
                np.testing.assert_allclose(stored["effect"], effect.value, rtol=1e-4, atol=1e-5)
    assert report.TABLE.read_text() == report.markdown(claims)


@pytest.mark.parametrize("make", [rnd_keydoor.alone, rnd_keydoor.with_bonus])
def test_algorithms_of_the_maze_can_be_traced(make):
    algorithm = make(rnd_keydoor.CONFIG)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    _, metrics = jax.eval_shape(algorithm.update, state)
    assert len(algorithm.channels) == metrics["episode_return"].total.size


@pytest.mark.slow  # 20 seconds of compilation each
@pytest.mark.parametrize("name", report.load_claims())
def test_a_claim_runs(name):
    claim = report.load_claims()[name]
    result = report.run_claim(claim, smoke=True)
    assert {len(values) for values in result["samples"].values()} == {2}
    assert result["updates"] == 2


def test_episodes_cost_what_the_linear_program_says():
    """The return of an episode that ends at random is the discounted sum: by simulation of the program's policy."""
    problem = lagrange_cost.problem(0)
    solution = constrained_optimum(constrained(jax.random.key(0), gamma=lagrange_cost.GAMMA), problem.limit)
    policy = jnp.concatenate([jnp.asarray(solution.policy), jnp.full((1, 3), 1 / 3)])
    env, params = problem.env, problem.env.default_params

    def episode(key):
        def step(carry, key):
            state, total, running = carry
            act_key, env_key = jax.random.split(key)
            action = jax.random.categorical(act_key, jnp.log(policy[state.index]))
            _, state, reward, terminated, _ = env.step_env(env_key, state, action, params)
            return (state, total + running * reward, running & ~terminated), None

        reset_key, run_key = jax.random.split(key)
        _, state = env.reset_env(reset_key, params)
        start = (state, jnp.zeros(2), jnp.bool_(True))
        return jax.lax.scan(step, start, jax.random.split(run_key, 150))[0][1]

    totals = np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(1), 20_000)))
    error = totals.std(0) / np.sqrt(len(totals))
    assert abs(totals[:, 0].mean() - problem.optimum) < 4 * error[0]
    assert abs(totals[:, 1].mean() - problem.limit) < 4 * error[1]
