"""Annotators outside the program: a Python function asked in threads, while the device goes on.

The function may call a language model, show an image to a vision model, or wait for a person. Its answers are kept in
a log, in the order in which they came; a program holds how far it has read. So members of a population share what was
answered, and a run that was killed goes on with every answer given so far.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from rlx import check
from rlx.exploration.annotation import Annotator, Answers
from rlx.runtime.labelling import append_answer
from rlx.types import Array, PyTree

# (caption, its content or None) -> labels, or None for no answer
Answer = Callable[[int, Any], Sequence[float] | None]


class HostAnnotator:
    """Asks `answer` in threads; `annotator` is what goes into `rlx.exploration.labelled_events`.

    A question is handed over and whatever has been answered by then comes back, at once: a step never waits. Each
    caption is asked about once. A program that holds a host callback is compiled anew by each process.

    Args:
      answer: from a caption and its content (a pytree of NumPy arrays, None without) to `num_labels` numbers, or None.
      num_labels: numbers in an answer.
      workers: questions asked at the same time.
      folder: where questions and answers are kept, in `annotations.jsonl`; None: nowhere. Questions that were open when
        a run was killed are asked again, but for those with content, which is not kept.
      retries: how often a question is asked again whose answer failed with an exception; then it counts as None.
    """

    def __init__(
        self,
        answer: Answer,
        num_labels: int,
        *,
        workers: int = 4,
        folder: str | os.PathLike[str] | None = None,
        retries: int = 2,
    ):
        check.count("num_labels", num_labels)
        check.count("workers", workers)
        check.count("retries", retries, 0)
        self.answer, self.num_labels, self.retries = answer, num_labels, retries
        self.failures = 0
        self._path = None if folder is None else Path(folder) / "annotations.jsonl"
        self._lock = threading.Lock()
        self._log: list[tuple[int, Sequence[float] | None]] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="annotator")
        still_open: list[int] = []
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._log, still_open = read_annotations(self._path, num_labels)
        self._asked = {caption for caption, _ in self._log} | set(still_open)
        for caption in still_open:
            self._pool.submit(self._work, caption, None)
        self.annotator = Annotator(self._init, self._ask, num_labels)

    def close(self) -> None:
        """Drop the questions that nobody has begun to answer, and wait for the others."""
        self._pool.shutdown(cancel_futures=True)

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until everything that was asked is answered.

        Raises:
          TimeoutError: if it takes longer.
        """
        end = time.monotonic() + timeout
        while self.open():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.open()} questions are still open after {timeout:g} s")
            time.sleep(0.005)

    def answered(self) -> int:
        """How many questions have been answered."""
        with self._lock:
            return len(self._log)

    def open(self) -> int:
        """How many questions have no answer yet."""
        with self._lock:
            return len(self._asked) - len(self._log)

    def _init(self, key: Array, num: int) -> Array:
        """How many answers of the log have been read."""
        del key, num
        return jnp.zeros((), jnp.int32)

    def _ask(self, state: PyTree, caption: Array, content: PyTree) -> tuple[Answers, PyTree]:
        num = caption.size
        shapes = (
            jax.ShapeDtypeStruct((num,), jnp.int32),
            jax.ShapeDtypeStruct((num, self.num_labels), jnp.float32),
            jax.ShapeDtypeStruct((num,), jnp.bool_),
            jax.ShapeDtypeStruct((), jnp.int32),
        )
        *answers, state = io_callback(self.exchange, shapes, state, caption, content)
        return Answers(*answers), state

    def exchange(self, read: Any, caption: Any, content: PyTree = None) -> tuple[Any, ...]:
        """Hand over questions; the next answers of the log, as many at most, and how many have then been read."""
        caption, content = np.asarray(caption), jax.tree.map(np.asarray, content)
        num = len(caption)
        found = np.full(num, -1, np.int32), np.zeros((num, self.num_labels), np.float32), np.zeros(num, bool)
        start = int(read)
        with self._lock:
            for row, number in enumerate(caption.tolist()):
                if number >= 0 and number not in self._asked:
                    self._asked.add(number)
                    if self._path is not None and content is None:
                        append_answer(self._path, {"caption": number}, sync=False)
                    shown = jax.tree.map(lambda x, row=row: np.array(x[row]), content)
                    self._pool.submit(self._work, number, shown)
            new = self._log[start : start + num]
        for row, (number, label) in enumerate(new):
            found[0][row] = number
            if label is not None:
                found[1][row], found[2][row] = label, True
        return *found, np.int32(start + len(new))

    def _work(self, caption: int, content: Any) -> None:
        label: Sequence[float] | None = None
        for attempt in range(self.retries + 1):
            try:
                label = self.answer(caption, content)
                if label is not None:
                    label = [float(x) for x in label]
                    check.require(len(label) == self.num_labels, "an answer", label, f"{self.num_labels} numbers")
                break
            except Exception as error:  # of any kind: the model is not ours
                if attempt == self.retries:
                    label = None
                    self.failures += 1
                    print(f"no label for caption {caption}: {error!r}", file=sys.stderr, flush=True)
        with self._lock:
            if self._path is not None:
                append_answer(self._path, {"caption": caption, "label": label})
            self._log.append((caption, label))


def read_annotations(path: Path, num_labels: int) -> tuple[list[tuple[int, Sequence[float] | None]], list[int]]:
    """The answers of a log in their order, and the captions asked about without an answer; what a kill cut off in a
    line is passed over."""
    found: dict[int, Sequence[float] | None] = {}
    asked: dict[int, None] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            caption = int((record := json.loads(line))["caption"])
        except (ValueError, KeyError, TypeError):
            continue
        asked[caption] = None
        if "label" in record and (record["label"] is None or len(record["label"]) == num_labels):
            found.setdefault(caption, record["label"])
    return list(found.items()), [caption for caption in asked if caption not in found]
