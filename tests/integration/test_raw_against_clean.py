"""The object from raw frames against the object from the same photons without a camera."""

import pytest

from benchmarks.photon_threshold import measure_scene


@pytest.mark.slow
def test_the_camera_costs_a_tenth_of_the_error_at_most(monkeypatch):
    monkeypatch.setattr("benchmarks.photon_threshold.FIXED", (0.6,))
    errors = measure_scene("goldballs", 1e6, 12, 50)
    assert errors["own"] <= 1.1 * errors["clean"]
    assert errors["fixed"]["0.6"] > 1.3 * errors["clean"]  # what it would be with one threshold for all pixels
