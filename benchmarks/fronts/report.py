"""The report: one table for each workload, computed from the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.fronts.workloads import PEER, WORKLOADS
from benchmarks.speed.report import machine as machine
from benchmarks.speed.report import spread

Result = Mapping[str, Any]
OWN = "rlx"
TARGET = 50  # times faster than the peer
EQUAL = 0.001  # of the whole hypervolume: fronts that differ by less are equally good
HEAD = """# Fronts

Written by `python -m benchmarks.fronts`; all figures of one workload come from one interleaved run on one core.

- **front** is the hypervolume at equal environment steps over that of the exact front (for the reservoir: of all
  policies that any side of the workload ever had). Mean over seeds (lowest to highest). Policies are asked for 50
  evenly spaced weights (55 for three objectives), or all those of the archive are taken; one judge plays the greedy
  actions of both sides: exactly where the environment is finite, else for 100 episodes with the same random numbers.
  Pareto Q-learning and PCN play for each point of their own front, in an environment without chance. Discount 0.99,
  but for PCN.
- **steps/s** and **seconds** are processor time of a run of one seed, without compilation (of the peer: without
  imports) and without the judge; on an idle core that is wall time, which **wall** has. Median over seeds (lowest to
  highest).
- **to 95%** is the time to the first checkpoint with that share of the hypervolume, **to the peer's** that to the
  mean front that the peer has at its end: median over the seeds that got there, of which there are so many. rlx goes
  on for twice the steps to find out, on the reservoir and on treasure but for tables and PCN. Checkpoints are no more
  than a sixth of the steps apart, mostly a tenth; of the time between them nothing is known.
- **ratio** is the peer's seconds over rlx's for equal steps.
- **compile** is tracing and compilation; **peak memory** includes imports and compilation.

Both sides see the same features, and have the same networks, batch sizes, replay, exploration and numbers of gradient
steps for each environment step. What differs, each side having it as it is written:

- rlx steps four environments side by side (Pareto Q-learning eight, PCN five whole episodes), the peer one. After the
  random steps at the start rlx takes one gradient step for each environment step, as the peer does.
- GPI-LS has layer normalisation and prioritised replay on both sides where actions are discrete. The peer has two
  networks with dropout besides, and multiplies embeddings of state and weights; rlx has one network on both together,
  and targets of three rewards. On the reservoir the peer learns by TD3, rlx by SAC with uniform replay.
- The peer's CAPQL has an entropy bonus in each objective. "rlx" learns each step under the preference it was taken
  for, "rlx, relabelled" under one drawn anew.
- The peer's MORL/D trains its learners in turn, those of rlx learn side by side; on both sides they share one replay,
  and none begins from what a neighbour has learned: with SAC the peer fails there (`MOSAC` has no `learning_rate`).
- Between two episodes of PCN there are five gradient steps of the peer and ten of rlx. The peer plays ten before it
  learns again and asks for one return in all, rlx plays five with one in each, and a tenth of random actions. The
  peer's evaluation and storing of networks after every update is left out.
- The peer's epsilon in Pareto Q-learning changes after each episode, that of rlx after each rollout; rlx backs up a
  rollout from its last step to its first.
- "rlx, no envelope" is plain DQN under preferences that are drawn anew for every replayed step.

GPI-LS on DQN, MORL/D and PCN of rlx were worse than the peer's in the first judged run (.827 against .879, .284
against .372; .914 against .985; .894 against .996, and .927 against .995 with more seeds) and were changed after it.
GPI-LS got layer normalisation, prioritised replay and three-step targets, the best of nine settings tried on seeds 0
to 9. MORL/D got a shared replay, and an error was mended: weights divided by the ranges of returns shrank the rewards
to a hundredth beside SAC's entropy bonus; all policies that any side found, of which its shares are, now include the
better ones, so they do not compare with those of the first run. In PCN an error was mended too: equal episodes counted
many times when a command was drawn, so that short ways were asked for most; and five episodes in place of ten go with
50 gradient steps, the best of four settings tried on seeds 0 to 19. In these four workloads there are more seeds than
in the first run, of rlx ten, of the peer three or five; they begin at 1000 as before, so rlx was judged again on seeds
whose first results had been seen, though none of the settings was compared on them.

While the programs were made to work they ran on some of the judging seeds too. After that the tabular task was given
20,000 steps in place of 10,000, in which the peer had not found the whole front; MORL/D 5,760 in place of 9,600, to
save time, no transfer, since the peer's failed, and five episodes to evaluate each learner on both sides; PCN of rlx a
faster way to draw its batches; and the peer two or three seeds in place of one, whose front had collapsed in
treasure-envelope. Peak memory in the tables of envelope, CAPQL, tables and reservoir-gpi was measured before it was
noticed that it may include that of the process that starts the workers.
"""


def total(result: Result) -> float:
    """Median CPU seconds of a whole run."""
    return statistics.median(run[-1]["used"]["cpu_s"] for run in result["runs"])


def runs_of(results: Sequence[Result]) -> list[Any]:
    return [run for result in results for run in result["runs"]]


def at(run: Sequence[Any], steps: int) -> Any:
    """The last checkpoint that has no more than so many steps."""
    return [checkpoint for checkpoint in run if checkpoint["steps"] <= steps][-1]


def first_time(run: Sequence[Any], hypervolume: float) -> float | None:
    """CPU seconds to the first checkpoint that is as good; None: there is none."""
    return next((c["used"]["cpu_s"] for c in run if c["hypervolume"] >= hypervolume), None)


def time_to(runs: Sequence[Any], hypervolume: float) -> str:
    """`median seconds (k of n)` to the first checkpoint that is as good."""
    reached = [seconds for run in runs if (seconds := first_time(run, hypervolume)) is not None]
    if not reached:
        return f"never (0 of {len(runs)})"
    return f"{statistics.median(reached):.2f} ({len(reached)} of {len(runs)})"


def markdown(results: Mapping[str, Any], machine: Mapping[str, Any]) -> str:
    """The whole report."""
    described = ", ".join(f"{name} {value}" for name, value in machine.items())
    missing = ", ".join(name for name in (*WORKLOADS, "population") if name not in results)
    parts = [HEAD, f"Machine: {described}.\n"]
    parts += [f"**Incomplete**: not measured here: {missing}.\n"] if missing else []
    parts.append(summary(results))
    parts += [population(r) if name == "population" else table(name, r) for name, r in results.items()]
    return "\n".join(parts)


def seconds_at(run: Sequence[Any], steps: int) -> float:
    """CPU seconds for so many steps, from the last checkpoint before them."""
    last = at(run, steps)
    return last["used"]["cpu_s"] / last["steps"] * steps


def speedup(own: Sequence[Any], peer: Sequence[Any], wanted: Callable[[Any], float]) -> tuple[float | None, str]:
    """The peer's median time to a hypervolume, `wanted` of each run, over that of rlx; None where a run of rlx failed.

    A run of the peer that did not get there counts with its whole time, which makes the quotient a lower bound.
    """
    ours = [seconds for run in own if (seconds := first_time(run, wanted(run))) is not None]
    theirs = [first_time(run, wanted(run)) for run in peer]
    got = f"rlx {len(ours)} of {len(own)}, peer {sum(x is not None for x in theirs)} of {len(peer)}"
    if len(ours) < len(own):
        return None, f"{got} got there"
    spent = [run[-1]["used"]["cpu_s"] if x is None else x for run, x in zip(peer, theirs, strict=True)]
    ratio = statistics.median(spent) / max(statistics.median(ours), 1e-9)
    return ratio, f"{'> ' if None in theirs else ''}{ratio:.0f}" + (f" ({got})" if None in theirs else "")


def summary(results: Mapping[str, Any]) -> str:
    """Where rlx is as fast as it should be, and its front no worse."""
    rows = [
        f"## The target: {TARGET} times faster, and never a worse front\n",
        "Processor time of the peer over that of rlx, without compilation: for equal steps; to the share of the whole "
        "hypervolume that the tables have; to 95% of the hypervolume that the run itself has at the compared steps. "
        f"The target is met if the second is at least {TARGET}, or the third where a run of rlx does not reach the "
        f"share; and only with a front that is no worse. Fronts within {EQUAL} of the whole are equal. "
        "The peer is slow, so it has few seeds, and fronts differ from seed to seed: its means are uncertain.\n",
        f"| workload | equal steps | to the share | to 95% of its own | {TARGET} times | front of rlx, of the peer | "
        "no worse |",
        "|---|---|---|---|---|---|---|",
    ]
    verdicts = {}
    for name, result in results.items():
        sides = result["sides"]
        both = [sides.get(side, []) for side in (OWN, PEER)]
        if name == "population" or not all(each and not any("error" in r for r in each) for each in both):
            continue
        own, peer = (runs_of(each) for each in both)
        steps, full = result["steps"], result["full"]
        took = [statistics.median(seconds_at(run, steps) for run in runs) for runs in (own, peer)]
        share, share_told = speedup(own, peer, lambda run, wanted=result["enough"] * full: wanted)
        final, final_told = speedup(own, peer, lambda run, steps=steps: 0.95 * at(run, steps)["hypervolume"])
        fronts = [statistics.mean(at(run, steps)["hypervolume"] / full for run in runs) for runs in (own, peer)]
        no_worse = fronts[0] >= fronts[1] - EQUAL
        met = no_worse and ((final if share is None else share) or 0) >= TARGET
        verdicts[name] = met, no_worse
        rows.append(
            f"| {name} | {took[1] / took[0]:.0f} | {share_told} | {final_told} | {'met' if met else 'missed'} | "
            f"{fronts[0]:.3f}, {fronts[1]:.3f} | {'yes' if no_worse else 'worse'} |"
        )
    told = {
        f"{TARGET} times faster": [name for name, (met, _) in verdicts.items() if met],
        f"Not {TARGET} times faster": [name for name, (met, _) in verdicts.items() if not met],
        "A worse front": [name for name, (_, no_worse) in verdicts.items() if not no_worse],
    }
    rows += ["", *(f"- {said}: {', '.join(names) or 'none'}." for said, names in told.items())]
    return "\n".join(rows) + "\n"


def table(name: str, result: Mapping[str, Any]) -> str:
    """The table of one workload."""
    steps, full, sides, enough = result["steps"], result["full"], result["sides"], result["enough"]
    whole = "the exact front" if result["exact"] else "all found"
    rows = [
        f"## {name}: {WORKLOADS[name].title}\n",
        f"Fronts at {steps:,} environment steps; hypervolume of {whole} {full:,.6g}. "
        f"Load average {result.get('load', '?')}.\n",
        f"| side | seeds | front | steps/s | ratio | seconds | wall | to {enough:.0%} | to the peer's | compile | "
        "peak memory (MiB) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    good = {side: each for side, each in sides.items() if each and not any("error" in r for r in each)}
    used = {side: [seconds_at(run, steps) for run in runs_of(each)] for side, each in good.items()}
    peer = statistics.median(used[PEER]) if PEER in used else None
    theirs = [at(run, steps)["hypervolume"] for run in runs_of(good[PEER])] if PEER in good else []
    for side, each in sides.items():
        if side not in good:
            error = next((r["error"] for r in each if "error" in r), "not run")
            rows.append(f"| {side} | did not run: {error} |" + " |" * 9)
            continue
        runs, seconds = runs_of(each), used[side]
        shares = [at(run, steps)["hypervolume"] / full for run in runs]
        wall = [at(run, steps)["used"]["wall_s"] / at(run, steps)["steps"] * steps for run in runs]
        cells = (
            side,
            str(len(runs)),
            f"{statistics.mean(shares):.3f} ({min(shares):.3f}-{max(shares):.3f})",
            f"{steps / statistics.median(seconds):,.0f}",
            "1" if side == PEER else f"{peer / statistics.median(seconds):.0f}" if peer else "",
            spread(seconds, ".2f"),
            spread(wall, ".2f"),
            time_to(runs, enough * full),
            time_to(runs, statistics.mean(theirs)) if theirs else "",
            "" if side == PEER else spread([r["compile"]["cpu_s"] for r in each], ".1f"),
            spread([r["rss_mib"] for r in each]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def population(result: Mapping[str, Any]) -> str:
    """The table of the populations."""
    rows = [
        "## population: PPO learners in one program, each with a weight vector of its own\n",
        "Deep sea treasure (convex), networks 2 x 64. **for each learner** is the time of one in the population over "
        "that of one alone.\n",
        "| side | environment steps | steps/s | CPU-s | wall | for each learner | compile | peak memory (MiB) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = None
    for side, each in result["sides"].items():
        if not each or any("error" in r for r in each):
            rows.append(f"| {side} | did not run: {next((r['error'] for r in each if 'error' in r), '')} |" + " |" * 6)
            continue
        seconds = [r["run"]["cpu_s"] for r in each]
        steps = each[0]["steps"]
        alone = alone or (statistics.median(seconds), steps)
        cells = (
            side,
            f"{steps:,}",
            f"{steps / statistics.median(seconds):,.0f}",
            spread(seconds, ".2f"),
            spread([r["run"]["wall_s"] for r in each], ".2f"),
            f"{statistics.median(seconds) / alone[0] * alone[1] / steps:.2f}",
            spread([r["compile"]["cpu_s"] for r in each], ".1f"),
            spread([r["rss_mib"] for r in each]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
