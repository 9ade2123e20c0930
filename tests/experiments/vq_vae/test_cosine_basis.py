"""The cosine transforms of patches: inverse of each other, ordered by variance."""

import numpy as np
import pytest

from experiments.vq_vae import cosine_basis


@pytest.mark.parametrize(("patch_size", "codes"), [(4, 16), (4, 3), (2, 12)])
def test_analysis_and_synthesis_reproduce_the_patch(patch_size, codes):
    analysis, synthesis = cosine_basis.transforms(patch_size, codes)
    size = patch_size**2 * 3
    assert analysis.shape == (codes, size, size // codes)
    patch = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    amplitudes = patch @ analysis  # [codes, frequencies]
    found = np.einsum("sm,smp->p", amplitudes, synthesis)
    np.testing.assert_allclose(found, patch, atol=1e-5)


def test_the_frequencies_left_out_vary_least():
    analysis, synthesis = cosine_basis.transforms(4, 10)  # 4 for each, of 48
    patch = np.full((4, 4, 3), 0.7, np.float32)
    patch[:2] += 0.1
    found = np.einsum("sm,smp->p", patch.ravel() @ analysis, synthesis)
    assert np.abs(found - patch.ravel()).max() < 0.05


def test_codes_get_grey_first_and_then_the_lowest_frequencies():
    analysis, _ = cosine_basis.transforms(8, 10)
    waves = analysis[:, :, 0].reshape(10, 8, 8, 3)
    assert np.ptp(waves[0]) < 1e-6 * waves[0].max()  # how bright
    grey = waves.sum(-1)
    assert {int(np.ptp(wave, axis=0).max() < 1e-6) for wave in grey[1:3]} == {0, 1}
    for wave in grey[1:]:  # smooth, all of them: of a period at most across
        signs = np.sign(np.round(wave, 6))
        assert (np.diff(signs, axis=0) != 0).sum(0).max() <= 2
        assert (np.diff(signs, axis=1) != 0).sum(1).max() <= 2


def test_more_codes_than_numbers_of_a_patch_are_refused():
    with pytest.raises(
        ValueError, match="codes_per_position: given 13, wanted at most the 12"
    ):
        cosine_basis.transforms(2, 13)
