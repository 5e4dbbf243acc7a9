"""Preferences asked of a person: a local web page that shows two segments, and files that lose no answer.

The folder of a labelling::

    queries/<update>.npz     the segments asked about after that update
    answers.jsonl            a line for each answer, appended: {"query": "<update>/<number>", "answer": "left", ...}

Both are the whole truth: the reward source's state is filled from them before each chunk of training, so a run that was
killed goes on from its checkpoint with every answer given so far. An answer given again replaces the first.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rlx import check
from rlx.reward.learned import PreferenceState, answer, propose
from rlx.types import PreferenceBatch

PAGE = Path(__file__).with_name("labelling.html")
# answer -> target, weight
MEANING = {"left": ((1.0, 0.0), 1.0), "right": ((0.0, 1.0), 1.0), "equal": ((0.5, 0.5), 1.0), "skip": ((0.5, 0.5), 0.0)}


class Labelling:
    """Puts queries to a person, and the answers in the state: `fit(..., between=labelling)`.

    For algorithms whose `state.source` is that of `preference_reward(teacher=None)`. Training waits until the queries
    of the present session are answered or skipped.

    Args:
      folder: where queries and answers are kept.
      env: name of the environment, by which the page knows how to draw it: it draws CartPole-v1 and Pendulum-v1, of
        others the numbers of the observation over time.
      queries: in a session.
      every: updates between sessions; the first is after as many.
      port: of the page on this machine, which no other machine can reach; 0: any that is free.
      doubt, pool: see `rlx.reward.learned.propose`.
      seed: of the choice of queries.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        env: str,
        *,
        queries: int = 10,
        every: int = 1,
        port: int = 8765,
        doubt: Any = "disagreement",
        pool: int = 10,
        seed: int = 0,
    ):
        check.count("queries", queries)
        check.count("every", every)
        self.folder, self.env, self.queries, self.every, self.seed = Path(folder), env, queries, every, seed
        (self.folder / "queries").mkdir(parents=True, exist_ok=True)
        self._propose = jax.jit(
            lambda state, key, segment: propose(state, key, queries, segment=segment, doubt=doubt, pool=pool)[0],
            static_argnums=2,
        )
        self._answer = jax.jit(answer)
        self._lock = threading.Lock()
        self._answers = read_answers(self.folder / "answers.jsonl")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Take the page down."""
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, state: Any, update: int, stopping: Callable[[], bool]) -> Any:
        """Ask, wait, and give back the state with all answers in it."""
        source: PreferenceState = state.source
        budget, _, segment = source.preferences.mask.shape
        if update and update % self.every == 0 and self._count() + self.queries <= budget:
            path = self.folder / "queries" / f"{update:08}.npz"
            if not path.exists():
                key = jax.random.fold_in(jax.random.key(self.seed), update)
                _write(path, self._propose(source, key, segment))
        if waiting := len(self.open()):
            print(f"{waiting} questions wait at {self.url}", file=sys.stderr, flush=True)
        while self.open() and not stopping():
            time.sleep(0.1)
        return state._replace(source=self.fill(source))

    def fill(self, source: PreferenceState) -> PreferenceState:
        """The state with the answers in the order of their queries."""
        parts = [self._read(path) for path in self._sessions()]
        if not parts:
            return source
        batch = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        answered = np.flatnonzero(batch.weight >= 0)  # those without an answer so far are left out
        batch = jax.tree.map(lambda x: jnp.asarray(x[answered][: source.preferences.mask.shape[0]]), batch)
        return self._answer(source, batch, jnp.int32(0)) if len(answered) else source

    def open(self) -> list[str]:
        """The queries that have no answer yet."""
        names = [f"{int(path.stem)}/{number}" for path in self._sessions() for number in range(_size(path))]
        with self._lock:
            return [name for name in names if name not in self._answers]

    def question(self) -> dict[str, Any]:
        """What the page shows: the first open query, or none."""
        names = self.open()
        told = {"env": self.env, "open": len(names), "answered": len(self._answers), "query": None}
        if names:
            update, number = map(int, names[0].split("/"))
            batch = _load(self.folder / "queries" / f"{update:08}.npz")
            told |= {"query": names[0], "segments": [_drawn(batch, number, candidate) for candidate in (0, 1)]}
        return told

    def give(self, query: str, said: str) -> None:
        """Note an answer, on the disk before it counts.

        Raises:
          ValueError: for a query that was not asked, or an answer that there is not.
        """
        asked = {f"{int(path.stem)}/{number}" for path in self._sessions() for number in range(_size(path))}
        check.require(query in asked, "query", query, "one that was asked")
        check.require(said in MEANING, "answer", said, f"one of {', '.join(MEANING)}")
        with self._lock:
            append_answer(
                self.folder / "answers.jsonl", {"query": query, "answer": said, "time": round(time.time(), 3)}
            )
            self._answers[query] = said

    def take_back(self) -> None:
        """Ask the last answered query again."""
        with self._lock:
            if self._answers:
                query = next(reversed(self._answers))
                append_answer(self.folder / "answers.jsonl", {"query": query, "answer": None})
                del self._answers[query]

    def _sessions(self) -> list[Path]:
        return sorted((self.folder / "queries").glob("*.npz"))

    def _count(self) -> int:
        return sum(map(_size, self._sessions()))

    def _read(self, path: Path) -> PreferenceBatch:
        """A session with its answers; a weight of -1 says that there is none."""
        batch = _load(path)
        target, weight = np.full((len(batch.mask), 2), 0.5, np.float32), np.full(len(batch.mask), -1.0, np.float32)
        for number in range(len(weight)):
            with self._lock:
                said = self._answers.get(f"{int(path.stem)}/{number}")
            if said is not None:
                target[number], weight[number] = MEANING[said]
        return batch._replace(target=target, weight=weight)


def read_answers(path: Path) -> dict[str, str]:
    """Query -> the last answer to it, in the order in which they came; what a kill cut off in a line is passed over."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            query, said = (record := json.loads(line))["query"], record["answer"]
        except (ValueError, KeyError, TypeError):
            continue
        found.pop(query, None)
        if said in MEANING:
            found[query] = said
    return found


def append_answer(path: Path, record: dict[str, Any], *, sync: bool = True) -> None:
    """Append a line and, with `sync`, see it onto the disk; after a line that a kill cut off it begins a new one."""
    with open(path, "a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _write(path: Path, batch: PreferenceBatch) -> None:
    """The segments of a session, all at once: a file that is there is complete."""
    leaves: dict[str, Any] = {f"obs{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(batch.obs))}
    partial = path.with_suffix(".partial")
    structure = json.dumps(jax.tree.map(lambda _: 0, batch.obs))
    with open(partial, "wb") as file:
        np.savez(file, structure=structure, action=np.asarray(batch.action), mask=np.asarray(batch.mask), **leaves)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@functools.lru_cache(maxsize=256)
def _load(path: Path) -> PreferenceBatch:
    with np.load(path) as file:
        structure = jax.tree.structure(json.loads(str(file["structure"])))
        obs = jax.tree.unflatten(structure, [file[f"obs{i}"] for i in range(structure.num_leaves)])
        return PreferenceBatch(obs, file["action"], file["mask"], np.zeros(()))  # type: ignore[arg-type]


def _size(path: Path) -> int:
    return len(_load(path).mask)  # type: ignore[arg-type]


def _drawn(batch: PreferenceBatch, number: int, candidate: int) -> dict[str, Any]:
    """A segment's valid steps as lists of numbers."""
    length = int(batch.mask[number, candidate].sum())
    rows = [np.asarray(x)[number, candidate, :length].reshape(length, -1) for x in jax.tree.leaves(batch.obs)]
    action = np.asarray(batch.action)[number, candidate, :length].reshape(length, -1)
    whole = batch.mask.shape[2]
    return {
        "obs": np.concatenate(rows, axis=1).round(4).tolist(),
        "action": action.round(4).tolist(),
        "ended": length < whole,
        "whole": whole,
    }


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET / is the page, GET /question the next query; POST /answer and /back take JSON."""

    def __init__(self, labelling: Labelling, *arguments: Any):
        self.labelling = labelling
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if not self._from_here():
            return
        if self.path == "/":
            self._send(200, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/question":
            self._send_json(200, self.labelling.question())
        else:
            self._send_json(404, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        if not self._from_here():
            return
        try:
            if self.headers.get("Content-Type") != "application/json":  # which other sites' pages cannot send
                raise ValueError("Content-Type must be application/json")
            told = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 10_000)) or b"{}")
            if self.path == "/back":
                self.labelling.take_back()
            elif self.path == "/answer":
                self.labelling.give(str(told["query"]), str(told["answer"]))
            else:
                raise ValueError(f"there is no {self.path}")
        except (ValueError, KeyError, TypeError) as error:
            self._send_json(400, {"error": str(error)})
        else:
            self._send_json(200, self.labelling.question())

    def _from_here(self) -> bool:
        """Whether the page was asked for by this machine's name: other sites must not read it through the browser."""
        known = self.headers.get("Host", "").rpartition(":")[0] in ("127.0.0.1", "localhost")
        if not known:
            self._send_json(403, {"error": "open the page by the address that was printed"})
        return known

    def _send_json(self, status: int, content: Any) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for training."""
