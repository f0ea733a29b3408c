"""What parent and child say to each other, and when silence is too long."""

import json
import os
import signal
import socket
import struct
import threading

import numpy as np
import pytest

from bluesky_ptycho.callbacks.child import life
from bluesky_ptycho.callbacks.child.channel import Channel, encode
from bluesky_ptycho.callbacks.child.life import Life, Outbox, Silence
from bluesky_ptycho.callbacks.child.messages import pack_darks, pack_update, unpack_darks, unpack_update
from bluesky_ptycho.errors import MetadataError
from bluesky_ptycho.preprocess import DarkModel
from tests.stored import small_snapshot, update


@pytest.fixture
def ends():
    a, b = (Channel(end) for end in socket.socketpair())
    yield a, b
    for channel in (a, b):
        channel.shut_down()
        channel.close()


def carried(ends, message):
    threading.Thread(target=ends[0].send, args=(message,)).start()
    return ends[1].receive()


def test_an_update_is_the_same_at_the_other_end(ends):
    sent = update("final", {"uid": "u"}, small_snapshot(), rejected={3: "dark: none"}, missing=(1, 2), messages=("a",))
    common = {name: getattr(sent, name) for name in ("start", "plan", "geometry", "settings")}
    got = unpack_update(carried(ends, {"update": pack_update(sent)})["update"], **common)
    assert (got.rejected, got.missing, got.messages) == ({3: "dark: none"}, (1, 2), ("a",))
    for name in ("object", "probe", "coverage", "positions_m"):
        a, b = getattr(sent.snapshot, name), getattr(got.snapshot, name)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype and b.flags.writeable
    assert got.snapshot.canvas == sent.snapshot.canvas
    np.testing.assert_array_equal(got.snapshot.frc["correlation"], sent.snapshot.frc["correlation"])
    assert np.isnan(got.snapshot.frc["one_seventh_m"])


def test_darks_are_the_same_at_the_other_end(ends):
    dark = DarkModel(np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32), 5, 0.1, time_s=3.0)
    (got,) = unpack_darks(carried(ends, {"darks": pack_darks((dark,))})["darks"])
    np.testing.assert_array_equal(got.mean, dark.mean)
    assert (got.n, got.exposure_s, got.gain, got.power, got.time_s) == (5, 0.1, None, None, 3.0)
    assert unpack_darks(pack_darks(None)) is None


def test_arrays_of_any_shape_and_order_are_carried(ends):
    arrays = [np.zeros((0, 3)), np.array(7), np.arange(12).reshape(3, 4).T, np.array([True]), np.ones(2, np.complex64)]
    got = carried(ends, {"arrays": arrays, "deeper": {"still": (1, {"array": arrays[2]})}})
    for a, b in zip(arrays, got["arrays"], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(got["deeper"]["still"][1]["array"], arrays[2])


def test_objects_are_not_sent():
    for value in (object(), np.array([object()]), np.array(["text"])):
        with pytest.raises(TypeError, match="a message holds"):
            encode({"value": value})


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"$array": [0, "|O", [3]]}},
        {"x": {"$array": [0, "<f8", [10**12]]}},
        {"x": {"$array": [0, "<f8", [-1]]}},
        ["no object"],
    ],
)
def test_what_is_no_message_is_refused(header):
    a, b = socket.socketpair()
    text = json.dumps(header).encode()
    a.sendall(struct.pack("!Q", len(text)) + text)
    with a, b, pytest.raises(MetadataError, match="message"):
        Channel(b).receive()


def test_an_endless_header_is_refused():
    a, b = socket.socketpair()
    a.sendall(struct.pack("!Q", 2**60))
    with a, b, pytest.raises(MetadataError, match="header"):
        Channel(b).receive()


def test_who_waits_gets_none_when_the_other_end_goes(ends):
    ends[0].shut_down()
    assert ends[1].receive() is None


def test_the_outbox_begins_anew_for_everyone():
    outbox = Outbox()
    for i in range(3):
        outbox.put({"i": i})
    for _ in range(2):
        stream = outbox.follow(lambda: False)
        assert [bytes(next(stream)[0])[8:] for _ in range(3)] == [b'{"i": 0}', b'{"i": 1}', b'{"i": 2}']


def test_silence_is_counted_in_ticks_and_long_passes_are_patiently_borne():
    silence = Silence(4.0)
    assert not silence.tick(1000.0), "this process was stopped, not the other"
    for _ in range(100):
        silence.heard(0)
        assert not silence.tick(1.0), "it loads and compiles"
    silence.heard(1)
    for _ in range(3):
        assert not silence.tick(1.0)
    silence.heard(2)  # a pass of 3 s: 15 s are no reason to worry
    ticks = next(n for n in range(1, 100) if silence.tick(1.0))
    assert ticks == 16


def test_a_process_that_gives_no_sign_of_life_is_killed(monkeypatch):
    monkeypatch.setattr(life, "STARTING_S", 0.0)
    silent = Life({}, Outbox(), patience_s=0.0)
    try:
        os.kill(silent.process.pid, signal.SIGSTOP)
        assert silent.process.wait(30) == -signal.SIGKILL
        assert silent.hung
    finally:
        silent.end(patience_s=0.0)
