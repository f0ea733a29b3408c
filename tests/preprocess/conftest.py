"""A drifting camera, its darks, and frames of a lopsided pattern; modules that need others say so."""

import numpy as np
import pytest

from .camera import Camera


@pytest.fixture(scope="module")
def camera():
    return Camera(seed=21, drift=2.0)


@pytest.fixture(scope="module")
def dark(camera):
    return camera.darks(8)


@pytest.fixture(scope="session")
def image():
    """A bright, lopsided pattern with a wedge, saturated in one spot."""
    y, x = np.mgrid[:960, :960]
    pattern = 300 * np.exp(-((y - 500.0) ** 2 + (x - 440.0) ** 2) / 60**2)
    pattern[200:300, 100:600] += np.linspace(0, 20, 500)
    pattern[479:481, 610] = 4000.0
    return pattern


@pytest.fixture(scope="module")
def frames(camera, dark, image):
    """Three points; the second has lost pixels and overscan, the third foreign gain bits and rows without overscan."""
    raw = np.stack([camera.frame(image) for _ in range(3)])[:, None]
    raw[1, 0, 40:43, 100:900] |= 0x2000
    raw[1, 0, 300:340, 240:241] |= 0x2000
    raw[1, 0, 700:710, 251:252] |= 0xFFFF
    raw[2, 0, 700, 333] &= 0x1FFF
    raw[2, 0, 300:340, 240:241] |= 0x2000
    raw[2, 0, 300:340, 251:252] |= 0x2000
    return raw
