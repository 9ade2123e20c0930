"""What the summary of a run says of its task."""

import types

from experiments.training.task import Data, Task


def test_the_summary_lists_the_files_that_were_left_out():
    model = types.SimpleNamespace(name="model")
    data = Data("data", 1, dict, dict)
    task = Task(model=model, data=data, source="here", left_out=("a.png", "b.png"))
    assert task.summary["left_out"] == ["a.png", "b.png"]
    assert "left_out" not in Task(model=model, data=data, source="here").summary
