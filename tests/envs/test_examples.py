"""The examples of the folder's README and docstrings run, and what they list exists."""

import doctest
import re
from pathlib import Path

import pytest

from rlx.envs import grid, names, registry, wrappers

README = (Path(__file__).resolve().parents[2] / "envs" / "README.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
def test_readme_block_runs(block):
    exec(compile(block, "envs/README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("module", [grid, registry])
def test_docstring_examples_run(module):
    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried > 0


def test_the_readme_lists_every_own_name_and_every_wrapper():
    for name in names():
        if name.startswith("rlx/"):
            assert f"`{re.sub('-0$', '-<seed>', name)}`" in README
    for name, member in vars(wrappers).items():
        public = isinstance(member, type) and issubclass(member, wrappers.Wrapper) and not name.startswith("Wrapper")
        assert not public or f"`{name}`" in README
