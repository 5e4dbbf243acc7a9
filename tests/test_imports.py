"""Imports go one way, `import rlx` stays light, and a wheel holds every package."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A module may import modules of its own layer and of lower ones; `__main__` may import everything.
LAYERS = {
    "base": ("rlx", "rlx.types", "rlx.space", "rlx.check"),
    "kernels": ("rlx.value", "rlx.policy", "rlx.reward", "rlx.exploration", "rlx.pareto", "rlx.optim"),
    "nets": ("rlx.nets",),
    "runtime": ("rlx.runtime",),
    "envs": ("rlx.envs",),
    "algos": ("rlx.algos",),
    "top": ("benchmarks", "scripts", "tests", "rlx.__main__"),
}
BELOW = {
    "base": set(),
    "kernels": {"base"},
    "nets": {"base", "kernels"},
    "runtime": {"base", "kernels", "nets"},
    "envs": {"base", "kernels", "nets"},
    "algos": {"base", "kernels", "nets", "runtime", "envs"},
    "top": {"base", "kernels", "nets", "runtime", "envs", "algos"},
}
KERNEL_PACKAGES = {"jax", "jaxlib", "optax", "chex", "numpy"}
LIGHT = ["rlx", "rlx.types", *LAYERS["kernels"], "rlx.runtime", "rlx.envs"]
HEAVY = {
    "gymnax",
    "gymnasium",
    "brax",
    "orbax",
    "matplotlib",
    "distrax",
    "tensorflow_probability",
    "pandas",
    "tyro",
}


def layer_of(module: str) -> str:
    """The layer whose package is the longest prefix of the module's name."""
    matches = [
        (len(package), layer)
        for layer, packages in LAYERS.items()
        for package in packages
        if module == package or (module.startswith(package + ".") and package != "rlx")
    ]
    if not matches:
        raise AssertionError(f"{module} belongs to no layer; add its package to LAYERS")
    return max(matches)[1]


def module_name(path: PurePosixPath) -> str:
    """`envs/gridworld.py` -> `rlx.envs.gridworld`; `rlx/value/__init__.py` -> `rlx.value`."""
    parts = list(path.with_suffix("").parts)
    if parts[0] in ("envs", "algos"):
        parts.insert(0, "rlx")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Line and absolute name of every import in the source, also those inside functions and for type checking only.

    `from rlx import value` counts as `rlx.value`; other names taken from a module count as that module.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, base] if base else package)
            names = [f"rlx.{alias.name}" for alias in node.names] if base == "rlx" else [base]
            found += [(node.lineno, name) for name in names]
    return found


def violations(source: str, path: str) -> list[str]:
    """What is wrong with the imports of one file."""
    file = PurePosixPath(path)
    module = module_name(file)
    if module == "rlx":  # loads its sub-packages on first use
        return []
    layer = layer_of(module)
    networks = {"flax"} if file.name == "source.py" else set()  # a reward source may have networks
    found = []
    for line, name in imported_modules(source, module, file.name == "__init__.py"):
        top = name.split(".")[0]
        where = f"{path}:{line}: {module} imports {name}"
        if top in ("envs", "algos"):
            found.append(f"{where}; say rlx.{name}, the bare name makes a second copy of every class")
        elif top in ("rlx", "benchmarks", "scripts", "tests"):
            target = layer_of(name)
            allowed = {layer, *BELOW[layer], *({"nets"} if networks and layer == "kernels" else ())}
            if target not in allowed:
                found.append(f"{where}; {layer} may import {', '.join(sorted(BELOW[layer])) or 'nothing of rlx'}")
        elif layer in ("base", "kernels") and top not in KERNEL_PACKAGES | sys.stdlib_module_names | networks:
            found.append(
                f"{where}; kernels import {', '.join(sorted(KERNEL_PACKAGES))} and rlx.types, rlx.space, rlx.check"
            )
    return found


def source_files() -> list[Path]:
    folders = ("rlx", "envs", "algos", "benchmarks", "scripts", "tests")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in files if path.relative_to(ROOT).parts[:2] not in {("rlx", "envs"), ("rlx", "algos")}]


def test_imports_go_one_way():
    files = source_files()
    assert len(files) > 10
    found = [v for path in files for v in violations(path.read_text(), path.relative_to(ROOT).as_posix())]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("rlx/value/returns.py", "import rlx.runtime"),
        ("rlx/value/returns.py", "from rlx import runtime"),
        ("rlx/value/returns.py", "from ..nets import MLP"),
        ("rlx/value/__init__.py", "from ..algos.ppo import Config"),
        ("rlx/value/returns.py", "def f():\n    from rlx.algos.ppo import Config"),
        ("rlx/value/returns.py", "import flax.linen as nn"),
        ("rlx/types.py", "from rlx.value import gae"),
        ("rlx/nets/mlp.py", "from rlx.runtime.replay import add"),
        ("rlx/runtime/run.py", "from rlx import algos"),
        ("rlx/runtime/run.py", "import rlx.envs.gridworld"),
        ("envs/gridworld.py", "from rlx.runtime import rollout"),
        ("envs/gridworld.py", "import algos.ppo"),
        ("algos/ppo.py", "import envs"),
        ("algos/ppo.py", "from rlx.__main__ import main"),
        ("algos/ppo.py", "import benchmarks.speed"),
    ],
)
def test_a_wrong_import_is_found(path, source):
    assert len(violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("rlx/value/returns.py", "import math\nimport jax.numpy as jnp\nfrom rlx import check\nfrom . import losses"),
        ("rlx/value/returns.py", "from rlx.policy.ratio import importance_ratio"),
        ("rlx/exploration/source.py", "from rlx.nets import MLP"),
        ("rlx/runtime/run.py", "import orbax.checkpoint\nfrom rlx.types import Algorithm"),
        ("algos/ppo.py", "from rlx import envs, runtime\nfrom rlx.value import gae"),
        ("rlx/__main__.py", "from rlx.algos import ppo"),
        ("scripts/one_kernel.py", "import rlx.algos.ppo"),
    ],
)
def test_a_right_import_passes(path, source):
    assert violations(source, path) == []


def test_importing_rlx_stays_light():
    program = (
        f"import sys, {', '.join(LIGHT)}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}} & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_sub_packages_load_on_first_use():
    program = (
        "import sys, rlx\nassert not {'rlx.value', 'jax'} & set(sys.modules)\n"
        "assert rlx.value is sys.modules['rlx.value']\n"
        "try: rlx.nonsense\nexcept AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "nonsense" in done.stdout
    assert "value" in done.stdout


def test_a_wheel_holds_every_module(tmp_path):
    """Built by the declared back end; the linked folders `rlx/envs` and `rlx/algos` must become real ones."""
    pytest.importorskip("hatchling.build", reason="the wheel's build back end is not installed")
    program = f"import hatchling.build; hatchling.build.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
        assert "rlx/envs/multi_objective/fruit_tree.csv" in archive.namelist()
    sources = {path.relative_to(ROOT).as_posix() for path in source_files()}
    expected = {f"rlx/{name}" if name.startswith(("envs/", "algos/")) else name for name in sources}
    assert packed == {name for name in expected if name.startswith("rlx/")}
