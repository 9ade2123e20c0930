import errno
import json
import os

import pytest

from experiments.records import jsonlines, run_dir


def test_a_claim_makes_the_folder_and_its_parents(tmp_path):
    with run_dir.claim(tmp_path / "a" / "b", overwrite=False) as folder:
        assert folder.is_dir() and not list(folder.iterdir())


def test_an_empty_folder_may_be_claimed(tmp_path):
    with run_dir.claim(tmp_path, overwrite=False) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_holds_something_else_is_never_touched(tmp_path, overwrite):
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "run.json").write_text('{"status": "excellent"}')
    with pytest.raises(run_dir.RunDirError, match="holds no run"):
        with run_dir.claim(tmp_path, overwrite=overwrite):
            pass
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("done", "a finished run"),
        ("failed", "a failed run"),
        ("running", "an unfinished run"),
        ("interrupted", "an interrupted run"),
    ],
)
def test_a_run_of_any_status_is_kept_unless_overwritten(tmp_path, status, said):
    run_dir.write_run(tmp_path, status=status)
    (tmp_path / "draws").mkdir()
    (tmp_path / "draws" / "0.npz").touch()
    with pytest.raises(run_dir.RunDirError, match=f"{said}.*--overwrite"):
        run_dir.check(tmp_path, overwrite=False)
    with run_dir.claim(tmp_path, overwrite=True):
        assert not list(tmp_path.iterdir())


def test_overwriting_follows_no_link_out_of_the_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    folder = tmp_path / "run"
    folder.mkdir()
    run_dir.write_run(folder, status="done")
    (folder / "link").symlink_to(tmp_path / "data")
    with run_dir.claim(folder, overwrite=True):
        pass
    assert (tmp_path / "data" / "precious").exists()


def test_two_claims_of_one_folder_do_not_go_together(tmp_path):
    with run_dir.claim(tmp_path, overwrite=False):
        with pytest.raises(run_dir.RunDirError, match="by another process"):
            with run_dir.claim(tmp_path, overwrite=True):
                pass
    with run_dir.claim(tmp_path, overwrite=False):
        pass


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(run_dir.RunDirError, match="file is a file, wanted a folder"):
        run_dir.check(tmp_path / "file" / "a" / "b", overwrite=True)


def test_checking_makes_nothing(tmp_path):
    run_dir.check(tmp_path / "a" / "b", overwrite=False)
    assert not list(tmp_path.iterdir())


def test_run_json_holds_what_was_said_and_an_unknown_status_is_refused(tmp_path):
    run_dir.write_run(tmp_path, status="done", seed=3)
    held = json.loads((tmp_path / "run.json").read_text())
    assert held == {"schema": 1, "status": "done", "seed": 3}
    with pytest.raises(ValueError, match="given 'finished'"):
        run_dir.write_run(tmp_path, status="finished")


def test_a_run_resumed_stays_and_what_it_said_is_copied(tmp_path):
    for attempt in (1, 2):
        run_dir.write_run(tmp_path, status="interrupted", seed=7, attempt=attempt)
        (tmp_path / "config.gin").write_text(f"# {attempt}")
        (tmp_path / "kept").touch()
        with run_dir.claim(tmp_path, overwrite=False, resume=True):
            assert (tmp_path / "kept").exists()
            assert run_dir.read_status(tmp_path) == "interrupted"
        assert run_dir.num_attempts(tmp_path) == attempt
    for attempt in (1, 2):
        folder = tmp_path / "attempts" / f"00{attempt}"
        assert json.loads((folder / "run.json").read_text())["attempt"] == attempt
        assert (folder / "config.gin").read_text() == f"# {attempt}"
    assert run_dir.read_seed(tmp_path) == 7


def test_resuming_where_nothing_is_begins(tmp_path):
    with run_dir.claim(tmp_path / "new", overwrite=False, resume=True) as folder:
        assert not list(folder.iterdir())
    assert run_dir.read_seed(tmp_path / "new") is None


def test_resuming_touches_no_folder_that_holds_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(run_dir.RunDirError, match="holds no run"):
        with run_dir.claim(tmp_path, overwrite=False, resume=True):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_does_not_leave_a_run_running(tmp_path, monkeypatch):
    run_dir.write_run(tmp_path, status="running", seed=3, reason="", traceback=None)

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jsonlines, "write_text", full)
    run_dir.write_run(
        tmp_path, status="failed", seed=3, reason="full", traceback="long " * 1000
    )
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["status"] == "failed" and told["reason"] == "full"
    assert told["seed"] == 3 and told["traceback"] is None
