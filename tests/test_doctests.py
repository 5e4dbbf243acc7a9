"""The examples in the docstrings of the kernel packages run, and every kernel has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

PACKAGES = ("rlx.value", "rlx.policy", "rlx.reward", "rlx.exploration", "rlx.pareto", "rlx.optim")
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("package", ["rlx.value", "rlx.policy"])
def test_every_kernel_has_an_example(package: str):
    module = importlib.import_module(package)
    kernels = {name: getattr(module, name) for name in module.__all__}
    kernels = {name: kernel for name, kernel in kernels.items() if not inspect.isclass(kernel)}
    assert [name for name, kernel in kernels.items() if ">>>" not in (inspect.getdoc(kernel) or "")] == []
