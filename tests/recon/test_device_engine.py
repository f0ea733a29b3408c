"""The GPU engine against the array code: the very kernels compiled for the host, and on a card if there is one."""

import dataclasses
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

from bluesky_ptycho.recon import device_kernels
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.engine import make_engine

from .device_problem import MIXED, WHOLE, WINDOW, Both, N, complex_noise, gradients, make_state, placed, same, summed

NVCC = shutil.which("nvcc")


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_compiles_without_a_warning(arch, tmp_path):
    if NVCC is None:
        pytest.skip("no nvcc to compile the kernels with")
    source = resources.files("bluesky_ptycho.recon") / "cuda" / "solve.cu"
    strict = ("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "-std=c++17", "-cubin")
    with resources.as_file(source) as path:
        command = [NVCC, f"-arch={arch}", *strict, "-o", tmp_path / "solve.cubin", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    cubin = (tmp_path / "solve.cubin").read_bytes()
    assert all(f".text.{name}\0".encode() in cubin for name in device_kernels.KERNELS)


@placed
def test_probes_and_exit_waves(backend, corners, modes):
    both = Both(backend, corners, modes)
    same(both.visit(lambda lane, state, slots: lane.probes(state, slots))[0])
    same(both.visit(lambda lane, state, slots: lane.exit_waves(state, slots, lane.probes(state, slots)))[0])


def test_probes_that_all_frames_share_are_not_copied(backend):
    state, engine = make_state(backend, WHOLE), DeviceEngine(backend)
    engine.run(state, state.frames.slots(), lambda lane, slots: None)
    assert engine.probes(state, state.frames.slots()).shape == (1, *state.probe.shape)


@placed
def test_blend_and_relay(backend, corners, modes):
    both = Both(backend, corners, modes)
    kept = complex_noise(np.random.default_rng(5), N, modes, *WINDOW)
    stored = {state.backend: state.backend.to_device(kept) for state in both.states}

    def visit(lane, state, slots):
        probes = lane.probes(state, slots)
        waves = lane.blend(state, slots, probes, stored[state.backend], 2.0, -0.5)
        return lane.relay(state, slots, probes, stored[state.backend], waves, (0.7, -0.5, 0.4), (-1.0, 2.0, -0.3))

    same(both.visit(visit)[0])
    same([state.backend.to_host(stored[state.backend]) for state in both.states])


DETECTIONS = {
    "plain": {},
    "half-way": {"strength": 0.6},
    "poisson": {"poisson": True, "strength": 0.6},
    "all": {"poisson": True, "weights": True, "background": True, "gain": True, "strength": 0.6},
    "gaussian-all": {"weights": True, "background": True, "gain": True},
    "weights": {"weights": True},
    "near-field": {"transfer": True},
    "background-fitted": {"background": True, "gain": True, "excess": True},
}
detected = pytest.mark.parametrize("detection", list(DETECTIONS.values()), ids=list(DETECTIONS))


def detecting(backend, detection, *arguments):
    """Return both engines with states that have this detection."""
    both = Both(backend, *arguments, weights=detection.get("weights", False))
    rng = np.random.default_rng(3)
    background = rng.random(WINDOW).astype(np.float32)
    transfer = complex_noise(rng, *WINDOW) / np.float32(WINDOW[0] * WINDOW[1])
    gain = rng.uniform(0.7, 1.3, N).astype(np.float32)
    for state in both.states:
        upload = state.backend.to_device
        state.detection.poisson = detection.get("poisson", False)
        if detection.get("background"):
            state.detection.background = upload(background)
        if detection.get("transfer"):
            state.detection.transfer = upload(transfer)
        if detection.get("gain"):
            state.frames.gain[:] = gain
            state.detection.fits_gain = True
        if detection.get("excess"):
            state.excess = upload(np.zeros((2, *WINDOW), np.float32))
    return both


@detected
def test_project(backend, modes, detection):
    both = detecting(backend, detection, MIXED, modes)
    strength = detection.get("strength", 1.0)

    def visit(lane, state, slots):
        waves = lane.exit_waves(state, slots, lane.probes(state, slots))
        return lane.project(state, slots, waves, strength)

    waves, totals = both.visit(visit)
    same(waves, rtol=1e-4)
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)
    if detection.get("gain"):
        same([state.frames.brightness for state in both.states])
    if detection.get("excess"):
        same([state.backend.to_host(state.excess) for state in both.states], rtol=1e-4)


@pytest.mark.parametrize("poisson", [False, True])
def test_where_the_waves_are_nothing_they_stay_so(backend, poisson):
    state, engine = make_state(backend), DeviceEngine(backend)
    state.object = state.object * 0
    state.detection.poisson = poisson
    seen = []

    def visit(lane, slots):
        waves = lane.project(state, slots, lane.exit_waves(state, slots, lane.probes(state, slots)))
        seen.append(backend.to_host(waves))

    assert np.isfinite(float(engine.run(state, state.frames.slots(), visit)))
    assert not seen[0].any()


@summed
@placed
def test_gradients_directions_and_steps(backend, corners, modes, tiled):
    both = Both(backend, corners, modes, tiled=tiled)
    for state in both.states:
        state.tracks_shifts = True
    both.visit(gradients)
    for found in both.sums().values():
        same(found, rtol=1e-4)
    same([state.frames.shift_sums for state in both.states], rtol=1e-4)
    found = [e.directions(s, 0.05, 0.1) for e, s in zip(both.engines, both.states, strict=True)]
    for field in dataclasses.fields(found[0]):
        values = [s.backend.to_host(getattr(d, field.name)) for d, s in zip(found, both.states, strict=True)]
        same(values, rtol=1e-4)
    for probe_step in (0.3, None):
        for engine, state, along in zip(both.engines, both.states, found, strict=True):
            engine.advance(state, along, 0.4, probe_step, 0.9)
        for name in ("object", "probe", "object_velocity", "probe_velocity"):
            same([state.backend.to_host(getattr(state, name)) for state in both.states], rtol=1e-4)
    assert not any(np.any(sums[0]) for sums in both.sums().values())


@detected
def test_coupling_and_curvature_along_directions(backend, modes, detection):
    both = detecting(backend, detection, MIXED, modes)
    both.visit(gradients)
    found = {s.backend: e.directions(s, 0.05, 0.1) for e, s in zip(both.engines, both.states, strict=True)}

    def couple(lane, state, slots):
        lane.couple(state, slots, lane.probes(state, slots), found[state.backend])

    def bend(lane, state, slots):
        lane.bend(state, slots, lane.probes(state, slots), found[state.backend])

    for visit in (couple, bend):
        totals = both.visit(visit)[1]
        assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_a_backend_with_cuda_gets_the_device_engine(host_cuda):
    assert isinstance(make_engine(host_cuda), DeviceEngine)
