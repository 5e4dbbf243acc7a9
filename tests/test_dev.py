"""The set-up script decides rightly when to install; what it installs is checked by running it, as CI does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def dev(tmp_path, monkeypatch):
    """The script as a module, for a project in `tmp_path`; `dev.ran` collects what it would run."""
    spec = importlib.util.spec_from_file_location("dev_script", ROOT / "scripts" / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("ROOT", "VENV", "BIN", "PYTHON", "CONSTRAINTS"):
        path = tmp_path / getattr(module, name).relative_to(ROOT)
        monkeypatch.setattr(module, name, path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "pyproject.toml").write_text("one")
    module.CONSTRAINTS.write_text("two")
    ran: list[tuple[str, ...]] = []

    def run(*command: str) -> bool:
        ran.append(command)
        if "venv" in command:
            module.BIN.mkdir(parents=True, exist_ok=True)
            module.PYTHON.touch()
        return module.works(command)

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "execute", lambda *arguments: ran.append(("execute", *arguments)))
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    monkeypatch.setattr(module.os, "chdir", lambda path: None)
    module.ran, module.works = ran, lambda command: True
    return module


def call(dev, monkeypatch, *words: str) -> list[tuple[str, ...]]:
    monkeypatch.setattr(dev.sys, "argv", ["dev.py", *words])
    dev.ran.clear()
    dev.main()
    return list(dev.ran)


def installs(ran) -> list[str]:
    """What follows `--editable` in each installation."""
    return [command[-1] for command in ran if "--editable" in command]


def test_installs_once_then_when_requirements_change(dev, monkeypatch):
    assert installs(call(dev, monkeypatch, "test", "tests/value")) == [f"{dev.ROOT}[test]"]
    assert call(dev, monkeypatch, "test", "tests/value") == [
        ("execute", "-m", "pytest", "-n", "2", "--dist", "loadfile", "tests/value")
    ]
    (dev.ROOT / "pyproject.toml").write_text("changed")
    assert installs(call(dev, monkeypatch, "test")) == [f"{dev.ROOT}[test]"]
    dev.CONSTRAINTS.write_text("changed")
    assert installs(call(dev, monkeypatch, "test")) == [f"{dev.ROOT}[test]"]
    dev.PYTHON.unlink()
    ran = call(dev, monkeypatch, "test")
    assert "--clear" in ran[0]
    assert installs(ran) == [f"{dev.ROOT}[test]"]


def test_a_larger_installation_serves_the_smaller(dev, monkeypatch):
    assert installs(call(dev, monkeypatch, "demo")) == [f"{dev.ROOT}"]
    assert installs(call(dev, monkeypatch, "check")) == [f"{dev.ROOT}[dev]"]
    assert installs(call(dev, monkeypatch, "demo")) == []
    assert installs(call(dev, monkeypatch, "test")) == []


def test_uv_first_then_pip(dev, monkeypatch):
    monkeypatch.setattr(dev.shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    ran = call(dev, monkeypatch, "demo")
    assert [command[0] for command in ran[:-1]] == ["/bin/uv", "/bin/uv"]
    dev.works = lambda command: command[0] != "/bin/uv"
    (dev.ROOT / "pyproject.toml").write_text("changed")
    ran = call(dev, monkeypatch, "demo")
    assert ran[-2][:4] == (str(dev.PYTHON), "-m", "pip", "install")


def test_a_failed_installation_is_tried_again(dev, monkeypatch):
    dev.works = lambda command: "pip" not in command
    with pytest.raises(SystemExit, match="installation failed"):
        call(dev, monkeypatch, "demo")
    dev.works = lambda command: True
    assert installs(call(dev, monkeypatch, "demo")) == [f"{dev.ROOT}"]


def test_missing_modules_are_told(dev, monkeypatch):
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="python3-venv"):
        call(dev, monkeypatch, "demo")


def test_an_old_python_is_refused(dev, monkeypatch):
    monkeypatch.setattr(dev.sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit, match=r"3\.11 or newer"):
        call(dev, monkeypatch, "demo")


@pytest.mark.parametrize(("words", "code"), [([], 2), (["tset"], 2), (["--help"], 0)])
def test_other_words_print_the_usage(dev, monkeypatch, capsys, words, code):
    with pytest.raises(SystemExit) as stop:
        call(dev, monkeypatch, *words)
    assert stop.value.code == code
    assert "dev.py demo" in capsys.readouterr().out
