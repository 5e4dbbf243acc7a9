"""Every example runs from beginning to end, at a small size, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_EXAMPLES = {"dev.py", "kernel_index.py"}
SMALL = {
    "one_kernel.py": ["2"],
    "custom_environment.py": ["2048"],
    "vmap_learning_rate.py": ["1"],
    "tune_settings.py": ["2048", "3"],
    "pareto_front.py": ["3", "1", "front.png"],
    "own_bonus.py": ["4096", "0.5"],
    "offline_preferences.py": ["20", "20", "2"],
    "align_own_model.py": ["3"],
    "brax_robot.py": ["brax/fast", "4096", "OUT"],
    "pod.py": ["OUT", "4096", "2"],
}
# other tests run what they show
COSTLY = ("brax_robot.py", "tune_settings.py", "vmap_learning_rate.py", "pod.py", "offline_preferences.py")
SAYS = {
    "one_kernel.py": r"update 2: an episode lasts about \d+ steps",
    "custom_environment.py": r"after 2048 steps: return -\d",
    "vmap_learning_rate.py": r"(learning rate .*\n){4}",
    "tune_settings.py": r"best of \d+ trials: learning_rate",
    "pareto_front.py": r"3 learners, \d points of 10",
    "own_bonus.py": r"4096 steps: return 0\.00, cells seen \d+%",
    "offline_preferences.py": r"correlation .*\ntrue return of the log -\d+, after implicit Q-learning -\d+",
    "align_own_model.py": r"preferences: loss .*, gold reward -?\d\.\d+ of at most 1\.422",
    "brax_robot.py": r"\| OUT \| 1 \|",
    "pod.py": r"4 members on 1 devices of 1 processes",
}


def run(script: str, arguments: list[str], folder: Path) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "script", [pytest.param(name, marks=pytest.mark.slow) if name in COSTLY else name for name in sorted(SMALL)]
)
def test_example_runs(script, tmp_path):
    if script == "brax_robot.py":
        pytest.importorskip("brax")
    assert re.search(SAYS[script], run(script, SMALL[script], tmp_path))


def test_checkpoint_is_restored(tmp_path):
    from rlx.__main__ import main

    out = str(tmp_path / "run")
    assert main(["train", "ppo", "--env", "CartPole-v1", "--total-steps", "4096", "--seeds", "2", "--out", out]) == 0
    assert re.search(
        r"members \[\{'seed': 0\}, \{'seed': 1\}\]\nreturn \d+", run("restore_checkpoint.py", [out], tmp_path)
    )


@pytest.mark.slow
def test_reward_is_learned_by_one_program_and_used_by_another(tmp_path):
    learned = run("learned_reward.py", ["learn", "reward", "8192", "20"], tmp_path)
    assert re.search(r"true return after 8192 steps: -\d+\n20 comparisons, of which the members predict \d+%", learned)
    assert re.search(
        r"true return after 2000 steps: -\d+", run("learned_reward.py", ["use", "reward", "2000"], tmp_path)
    )


@pytest.mark.slow
def test_person_teaches_through_the_page(tmp_path):
    """The person prefers longer pieces; in the middle the program is killed and started again."""
    arguments = [str(ROOT / "scripts" / "label_preferences.py"), "run", "CartPole-v1", "22528", "20", "0"]
    answered = 0
    for kill_after in (7, None):
        program = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while answered != kill_after and (line := program.stderr.readline()):
            if found := re.search(r"questions wait at (\S+)", line):
                while (question := reach(found[1] + "question"))["query"] and answered != kill_after:
                    left, right = (len(segment["obs"]) for segment in question["segments"])
                    said = "left" if left > right else "right" if right > left else "equal"
                    reach(found[1] + "answer", {"query": question["query"], "answer": said})
                    answered += 1
        if kill_after:
            program.kill()
        said, errors = program.communicate(timeout=300)
    assert program.returncode == 0, errors[-3000:]
    assert answered == 20
    assert re.search(r"22528 steps: true return \d+", said)
    assert (tmp_path / "run" / "reward" / "reward.json").exists()


def reach(url: str, content: object = None) -> dict:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def test_every_example_is_tested():
    examples = {path.name for path in (ROOT / "scripts").glob("*.py")} - NOT_EXAMPLES
    assert examples == {*SMALL, "restore_checkpoint.py", "learned_reward.py", "label_preferences.py"}
    listed = set(re.findall(r"^\| `(\w+\.py)`", (ROOT / "scripts" / "README.md").read_text(), re.MULTILINE))
    assert listed == examples
