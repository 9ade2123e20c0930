"""Every config says at its head how it is used, and that command is one that works."""

import re
import shlex
from pathlib import Path

import pytest

from tests.programs import ran

REPO = Path(__file__).resolve().parents[1]
CONFIGS = sorted(REPO.glob("configs/**/*.gin"))
NAMES = [str(path.relative_to(REPO)) for path in CONFIGS]
COMMAND = re.compile(r"^#   (bin/(?:train|bench) --gin_config=.*)$", re.MULTILINE)


def head(path):
    return path.read_text().partition("from __gin__")[0]


def files_of(command):
    """The configs that a command reads, includes and all."""
    found, queue = [], re.findall(r"--gin_config=(\S+)", command)
    while queue:
        found.append(queue.pop())
        text = (REPO / found[-1]).read_text()
        queue += re.findall(r"^include '([^']+)'", text, re.MULTILINE)
    return found


COMMANDS = sorted({line for path in CONFIGS for line in COMMAND.findall(head(path))})


def test_there_are_configs_to_check():
    assert len(CONFIGS) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_head_names_a_command_that_reads_this_config(name):
    commands = COMMAND.findall(head(REPO / name))
    assert commands, f"{name}: no line `#   bin/... --gin_config=...` at its head"
    assert all(name in files_of(command) for command in commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_of_a_head_passes_every_check(command):
    done = ran([*shlex.split(command), "--dry_run"])
    assert done.returncode == 0, done.stderr
    assert "launch.launch.experiment = @" in done.stdout
