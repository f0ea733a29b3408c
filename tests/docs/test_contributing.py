"""What CONTRIBUTING.md tells others to write works as it stands."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from bluesky_ptycho.preprocess import PreprocessSettings, make_pipeline
from bluesky_ptycho.preprocess.presets import PLAIN_STEPS
from bluesky_ptycho.registry import preprocessing_steps
from tests.conftest import REPOSITORY
from tests.distributions import installer
from tests.preprocess.camera import make_plan

from .blocks import read_blocks

_after = PLAIN_STEPS.index("photons") + 1
STEPS = (*PLAIN_STEPS[:_after], "ignore_hot_pixels", *PLAIN_STEPS[_after:])


def test_a_step_of_another_distribution(tmp_path):
    files = {b.file: b.code for b in read_blocks(REPOSITORY / "CONTRIBUTING.md") if b.file}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    counts = np.full((1, 1, 16, 16), 40, dtype=np.uint16)
    counts[0, 0, 3, 4] = 6000
    with installer(tmp_path) as install:
        install(project["name"], project["entry-points"], files)
        try:
            settings = PreprocessSettings(steps=STEPS)
            with make_pipeline(make_plan("plain", shape=(16, 16)), settings) as pipeline:
                clean = pipeline(counts)
        finally:
            preprocessing_steps._entries.pop("ignore_hot_pixels", None)
    assert np.argwhere(~clean.mask[0]).tolist() == [[3, 4]]
    assert clean.photons[0].sum() == 40 * 255
    with pytest.raises(KeyError, match="'ignore_hot_pixels' is not known"):
        make_pipeline(make_plan("plain", shape=(16, 16)), settings)
