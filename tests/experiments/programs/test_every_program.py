"""Every program of the paper has its module, configs, page and tests."""

import re
from pathlib import Path

import pytest

from experiments.report import programs
from tests.programs import REPO

NAMES = sorted(
    path.stem
    for path in (REPO / "configs" / "programs").glob("*.gin")
    if not path.stem.endswith("_tiny")
)


def test_there_are_programs_and_each_has_its_place_in_the_paper():
    assert len(NAMES) >= 5 and set(NAMES) <= set(programs.PROGRAMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_has_all_its_files(name):
    package = REPO / "experiments" / "programs"
    assert (package / f"{name}.py").exists() or (package / name).is_dir()
    tiny = (REPO / "configs" / "programs" / f"{name}_tiny.gin").read_text("utf-8")
    assert f"include 'configs/programs/{name}.gin'" in tiny
    tests = Path(__file__).parent
    assert (tests / f"test_{name}.py").exists() or (tests / name).is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_a_programs_page_has_code_a_picture_and_a_block_of_claims(name):
    page = REPO / "docs" / "programs" / f"{name}.md"
    text = page.read_text("utf-8")
    assert "```python" in text and f"configs/programs/{name}.gin" in text
    assert f"](../../results/plots/programs/{name}.png)" in text
    programs.fill(text, "claims", "")  # raises for a page without one block
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    # The picture comes with the first record.
    assert set(missing) <= {f"../../results/plots/programs/{name}.png"}
