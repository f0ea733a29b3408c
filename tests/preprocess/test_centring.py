"""The centre of mass of the first frames as the optical centre."""

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.centring import centred
from bluesky_ptycho.preprocess.grid import orient, turn_back

from .camera import Camera, make_plan


def test_turning_back_undoes_the_orientation():
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(turn_back(orient(image)), image)


@pytest.mark.parametrize("centre", [(480.0, 480.0), (462.3, 505.8)])
def test_centre_of_mass_is_found_in_the_raw_image(centre):
    """Off-centre light in frames with holes: the spot, not the array, tells where the axis is."""
    camera = Camera(seed=3)
    y, x = np.mgrid[:960, :960] + 0.5
    spot = 60 * np.exp(-0.5 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 30**2)
    frames = np.stack([camera.frame(spot) for _ in range(4)])[:, None]
    dark = camera.darks(12)
    settings = PreprocessSettings(binning=3.75, pattern_px=200, centre_frames=4)
    found = centred(make_plan(), settings, frames, (dark,))
    assert found.centre_frames == 0
    assert found.pattern_px == 200
    assert found.optical_centre == pytest.approx(centre, abs=0.3)
    pattern = make_pipeline(make_plan(), found)(frames, (dark,)).photons.sum(axis=0)
    rows, columns = np.indices(pattern.shape)
    assert (pattern * rows).sum() / pattern.sum() == pytest.approx(100, abs=0.1)
    assert (pattern * columns).sum() / pattern.sum() == pytest.approx(100, abs=0.1)


def test_frames_without_light_have_no_centre():
    plain = make_plan("plain", shape=(32, 32))
    with pytest.raises(MetadataError, match="no light in 2 frames"):
        centred(plain, PreprocessSettings(), np.zeros((2, 1, 32, 32), np.uint16))
    one = np.zeros((1, 1, 32, 48), np.uint16)
    one[0, 0, 5, 40] = 7
    plan = make_plan("plain", shape=(32, 48))
    assert centred(plan, PreprocessSettings(), one).optical_centre == (5.5, 40.5)
