import pytest

from bluesky_ptycho.callbacks import document_keys
from bluesky_ptycho.callbacks.intake import Intake
from bluesky_ptycho.errors import MetadataError

from .compose import ComposedRun, small_plan

POSITIONS_M = [[1e-6, 2e-6], [1e-6, 3e-6], [2e-6, 2e-6]]


def make_run(**fields):
    return ComposedRun(small_plan(POSITIONS_M, **fields), metadata={"sample_name": "x"})


def test_plan_survives_the_start_document():
    run = make_run(exposures_s=(0.1, 0.01), n_darks=3, trajectory="raster")
    plan = document_keys.read_plan(run.start)
    assert plan == run.plan
    assert plan.positions_m.tolist() == POSITIONS_M


@pytest.mark.parametrize("extra", [{"analysis": "ptychography"}, {"raw_uid": "abc"}])
def test_result_runs_and_foreign_runs_are_left_alone(extra):
    assert document_keys.read_plan({**make_run().start, **extra}) is None
    assert document_keys.read_plan({"uid": "u", "plan_name": "scan"}) is None
    assert document_keys.read_plan({"uid": "u", "ptycho": "something of somebody else"}) is None


def test_start_document_errors_name_the_field():
    start = make_run().start
    broken = {**start, "ptycho": {**start["ptycho"], "schema_version": 99}}
    with pytest.raises(MetadataError, match="schema_version is 99"):
        document_keys.read_plan(broken)
    without = {k: v for k, v in start["ptycho"].items() if k != "energy_ev"}
    with pytest.raises(MetadataError, match="'energy_ev' is missing"):
        document_keys.read_plan({**start, "ptycho": without})
    axes = {"y": start["ptycho"]["axes"]["y"], "x": {"key": "stage_x", "units": "furlong"}}
    with pytest.raises(MetadataError, match="units of stage_x are 'furlong'"):
        document_keys.read_plan({**start, "ptycho": {**start["ptycho"], "axes": axes}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_x": None}, "no data key 'stage_x'"),
        ({"cam_image": {"shape": [1, 8, 16]}}, r"shape \(1, 8, 16\); the plan says \(1, 16, 16\)"),
        ({"stage_y": {"units": "mm"}}, "units 'mm' in the descriptor; the scan plan says 'um'"),
    ],
)
def test_descriptor_errors_name_field_value_and_expectation(changes, message):
    run = make_run()
    ((_, descriptor), _) = run.open_stream(**changes)
    with pytest.raises(MetadataError, match=message):
        document_keys.read_descriptor(descriptor, run.plan)


def test_energy_that_disagrees_with_the_plan_is_refused():
    run = make_run()
    ((_, descriptor), _) = run.open_stream()
    configured = {**descriptor, "configuration": {"cam": {"data": {"cam_energy": 900.0}}}}
    with pytest.raises(MetadataError, match=r"cam_energy is 900\.0 in the descriptor; the scan plan says 800\.0"):
        document_keys.read_descriptor(configured, run.plan)


def test_positions_are_metres_y_first():
    run = make_run()
    ((_, descriptor), _) = run.open_stream()
    stream = document_keys.read_descriptor(descriptor, run.plan)
    (point,) = document_keys.read_points(*run.event(3, row=7, position_um=(1.5, -2.5)), stream, run.plan)
    assert (point.seq_num, point.row) == (3, 7)
    assert point.position_m == pytest.approx((1.5e-6, -2.5e-6))


def test_event_page_gives_the_points_of_its_events():
    run = make_run()
    ((_, descriptor), _) = run.open_stream()
    stream = document_keys.read_descriptor(descriptor, run.plan)
    page = {
        "descriptor": descriptor["uid"], "uid": ["a", "b"], "seq_num": [4, 5], "time": [0.0, 1.0],
        "data": {"cam_frame_index": [3, 4], "stage_y": [1.0, 2.0], "stage_x": [5.0, 6.0]},
        "timestamps": {}, "filled": {},
    }  # fmt: skip
    points = list(document_keys.read_points("event_page", page, stream, run.plan))
    assert [(p.seq_num, p.row) for p in points] == [(4, 3), (5, 4)]
    assert points[1].position_m == pytest.approx((2e-6, 6e-6))


def test_frames_that_are_not_hdf5_files_are_refused():
    run = make_run()
    doc = {**run.open_stream()[1][1], "mimetype": "image/tiff"}
    with pytest.raises(MetadataError, match=r"image/tiff .* expected application/x-hdf5"):
        document_keys.read_source(doc, run.plan)


def feed(intake, *documents):
    for name, doc in documents:
        intake(name, doc)


def test_points_wait_for_the_darks_that_were_announced_before_them():
    run = make_run(n_darks=2)
    intake = Intake(run.start, run.plan)
    feed(intake, *run.open_stream("dark"), *run.open_stream("primary"))
    feed(intake, run.event(1, 0, name="dark"), run.event(2, 1, name="dark"), run.event(1, 0, (1, 2)))
    feed(intake, run.stored(0, 1))  # a replay may send the frames' stream documents first
    assert intake.take_points(10) == []
    feed(intake, run.stored(0, 2, name="dark"))
    assert [p.row for p in intake.take_darks(10)] == [0, 1]
    assert [p.row for p in intake.take_points(10)] == [0]


def test_darks_that_never_come_do_not_hold_the_scan_for_ever():
    run = make_run(n_darks=2)
    intake = Intake(run.start, run.plan)
    feed(intake, *run.open_stream("dark"), *run.open_stream("primary"))
    feed(intake, run.event(1, 0, name="dark"), run.event(1, 0, (1, 2)), run.stored(0, 1))
    assert intake.take_points(10) == []
    feed(intake, run.stop())
    assert [p.row for p in intake.take_points(10)] == [0]


def test_problem_is_kept_not_raised():
    run = make_run()
    intake = Intake(run.start, run.plan)
    feed(intake, *run.open_stream(stage_x=None))
    assert isinstance(intake.problem, MetadataError)
