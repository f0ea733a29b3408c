"""The GPU engine against the array code: the very kernels compiled for the host, and on a card if there is one."""

import dataclasses
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

from bluesky_ptycho.backend import get_backend
from bluesky_ptycho.frames import Batch
from bluesky_ptycho.geometry import Canvas
from bluesky_ptycho.recon import device_kernels
from bluesky_ptycho.recon.array_engine import ArrayEngine
from bluesky_ptycho.recon.device_engine import DeviceEngine
from bluesky_ptycho.recon.engine import make_engine
from bluesky_ptycho.recon.measure import error_of
from bluesky_ptycho.recon.state import ReconState
from bluesky_ptycho.recon.store import FrameStore

from ..cuda_on_host import COMPILER, HostCuda
from .backends import UnfusedBackend
from .small_problem import PIXEL_M, make_problem

NVCC = shutil.which("nvcc")
WINDOW, CANVAS = (18, 14), (40, 37)
N = 5


@pytest.fixture(scope="module")
def host_cuda(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("no g++ to compile the kernels for the host with")
    return HostCuda(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module", params=["host", pytest.param("card", marks=pytest.mark.gpu)])
def backend(request):
    return get_backend("cupy") if request.param == "card" else request.getfixturevalue("host_cuda")


@pytest.fixture(params=[1, 3])
def modes(request):
    return request.param


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


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


WHOLE = [[0, 0], [3, 5], [4, 5], [22, 23], [22, 0]]
"""At the rim of the object, and on top of each other."""
FRACTIONAL = [[0.25, 0.5], [3.7, 5.2], [4.0, 5.9], [21.3, 22.01], [21.9, 0]]
MIXED = [[0, 0], [3.7, 5.2], [4, 5], [21.3, 22.01], [22, 0]]
placed = pytest.mark.parametrize("corners", [WHOLE, FRACTIONAL, MIXED], ids=["whole", "fractional", "mixed"])


def make_state(backend, corners=MIXED, modes=3, *, weights=False, window=WINDOW, canvas=CANVAS):
    """Return a state of noise, the same on each backend; some pixels are not valid, some are dark."""
    rng = np.random.default_rng(11)
    n = len(corners)
    grid = Canvas(canvas, (0.0, 0.0), (1.0, 1.0), window)
    frames = FrameStore(n, window, backend, subpixel=True)
    amplitude = rng.random((n, *window)).astype(np.float32) * 4
    amplitude[:, 1], amplitude[-1] = 0, 0
    mask = rng.random((n, *window)) > 0.1
    weight = rng.random((n, *window)).astype(np.float32) if weights else None
    middle = np.asarray(corners, float) + np.array(window) // 2
    frames.put(Batch(np.arange(n), middle, amplitude, mask, weight), grid)
    state = ReconState.start(backend, grid, complex_noise(rng, modes, *window), frames)
    for name in ("object", "object_velocity", "probe_velocity"):
        setattr(state, name, backend.to_device(complex_noise(rng, *getattr(state, name).shape)))
    return state


class Both:
    """The same done by the kernels and by the array code."""

    def __init__(self, backend, *arguments, **options):
        plain = UnfusedBackend()
        self.engines = DeviceEngine(backend), ArrayEngine(plain)
        self.states = make_state(backend, *arguments, **options), make_state(plain, *arguments, **options)

    def each(self, do):
        """Return ``do(engine, state)`` of both, on the host."""
        return [
            state.backend.to_host(do(engine, state)) for engine, state in zip(self.engines, self.states, strict=True)
        ]

    def visit(self, do):
        """Return what ``do(lane, state, slots)`` returns in a visit of all frames, and the totals, of both."""
        found = []
        for engine, state in zip(self.engines, self.states, strict=True):
            slots = np.random.default_rng(2).permutation(state.frames.slots())
            here = []

            def visit(lane, chunk, state=state, here=here):
                here.append(do(lane, state, chunk))

            total = engine.run(state, slots, visit)
            (waves,) = here
            found.append((state.backend.to_host(waves) if waves is not None else None, float(total)))
        return [waves for waves, _ in found], [total for _, total in found]

    def sums(self):
        """Return the sums of both engines, by name."""
        sums = [engine._ensure(state) for engine, state in zip(self.engines, self.states, strict=True)]
        return {
            name: [state.backend.to_host(getattr(s, name)) for s, state in zip(sums, self.states, strict=True)]
            for name in vars(sums[0])
        }


def same(found, rtol=1e-5):
    """Compare with what the array code found, relative to its largest value."""
    ours, expected = found
    np.testing.assert_allclose(*np.broadcast_arrays(ours, expected), rtol=rtol, atol=rtol * np.abs(expected).max())
    assert np.any(expected)


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


def gradients(lane, state, slots):
    probes = lane.probes(state, slots)
    waves = lane.project(state, slots, lane.exit_waves(state, slots, probes))
    lane.accumulate(state, slots, probes, waves)


@placed
def test_gradients_directions_and_steps(backend, corners, modes):
    both = Both(backend, corners, modes)
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
    for probe_step in (0.3, 0.0):
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


def test_more_frames_times_modes_than_a_grid_is_high(backend):
    frames, modes = 1100, 60
    corners = np.random.default_rng(1).uniform(0, 6, (frames, 2))
    both = Both(backend, corners, modes, window=(8, 8), canvas=(14, 14))
    _, totals = both.visit(gradients)
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)
    for found in both.sums().values():
        same(found, rtol=1e-3)


def test_chunks_change_nothing(backend, modes):
    results = []
    for frames in (N, 2):
        state = make_state(backend, MIXED, modes)
        engine = DeviceEngine(backend, chunk_bytes=frames * 8 * state.probe.size)
        seen = []

        def visit(lane, chunk, state=state, seen=seen):
            seen.append(len(chunk))
            gradients(lane, state, chunk)

        total = float(engine.run(state, state.frames.slots(), visit))
        sums = vars(engine._ensure(state)).values()
        results.append((seen, total, [backend.to_host(a) for a in sums]))
    (one, total, sums), (several, total_too, sums_too) = results
    assert (one, several) == ([5], [2, 2, 1])
    assert total == pytest.approx(total_too, rel=1e-6)
    for found in zip(sums, sums_too, strict=True):
        same(found)


class Scarce:
    """An array module whose device holds arrays of so many bytes."""

    def __init__(self, xp, most):
        self._xp, self._most = xp, most

    def __getattr__(self, name):
        return getattr(self._xp, name)

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self._most:
            raise MemoryError
        return self._xp.empty(shape, dtype)


def test_chunks_are_halved_while_they_do_not_fit(tmp_path, host_cuda):
    expected = DeviceEngine(host_cuda)
    state = make_state(host_cuda)
    total = expected.run(state, state.frames.slots(), lambda lane, slots: gradients(lane, state, slots))
    scarce = HostCuda(host_cuda.directory)
    scarce.xp = Scarce(scarce.xp, 2.5 * 8 * state.probe.size)
    poor, engine, seen = make_state(scarce), DeviceEngine(scarce), []

    def visit(lane, slots):
        gradients(lane, poor, slots)
        seen.append(len(slots))

    for n in ([2, 2, 1], [2, 2, 1, 2, 2, 1]):  # the second run knows what fits
        assert engine.run(poor, poor.frames.slots(), visit) == pytest.approx(total, rel=1e-6)
        assert seen == n
    same([engine._ensure(poor).gradient, 2 * expected._ensure(state).gradient])
    scarce.xp = Scarce(np, 100)
    with pytest.raises(MemoryError):
        engine.run(poor, poor.frames.slots(), visit)


def test_memory_that_ran_out_with_half_a_sum_made_is_told(backend):
    state, engine = make_state(backend), DeviceEngine(backend)

    def visit(lane, slots):
        gradients(lane, state, slots)
        raise MemoryError

    with pytest.raises(MemoryError):
        engine.run(state, state.frames.slots(), visit)


def test_frames_that_move_come_or_change_are_seen(backend):
    both = Both(backend)

    def error():
        found = [error_of(s, e, s.frames.slots()) for e, s in zip(both.engines, both.states, strict=True)]
        assert found[0] == pytest.approx(found[1], rel=1e-5)
        return found[0]

    errors = [error()]
    for state in both.states:
        state.frames.shift_px[:] += 0.4
        state.frames.place(state.canvas)
    errors.append(error())
    for state in both.states:
        state.frames.gain[:] *= 1.5
    errors.append(error())
    for state in both.states:
        state.frames.drop([1, 2])
        new = Batch(np.array([7]), np.array([[14.0, 12.0]]), np.ones((1, *WINDOW), np.float32), np.ones(WINDOW, bool))
        state.frames.put(new, state.canvas)
    errors.append(error())
    assert len(set(errors)) == 4


RUNS = [("mpie", "gaussian"), ("lsqml", "gaussian"), ("lsqml", "poisson"), ("raar", "gaussian"), ("ml", "poisson")]


@pytest.mark.parametrize(("algorithm", "noise"), RUNS)
def test_a_whole_run_equals_the_array_codes(backend, algorithm, noise, modes):
    problem = make_problem(photons=1e5, n_side=5)
    batch = problem.batch()
    shifted = batch.positions_m + np.random.default_rng(4).uniform(-0.4, 0.4, batch.positions_m.shape) * PIXEL_M
    batch = dataclasses.replace(batch, positions_m=shifted)
    found = []
    for each in (backend, UnfusedBackend()):
        with problem.solver(backend=each, algorithm=algorithm, noise=noise, modes=modes, probe_start=1) as solver:
            assert isinstance(solver._engine, DeviceEngine) == (each is backend)
            solver.warm_up()
            solver.add(batch)
            solver.step(5)
            found.append(solver.snapshot(exact_residual=True))
    ours, expected = found
    same([ours.object, expected.object], rtol=2e-3)
    same([ours.probe, expected.probe], rtol=2e-3)
    assert ours.residuals == pytest.approx(expected.residuals, rel=1e-3)
    assert ours.residual == pytest.approx(expected.residual, rel=1e-3)


@pytest.mark.parametrize(
    "changes", [{"probe_variations": 2}, {"refine_positions": True}, {"fit_intensity": True, "fit_background": True}],
    ids="-".join,
)  # fmt: skip
def test_what_is_not_fused_equals_the_array_codes(backend, changes):
    problem = make_problem(photons=1e5, n_side=5)
    found = []
    for each in (backend, UnfusedBackend()):
        with problem.solver(backend=each, probe_start=1, **changes) as solver:
            solver.add(problem.batch())
            solver.step(8)
            found.append(solver.snapshot())
    same([snapshot.object for snapshot in found], rtol=5e-3)


class Counting(HostCuda):
    """Counts what is brought back to the host."""

    def __init__(self, directory):
        super().__init__(directory)
        self.transfers = 0

    def to_host(self, array):
        self.transfers += 1
        return super().to_host(array)

    def floats(self, scalars):
        self.transfers += 1
        return super().floats(scalars)


@pytest.mark.parametrize(("algorithm", "transfers"), [("mpie", 1), ("lsqml", 3)])
def test_a_pass_brings_back_steps_only(host_cuda, algorithm, transfers):
    """The error of the pass is a scalar on the device until the pass is over; before it the state is found finite."""
    backend, problem = Counting(host_cuda.directory), make_problem(n_side=6)
    with problem.solver(backend=backend, algorithm=algorithm, noise="poisson", probe_start=0) as solver:
        solver.add(problem.batch())
        solver.step(2)
        backend.transfers = 0
        solver.step()
        assert backend.transfers == transfers


def test_a_backend_with_cuda_gets_the_device_engine(host_cuda):
    assert isinstance(make_engine(host_cuda), DeviceEngine)
