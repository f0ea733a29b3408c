"""Knobs on the page: who may turn them, what is refused, and what becomes of it in a running reconstruction."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest

from bluesky_ptycho.callbacks import LivePtycho, LivePtychoFigure
from bluesky_ptycho.callbacks.results import ResultRun
from bluesky_ptycho.devices import ReconControl
from bluesky_ptycho.errors import SettingsError
from bluesky_ptycho.web.handler import LARGEST_BODY
from tests.callbacks.live_scan import QUICK, documents_in_order, make_run, play, steer, until
from tests.callbacks.small_data import small_scan

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def control():
    return ReconControl()


@pytest.fixture(scope="module")
def figure(control):
    with closing(LivePtychoFigure("web", port=0, token=TOKEN, knobs=control)) as figure:
        yield figure


@pytest.fixture
def recon(control):
    """The knobs of the page; each test finds them as they were at first."""
    before = {name: getattr(control, name).get() for name in control.component_names}
    yield control
    for name, value in before.items():
        getattr(control, name).put(value)


def port_of(figure):
    return int(figure.url.partition("?")[0].rstrip("/").rpartition(":")[2])


def send(figure, body, **changed):
    """POST as the page does, but for the headers in `changed`; None leaves one out. Return status and text."""
    port = port_of(figure)
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Cookie": f"ptycho_{port}={TOKEN}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.putrequest("POST", "/knobs", skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        assert answer.getheader("Connection") == "close"
        return answer.status, answer.read().decode()


def state(figure):
    port = port_of(figure)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/state", headers={"Cookie": f"ptycho_{port}={TOKEN}"})
        return json.loads(connection.getresponse().read())


def shown(figure):
    return {knob["name"]: knob for knob in state(figure)["knobs"]}


ASKED = {"knob": "step", "value": "0.8"}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Cookie": None}, 401),
        ({"Cookie": "ptycho_PORT=wrong-horse-battery"}, 401),
        ({"Content_Type": None}, 415),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": None}, 411),
        ({"Content_Length": "-1"}, 411),
        ({"Content_Length": "²"}, 411),
        ({"Content_Length": str(LARGEST_BODY + 1)}, 413),
        ({"Content_Length": "9" * 5000}, 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_who_is_not_the_page_turns_nothing(figure, recon, changed, status):
    port = str(port_of(figure))
    encoded = {name: value and value.replace("PORT", port).encode() for name, value in changed.items()}
    assert send(figure, ASKED, **encoded)[0] == status
    assert recon.step.get() is None
    assert send(figure, ASKED) == (200, "step = 0.8"), "the same request without that change"
    assert recon.step.get() == 0.8


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * LARGEST_BODY, b"\xff\xfe", b"null", b"[]", b"7", {}, {"knob": "step"}, {"value": "0.8"},
     {"knob": "step", "value": 0.8}, {"knob": ["step"], "value": "0.8"}],
    ids=lambda body: repr(body)[:20],
)  # fmt: skip
def test_nonsense_is_refused(figure, recon, body):
    assert send(figure, body) == (400, 'expected {"knob": NAME, "value": TEXT}')
    assert recon.step.get() is None


@pytest.mark.parametrize(
    ("knob", "value", "told"),
    [
        ("beta", "8", "recon.beta is 8; expected a number, 0.0 <= value <= 1.0"),
        ("beta", "nan", "recon.beta is nan; expected a finite number"),
        ("modes", "1e999", "recon.modes is '1e999'; expected a whole number"),
        ("position_model", "square", "expected one of free, affine, drift"),
        ("algorithm", "magic", "algorithm 'magic' is not known; known: admm, dm, epie"),
        ("paused", "perhaps", "recon.paused is 'perhaps'; expected true or false"),
        ("wavelength", "1", "recon has no knob 'wavelength'; known: algorithm, beta, step"),
        ("__class__", "1", "recon has no knob '__class__'"),
        ("solver.modes", "2", "recon has no knob 'solver.modes'"),
    ],
)
def test_what_a_knob_does_not_take_is_refused_with_what_it_takes(figure, recon, knob, value, told):
    before = recon.shown()
    status, text = send(figure, {"knob": knob, "value": value})
    assert status == 400 and told in text
    assert recon.shown() == before


def test_the_page_is_told_what_knobs_there_are_and_how_they_stand(figure, recon):
    knobs = shown(figure)
    assert list(knobs) == list(recon.component_names)
    assert (knobs["beta"]["value"], knobs["beta"]["takes"]) == ("none", "0.0 <= value <= 1.0 or none")
    assert knobs["position_model"]["choices"] == ["free", "affine", "drift"]
    assert (knobs["refine_positions"]["value"], knobs["paused"]["choices"]) == ("false", ["true", "false"])
    recon.beta.put(0.7)
    assert send(figure, {"knob": "centre", "value": "35, 30.5"})[0] == 200
    assert recon.centre.get() == (35.0, 30.5)
    knobs = shown(figure)
    assert (knobs["beta"]["value"], knobs["centre"]["value"]) == ("0.7", "35.0, 30.5")
    for name, knob in knobs.items():
        assert send(figure, {"knob": name, "value": knob["value"]})[0] == 200, "what is shown can be typed"


def test_a_change_from_the_page_is_kept_with_the_result(tmp_path, figure, recon):
    documents, scan = [], small_scan()
    sink = ResultRun(lambda *document: documents.append(document), tmp_path / "results")
    with LivePtycho(QUICK, sinks=[sink, figure], control=recon) as live:
        outcome = steer(
            live,
            make_run(tmp_path, scan),
            scan,
            {
                16: lambda: send(figure, {"knob": "modes", "value": "2"}),
                32: lambda: send(figure, {"knob": "reset", "value": "true"}),
            },
        )
    descriptor = next(d["uid"] for name, d in documents if name == "descriptor" and d["name"] == "settings")
    events = [d["data"] for name, d in documents if name == "event" and d["descriptor"] == descriptor]
    assert [json.loads(event["changed"]) for event in events] == [{"solver.modes": 2}, {"reset": True}]
    assert [event["frames_used"] for event in events] == [16, 32]
    assert len(outcome.snapshot.probe) == 2
    assert state(figure)["state"] == "done" and shown(figure)["reset"]["value"] == "false"


def test_the_page_pauses_and_resumes(tmp_path, figure, recon):
    scan = small_scan()
    documents = list(documents_in_order(make_run(tmp_path, scan), scan))
    with LivePtycho(QUICK, control=recon) as live:
        assert send(figure, {"knob": "paused", "value": "true"})[0] == 200
        play(live, documents[:-1])
        until(live, lambda progress: progress.used == 64)
        assert (live.progress().iteration, live.progress().phase) == (0, "paused")
        assert send(figure, {"knob": "paused", "value": "false"})[0] == 200
        until(live, lambda progress: progress.iteration > 0)
        live(*documents[-1])
        live.wait(240)


def test_knobs_need_a_token_also_on_this_machine(recon):
    with closing(LivePtychoFigure("web", port=0, knobs=recon)) as figure:
        token = figure.url.partition("?token=")[2]
        assert len(token) >= 20 and token not in repr(figure)
        assert send(figure, ASKED, Cookie=None)[0] == 401
        assert send(figure, ASKED, Cookie=f"ptycho_{port_of(figure)}={token}")[0] == 200


def test_without_knobs_the_page_has_none():
    with closing(LivePtychoFigure("web", port=0, token=TOKEN)) as figure:
        assert "knobs" not in state(figure)
        assert send(figure, ASKED)[0] == 405


def test_only_the_page_has_knobs(recon, tmp_path):
    with pytest.raises(SettingsError, match="knobs are given with backend 'png'; expected 'web'"):
        LivePtychoFigure("png", directory=tmp_path, knobs=recon)
