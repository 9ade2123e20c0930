"""Every config says at its head how it is used, and that command is one that works."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from gin import config_parser

from experiments.cli import config_list
from experiments.cli.statements import read_statements
from tests.programs import ran

REPO = Path(__file__).resolve().parents[1]
CONFIGS = sorted(REPO.glob("configs/**/*.gin"))
# What a head names as an example is not here.
MISSING = re.compile("given (FOLDER|recordings.zip): no such file or folder")
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


def test_the_page_of_configs_is_the_list_that_bin_train_prints():
    done = ran(["bin/train", "--list", "--markdown"])
    assert done.returncode == 0, done.stderr
    assert (REPO / "docs/configs.md").read_text() == done.stdout, "wanted make configs"
    listed = ran(["bin/train", "--list"])
    assert listed.returncode == 0, listed.stderr
    for config in config_list.configs():
        assert config.name in listed.stdout and config.summary in listed.stdout


def test_a_reader_of_the_list_may_stop_early():
    command = "bin/train --list | head -1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=REPO, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("configs/")


@pytest.mark.parametrize("config", config_list.configs(), ids=lambda c: c.name)
def test_a_head_begins_with_one_short_sentence_and_says_how_long_it_takes(config):
    first = (REPO / config.name).read_text().splitlines()[0]
    assert first.endswith("."), first
    assert first.removeprefix("# ").startswith(config.summary)
    included = config.name.endswith("/base.gin")
    models = ("configs/toy_models/", "configs/nuts/", "configs/bench/nuts.gin")
    unmeasured = not Path(config.name).stem.endswith("tiny") and config.name.startswith(
        models
    )
    assert config.time or included or unmeasured


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
    if done.returncode == 2:  # names and types are right, and the data are not here
        unprepared = "is not prepared there, wanted" in done.stderr
        assert unprepared or MISSING.search(done.stderr), done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "experiment = @" in done.stdout


@pytest.mark.parametrize(
    ("problem", "config"),
    [
        ("crops64", "natural_crops64"),
        ("crops64_before_prior", "natural_crops64"),
        ("imagenet64", "imagenet64"),
    ],
)
def test_the_autoencoders_benchmark_has_the_sizes_that_are_trained(problem, config):
    text = (REPO / "configs/bench/vae.gin").read_text()
    _, _, images = text.partition("bench.measure_vae.images = ")
    given = ast.literal_eval(images.partition("\nbench.")[0])[problem]
    found = {
        f"{parsed.selector}.{parsed.arg_name}": str(parsed.value)
        for _, _, parsed in read_statements([REPO / f"configs/vq_vae/{config}.gin"], [])
        if isinstance(parsed, config_parser.BindingStatement)
    }
    # When the prior begins is the benchmark's own: that is what its problems are of.
    sizes = {k: v for k, v in given["sizes"].items() if k != "prior_start"}
    assert sizes.pop("size") == 64
    told = {name: found.get(f"vq_vae.Sizes.{name}") for name in sizes}
    assert told == {name: str(value) for name, value in sizes.items()}
    # The benchmark's EM is soft, as the paper has it, whatever that of training is.
    book = {name: v for name, v in given["codebook"].items() if name != "num_samples"}
    told = {name: found.get(f"vq_vae.Codebook.{name}") for name in book}
    assert told == {name: str(value) for name, value in book.items()}
