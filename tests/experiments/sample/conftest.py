"""The program and data that runs from the shell sample."""

import pytest

MODEL = """
import ppl_core as ppl

def pair(scale):
    x = ppl.Normal(0.0, scale, name="x")
    ppl.Normal(x, 1.0, name="y")
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "models.py").write_text(MODEL)
    (folder / "data.json").write_text('{"scale": [1, 2], "y": [0.5, 3.0]}')
    return folder


@pytest.fixture(scope="module")
def options(request, files):
    """A function of a folder: the arguments of a run there, the test module's GIVEN."""

    def make(folder, **more):
        folder.mkdir(exist_ok=True)
        return {
            "run_dir": folder,
            "seed": 3,
            "program": f"{files}/models.py:pair",
            "data": f"{files}/data.json",
            **request.module.GIVEN,
            **more,
        }

    return make
