"""Frontiers and win rates, from numbers that are known."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from rlx.runtime import plot_frontier, win_rate_table


def test_wins_are_counted_and_ties_halved():
    scores = {"dpo": [3.0, 1.0, 2.0, 2.0], "ipo": [1.0, 1.0, 3.0, 0.0], "reference": [0.0] * 4}
    head, line, dpo, ipo, reference = win_rate_table(scores).splitlines()
    assert head == "| wins of | against dpo | against ipo | against reference |"
    assert line == "|---|---|---|---|"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (dpo, ipo, reference)]
    assert [row[0] for row in cells] == list(scores)
    assert [[cell.split(" ")[0] for cell in row[1:]] for row in cells] == [
        ["", "0.625", "1.000"],
        ["0.375", "", "0.875"],
        ["0.000", "0.125", ""],
    ]
    low, high = (float(x) for x in cells[0][2].split("[")[1].strip("]").split(", "))
    assert low < 0.625 < high


def coloured(path, colour: str) -> int:
    """Pixels of a picture that have the colour."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(imread(path)[..., :3] - rgb).max(axis=-1) < 0.1).sum())


def test_frontier_has_its_curves(tmp_path):
    curves = {"dpo": ([2.0, 0.5], [0.8, 0.4]), "ipo": ([1.0], [0.3]), "other": ([1.5], [0.2])}
    settings = {"start": (0.0, 0.1), "optimum": ([0.0, 2.0], [0.1, 0.9]), "coloured": ("dpo", "ipo")}
    path = plot_frontier(curves, tmp_path / "frontier.png", **settings, title="one panel")
    blue, orange, grey = "#1f5fa8", "#d1601c", "#b9bec4"
    assert all(coloured(path, colour) > 100 for colour in (blue, orange, grey))
    wide = plot_frontier({"offline": curves, "online": {"dpo": curves["dpo"]}}, tmp_path / "two.png", limit=3.0)
    assert imread(wide).shape[1] > 1.5 * imread(path).shape[1]


def test_errors_name_the_argument(tmp_path):
    with pytest.raises(ValueError, match="curves must be at least one curve"):
        plot_frontier({}, tmp_path / "frontier.png")
    with pytest.raises(ValueError, match=r"curves\['dpo'\]"):
        plot_frontier({"dpo": ([1.0, 2.0], [1.0])}, tmp_path / "frontier.png")
    with pytest.raises(ValueError, match="number of policies"):
        win_rate_table({"dpo": [1.0]})
    with pytest.raises(ValueError, match=r"scores\['ipo'\]"):
        win_rate_table({"dpo": [1.0, 2.0], "ipo": [1.0]})
    with pytest.raises(ValueError, match="finite"):
        win_rate_table({"dpo": [1.0], "ipo": [np.nan]})
