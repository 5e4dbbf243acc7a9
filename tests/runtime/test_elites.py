"""Pictures of archives: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest

from rlx.runtime import plot_archive


def test_a_cell_is_drawn_where_it_lies(tmp_path):
    """One filled cell of 2 x 2, right and low: in that quarter of the map alone there is its colour."""
    from matplotlib.image import imread

    filled = np.array([[False, False], [True, False]])
    path = plot_archive({"one": 5.0 * filled, "none": 0 * filled}, {"one": filled, "none": ~filled}, tmp_path / "a.png")
    picture = np.asarray(imread(path))[..., :3]
    yellow = np.all(np.abs(picture - [0.993, 0.906, 0.144]) < 0.03, axis=-1)  # the top of the scale
    left = yellow[:, : picture.shape[1] // 2]
    rows, columns = np.nonzero(left)
    assert rows.min() > 0.45 * picture.shape[0]
    assert columns.min() > 0.5 * left.shape[1]
    assert len(rows) > 1000


def test_what_is_no_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fitness"):
        plot_archive(np.zeros(4), np.ones(4, bool), tmp_path / "a.png")
    with pytest.raises(ValueError, match="filled"):
        plot_archive({"a": np.zeros((2, 2))}, {"b": np.ones((2, 2), bool)}, tmp_path / "a.png")
