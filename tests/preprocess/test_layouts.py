"""Where pixels lie: cases worked out by hand and the round trip."""

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError, NotFoundError
from bluesky_ptycho.preprocess.layouts import (
    assemble,
    disassemble,
    find_layout,
    image_columns,
    layout_of,
    wire_word_of_channel,
)
from bluesky_ptycho.scan_plan import ScanPlan


def test_wire_words_of_some_channels_by_hand():
    q = wire_word_of_channel()
    # q(k) = 16 ((191 - k) mod 12) + 15 - 4 floor(k / 48) - (floor((191 - k) / 12) mod 4)
    assert q[191] == 16 * 0 + 15 - 12 - 0
    assert q[0] == 16 * 11 + 15 - 0 - 3
    assert q[100] == 16 * 7 + 15 - 8 - 3
    assert sorted(q) == list(range(192))


@pytest.mark.parametrize(
    ("channel", "row", "slot", "place"),
    [
        (96, 0, 0, (0, 0)),  # first channel of the upper half: outer edge, left
        (191, 0, 11, (0, 1151)),
        (97, 7, 3, (7, 15)),
        (0, 0, 0, (1039, 1151)),  # first channel of the lower half: outer edge, right (rotated)
        (95, 0, 11, (1039, 0)),
        (1, 7, 3, (1032, 1136)),
        (95, 519, 11, (520, 0)),  # the seam
    ],
)
def test_one_word_of_the_wire_lands_where_it_belongs(channel, row, slot, place):
    wire = np.zeros((520, 12, 192), dtype=np.uint16)
    wire[row, slot, wire_word_of_channel()[channel]] = 7
    frame = assemble(wire.reshape(1040, 1152))
    assert frame[place] == 7
    assert np.count_nonzero(frame) == 1


def test_wire_round_trip_keeps_every_pixel():
    frames = np.random.default_rng(0).integers(0, 65536, (2, 1, 1040, 1152), dtype=np.uint16)
    wire = disassemble(frames)
    assert not np.array_equal(wire, frames)
    np.testing.assert_array_equal(assemble(wire), frames)


def test_image_leaves_out_junk_seam_empty_rows_and_overscan():
    rows, columns = find_layout("fccd-assembled").image_rows(), image_columns()
    assert rows.shape == columns.shape == (960,)
    assert (rows[0], rows[479], rows[480], rows[959]) == (6, 485, 554, 1033)
    assert (columns[0], columns[9], columns[10], columns[959]) == (1, 10, 13, 1150)
    assert not np.isin(columns % 12, (0, 11)).any()


def test_layout_refuses_other_shapes_and_names():
    with pytest.raises(MetadataError, match=r"'fccd-wire' have shape \(960, 960\); expected \(1040, 1152\)"):
        find_layout("fccd-wire").image_shape((960, 960))
    with pytest.raises(NotFoundError, match="'eiger' is not known; known: fccd-assembled"):
        find_layout("eiger")
    assert find_layout("plain").image_shape((7, 9)) == (7, 9)
    assert layout_of(ScanPlan(1, (0, 0, 0, 0), 800.0, 0.1)).name == "plain"
