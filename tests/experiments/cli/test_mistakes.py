"""Wrong values for the project's own configs: refused before anything is written."""

import shutil

import pytest

from experiments.cli import main
from tests.programs import ran, train_command

NUTS = ("nuts/covertype", "nuts/tiny")
TOY = ("toy_models/transformer", "toy_models/tiny")
CODES = ("toy_models/vector_quantized", "toy_models/tiny")
IMAGES = ("image_transformer/natural_crops32", "image_transformer/tiny")
VQ = ("vq_vae/natural_crops64", "vq_vae/tiny")
AUDIO = ("audio_vae/tones", "audio_vae/tiny")
FILES = ("audio_vae/audio_files", "audio_vae/tiny")


def command(configs, params, folder):
    made = train_command(*configs, workdir=folder)
    if configs is NUTS:
        made = [part for part in made if "measure_peak" not in part]
    flags = [p if p.startswith("--") else f"--gin_param={p}" for p in params]
    return [*made, *flags]


@pytest.mark.parametrize(
    ("configs", "params", "said"),
    [
        (NUTS, ["inference.SamplerSettings.step_size=1e39"], "step_size: given 1e+39"),
        (
            NUTS,
            ["inference.SamplerSettings.num_chains=30000000"],
            "num_chains: given 30000000, wanted fewer",
        ),
        (NUTS, ["datasets.load_covertype.seed=-1"], "seed: given -1, wanted 0 or more"),
        (NUTS, ["nuts.sample.chunk_size=0"], "chunk_size: given 0, wanted a whole"),
        (NUTS, ["nuts.sample.num_devices=0"], "num_devices: given 0, wanted a whole"),
        (NUTS, ["--num_processes=2"], "num_chains: given 1, wanted at least 2"),
        (TOY, ["toy_models.train.mesh='foo:2'"], "mesh: given ['foo'] in 'foo:2'"),
        (TOY, ["toy_models.train.mesh='batch:1,model:7'"], "does not divide by the 7"),
        (TOY, ["toy_models.train.device_type='gpu'"], "device_type: given 'gpu'"),
        (TOY, ["toy_models.transformer.heads=0"], "heads: given 0, wanted a whole"),
        (TOY, ["toy_models.transformer.layers=-1"], "layers: given -1"),
        (TOY, ["toy_models.transformer.dropout=1.5"], "dropout: given 1.5"),
        (TOY, ["HIDDEN=0"], "HIDDEN=0: toy_models.transformer.hidden: given 0"),
        (TOY, ["toy_models.token_lines.length=7"], "of 7 numbers, wanted the 16"),
        (
            TOY,
            [
                "toy_models.train.num_held_out=0",
                "toy_models.train.batch_size=1000000000",
            ],
            "batch_size: given 1000000000, wanted fewer",
        ),
        (TOY, ["--num_processes=2"], "mesh: given 'batch:1', wanted devices that"),
        (CODES, ["toy_models.vector_quantized.num_codes=0"], "num_codes: given 0"),
        (IMAGES, ["HIDDEN=6"], "HIDDEN=6: image_transformer.Sizes.hidden: given 6"),
        (IMAGES, ["image_transformer.Sizes.heads=3"], "Sizes.key_size: given 8"),
        (
            IMAGES,
            ["image_transformer.train.num_samples=1000000000"],
            "num_samples: given 1000000000, wanted fewer",
        ),
        (IMAGES, ["datasets.natural_image_crops.size=9999"], "size: given 9999"),
        (IMAGES, ["--init_from=/usr"], "init_from: given /usr, wanted a checkpoint"),
        (VQ, ["vq_vae.Sizes.prior_layers=0"], "vq_vae.Sizes.prior_layers: given 0"),
        (VQ, ["vq_vae.Sizes.prior_heads=3"], "prior_hidden: given 16"),
        (VQ, ["SIZE=20"], "SIZE=20: vq_vae.Sizes.size: given 20"),
        (
            AUDIO,
            ["audio_vae.train.mesh='core:2'"],
            "mesh: given 'core:2', wanted 'core'",
        ),
        (
            AUDIO,
            ["audio_vae.train.mesh='core:3'", "training.StepSettings.jit_compile=True"],
            "jit_compile: given True with mesh 'core:3'",
        ),
        (AUDIO, ["LENGTH=100"], "LENGTH=100: audio_vae.Sizes.length: given 100"),
        (
            FILES,
            ["datasets.audio_files.path='/usr'", "datasets.audio_files.num_threads=0"],
            "num_threads: given 0, wanted 1 or more",
        ),
        (
            FILES,
            ["datasets.audio_files.path='/usr'", "datasets.audio_files.cache_bytes=-1"],
            "cache_bytes: given -1, wanted 0 or more",
        ),
        (
            FILES,
            [
                "datasets.audio_files.path='/'",
                "datasets.audio_files.held_out_match='('",
            ],
            "held_out_match: given '(', wanted a regular expression",
        ),
    ],
)
@pytest.mark.parametrize("flags", [["--dry_run"], []], ids=["dry", "run"])
def test_a_wrong_value_is_one_line_that_names_it(
    tmp_path, configs, params, said, flags
):
    folder = tmp_path / "run"
    done = ran([*command(configs, params, folder), *flags])
    assert done.returncode == main.USAGE, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("train: ")
    assert said in done.stderr
    assert not done.stdout and not folder.exists()


def spoilt(configs, params, folder):
    """The one line for a run that cannot be resumed; its record stays as it was."""
    before = (folder / "run.json").read_text()
    for flags in (["--dry_run"], []):
        done = ran([*command(configs, params, folder), "--resume", *flags])
        assert done.returncode == main.USAGE, done.stderr
        assert done.stderr.count("\n") == 1 and not done.stdout
    assert (folder / "run.json").read_text() == before
    assert not (folder / "attempts").exists()
    return done.stderr


def test_a_training_that_cannot_be_resumed_is_refused_and_keeps_its_record(tmp_path):
    configs, folder = CODES, tmp_path / "run"
    assert ran(command(configs, [], folder)).returncode == 0
    rate = "training.constant_schedule.peak_learning_rate=0.5"
    assert "given optimizer adam" in spoilt(configs, [rate], folder)
    fewer = "training.LoopSettings.num_steps=4"
    assert "num_steps: given 4, wanted at least the 6" in spoilt(
        configs, [fewer], folder
    )
    smaller = "toy_models.train.batch_size=2"
    assert "its batch_size is 4, wanted 2" in spoilt(configs, [smaller], folder)
    from_it = f"--init_from={folder}"
    done = ran([*command(configs, [from_it], folder), "--overwrite"])
    assert done.returncode == main.USAGE and "which --overwrite removes" in done.stderr
    for mode, wrong in (
        ("--evaluate_only", "toy_models.train.num_held_out=0"),
        ("--evaluate_only", "--sample_only"),
    ):
        params = [from_it, mode, wrong]
        done = ran([*command(configs, params, tmp_path / "new"), "--dry_run"])
        assert done.returncode == main.USAGE and done.stderr.count("\n") == 1
    wide = [f"--init_from={folder}", "HIDDEN=64"]
    done = ran([*command(configs, wide, tmp_path / "new"), "--dry_run"])
    assert done.returncode == main.USAGE and "given [4, 4, 3, 32]" in done.stderr
    shutil.rmtree(folder / "checkpoints")
    assert "which has trained, wanted a checkpoint" in spoilt(configs, [], folder)


@pytest.mark.slow  # test_nuts.py has the messages, the test above the record
def test_draws_that_cannot_be_continued_are_refused_and_keep_their_record(tmp_path):
    folder = tmp_path / "run"
    assert ran(command(NUTS, [], folder)).returncode == 0
    fewer = "inference.SamplerSettings.num_results=2"
    assert "already holds 3" in spoilt(NUTS, [fewer], folder)
    more = "inference.SamplerSettings.num_chains=2"
    assert "holds draws of 1 chains" in spoilt(NUTS, [more], folder)
    shutil.rmtree(folder / "draws")
    assert "which has drawn, wanted its draws" in spoilt(NUTS, [], folder)
