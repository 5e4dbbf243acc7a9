"""The code blocks of the documentation run: Python ones as they are, `rlx` commands at a small size."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rlx.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
SMALL = {"--total-steps": "2048", "--steps": "512", "--seeds": "2", "--episodes": "2"}


def documents() -> list[Path]:
    """Every Markdown file of the project, outside folders that git ignores."""
    folders = ("rlx", "envs", "algos", "benchmarks", "scripts", "tests")
    return [*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).glob("**/*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Name and text of each fenced block of the language."""
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found.append((f"{document}:{text[: match.start()].count(chr(10)) + 2}", match[1]))
    return found


def commands() -> list[str]:
    """Lines that begin with `rlx`, continued ones joined; of one document, as later ones use what earlier ones made."""
    text = "\n".join(block for _, block in [*blocks("bash"), *blocks("sh")]).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("rlx ")]


@pytest.mark.parametrize(("name", "block"), [pytest.param(*block, id=block[0]) for block in blocks("python")])
def test_python_block_runs(name, block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = re.sub(r"total_steps=[\d_]+", "total_steps=2048", block)
    exec(compile(small, name, "exec"), {"__name__": "readme"})


def test_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in commands():
        words = shlex.split(command)[1:]
        small = SMALL | ({"--total-steps": "20"} if "--data" in words else {})  # gradient steps
        for option, value in small.items():
            if option in words:
                words[words.index(option) + 1] = value
            elif option == "--total-steps" and words[0] in ("train", "sweep"):
                words += [option, value]
        assert main(words) == 0, f"{command}: {capsys.readouterr().err}"


@pytest.mark.parametrize("document", sorted(path.relative_to(ROOT).as_posix() for path in documents()))
def test_links_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{document} links to {target}"
