"""Cosines of patches: orthonormal, in the order of how much they say."""

import numpy as np
import pytest

from experiments.vq_vae import cosine_basis


@pytest.mark.parametrize(("side", "slots"), [(4, 16), (4, 3), (2, 12)])
def test_all_cosines_together_are_the_patch(side, slots):
    apart, together = cosine_basis.transforms(side, slots)
    number = side * side * 3
    assert apart.shape == (slots, number, number // slots)
    patch = np.random.default_rng(0).standard_normal(number).astype(np.float32)
    amplitudes = patch @ apart  # [slots, frequencies]
    found = np.einsum("sm,smp->p", amplitudes, together)
    np.testing.assert_allclose(found, patch, atol=1e-5)


def test_what_no_slot_has_is_what_says_least():
    apart, together = cosine_basis.transforms(4, 10)  # 4 for each, of 48
    patch = np.full((4, 4, 3), 0.7, np.float32)
    patch[:2] += 0.1
    found = np.einsum("sm,smp->p", patch.ravel() @ apart, together)
    assert np.abs(found - patch.ravel()).max() < 0.05


def test_slots_begin_with_grey_as_a_whole_and_go_on_to_the_next_frequencies():
    apart, _ = cosine_basis.transforms(8, 10)
    waves = apart[:, :, 0].reshape(10, 8, 8, 3)
    assert np.ptp(waves[0]) < 1e-6 * waves[0].max()  # how bright
    grey = waves.sum(-1)
    assert {int(np.ptp(wave, axis=0).max() < 1e-6) for wave in grey[1:3]} == {0, 1}
    for wave in grey[1:]:  # smooth, all of them: of a period at most across
        signs = np.sign(np.round(wave, 6))
        assert (np.diff(signs, axis=0) != 0).sum(0).max() <= 2
        assert (np.diff(signs, axis=1) != 0).sum(1).max() <= 2


def test_more_slots_than_numbers_are_refused():
    with pytest.raises(
        ValueError, match="codes_per_position: given 13, wanted at most the 12"
    ):
        cosine_basis.transforms(2, 13)
