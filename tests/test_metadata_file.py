"""Metadata survive the session that wrote them."""

from __future__ import annotations

import numpy as np
import pytest

from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.metadata_file import MetadataFile


def test_what_one_session_writes_the_next_one_reads(tmp_path):
    first = MetadataFile(tmp_path / "deep" / "md.json")
    assert dict(first) == {}
    first["scan_id"] = np.int64(4)
    first["sample"] = {"name": "gold µ"}
    first["gone"] = [1.5, None]
    del first["gone"]
    first["sample"]["batch"] = 3
    first.flush()
    assert dict(MetadataFile(tmp_path / "deep" / "md.json")) == {"scan_id": 4, "sample": {"name": "gold µ", "batch": 3}}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["md.json"]


def test_a_run_engine_counts_in_it(tmp_path, RE):
    from bluesky.plans import count
    from ophyd.sim import det

    RE.md = MetadataFile(tmp_path / "md.json")
    RE(count([det]))
    RE(count([det]))
    assert MetadataFile(tmp_path / "md.json")["scan_id"] == 2


def test_two_sessions_may_share_a_file(tmp_path):
    one, other = (MetadataFile(tmp_path / "md.json") for _ in range(2))
    for number in range(1, 4):
        one["scan_id"] = number
        other["scan_id"] = number
        del other["scan_id"]
    one["scan_id"] = 9
    assert MetadataFile(tmp_path / "md.json")["scan_id"] == 9


def test_a_value_that_json_cannot_hold_is_refused_and_not_kept(tmp_path):
    metadata = MetadataFile(tmp_path / "md.json")
    metadata["scan_id"] = 1
    with pytest.raises(MetadataError, match="metadata hold a object"):
        metadata["odd"] = object()
    assert dict(metadata) == dict(MetadataFile(tmp_path / "md.json")) == {"scan_id": 1}


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_of_something_else_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "md.json").write_text(text)
    with pytest.raises(MetadataError, match=r"md\.json"):
        MetadataFile(tmp_path / "md.json")
