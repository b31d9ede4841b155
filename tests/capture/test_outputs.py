"""Messages and streams become outputs as nbformat keeps them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from datetime import date
from typing import Any

import nbformat
import numpy as np
import pytest
from jupyter_client.jsonutil import json_default

from reprokit.capture import outputs
from reprokit.capture.outputs import OWN, KernelTap, OutputArea, StreamTap
from reprokit.digest import canonical_json


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def test_neighbours_on_one_stream_are_joined() -> None:
    area = OutputArea()
    for name, text in (("stdout", "a"), ("stdout", "b\n"), ("stderr", "c"), ("stdout", "d\r"), ("stdout", "e")):
        area.stream(name, text)
    assert area.outputs == [stream("stdout", "ab\n"), stream("stderr", "c"), stream("stdout", "d\re")]


def test_outputs_are_valid_for_nbformat() -> None:
    area = OutputArea()
    area.stream("stdout", "x")
    area.add("display_data", {"data": {"text/plain": "x"}, "metadata": {"a": 1}, "transient": {"display_id": "1"}})
    area.add("execute_result", {"data": {"text/plain": "1"}, "metadata": {}, "execution_count": 4})
    area.add("error", {"ename": "E", "evalue": "v", "traceback": ["t"]})
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.from_dict(output) for output in area.outputs])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    assert "transient" not in area.outputs[1]


def test_what_json_does_not_know_is_kept_as_jupyter_sends_it() -> None:
    data = {
        "image/png": b"\x89PNG\r\n",
        "application/json": {"n": np.int64(3), "x": np.float32(0.5), "when": date(2024, 5, 6), "all": {1}},
        "text/plain": "x",
    }
    area = OutputArea()
    area.add("display_data", {"data": data, "metadata": {"image/png": {"width": np.int64(7)}}})
    sent = json.loads(json.dumps(data, default=json_default))
    assert json.loads(canonical_json(area.outputs))[0]["data"] == sent
    assert area.outputs[0]["metadata"] == {"image/png": {"width": 7}}


def test_clearing() -> None:
    area = OutputArea()
    area.stream("stdout", "old")
    area.clear(wait=True)
    assert area.outputs == [stream("stdout", "old")]
    area.stream("stdout", "new")
    assert area.outputs == [stream("stdout", "new")]
    area.clear(wait=False)
    assert area.outputs == []


def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_LIMIT", 10)
    area = OutputArea()
    for _ in range(3):
        area.stream("stdout", "123456")
    assert area.outputs == [stream("stdout", "1234561234")]
    assert area.cut == 8


def test_very_many_small_prints_take_no_time() -> None:
    area = OutputArea()
    began = time.process_time()
    for _ in range(500_000):
        area.stream("stdout", "0123456789")
    assert len(area.outputs[0]["text"]) == 5_000_000
    assert time.process_time() - began < 10  # it took minutes when each piece was appended to one string


class Wire:
    """Where a kernel's session sends messages to."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, stream: Any, message: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.sent.append(message)
        return message


def message(kind: str, request: str, **content: Any) -> dict[str, Any]:
    return {"header": {"msg_type": kind}, "parent_header": {"msg_id": request}, "content": content}


def tap(wire: Wire) -> tuple[KernelTap, list[tuple[int, list[dict[str, Any]]]]]:
    told: list[tuple[int, list[dict[str, Any]]]] = []
    record: dict[int, list[dict[str, Any]]] = {}

    def finished(seq: int, area: OutputArea) -> None:
        record[seq] = json.loads(json.dumps(area.outputs))
        told.append((seq, record[seq]))

    listener = KernelTap(wire, finished, lambda seq: record.get(seq, []))
    listener.start()
    return listener, told


def test_a_cell_is_told_when_the_kernel_is_idle_and_again_when_more_comes() -> None:
    wire = Wire()
    listener, told = tap(wire)
    listener.begin(3, "request")
    wire.send(None, message("stream", "request", name="stdout", text="a"))
    wire.send(None, message("stream", "other", name="stdout", text="not ours"))
    assert told == []
    wire.send(None, message("status", "request", execution_state="idle"))
    assert told == [(3, [stream("stdout", "a")])]
    wire.send(None, message("stream", "request", name="stdout", text="late"))
    assert told[1:] == [(3, [stream("stdout", "alate")])]
    listener.stop()
    wire.send(None, message("stream", "request", name="stdout", text="after the end"))
    assert len(told) == 2
    assert len(wire.sent) == 5  # all of it reached the user
    assert "send" not in vars(wire)


def test_an_update_reaches_the_display_of_an_earlier_cell() -> None:
    wire = Wire()
    listener, told = tap(wire)
    for seq in (1, 2):
        listener.begin(seq, str(seq))
    show = {"metadata": {}, "transient": {"display_id": "d"}}
    wire.send(None, message("display_data", "1", data={"text/plain": "old"}, **show))
    wire.send(None, message("status", "1", execution_state="idle"))
    wire.send(None, message("update_display_data", "2", data={"text/plain": "new"}, **show))
    assert told[-1][0] == 1
    assert told[-1][1][0]["data"] == {"text/plain": "new"}


def test_what_is_reprokits_own_is_no_output() -> None:
    wire = Wire()
    listener, told = tap(wire)
    listener.begin(1, "r")
    wire.send(None, message("display_data", "r", data={"text/plain": "ours"}, metadata={OWN: {"own": True}}))
    wire.send(None, message("status", "r", execution_state="idle"))
    assert told == []
    assert listener.is_silent("r")
    assert len(wire.sent) == 2


def test_outputs_of_long_ago_are_not_held_in_memory_and_still_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_HELD", 3)
    wire = Wire()
    listener, told = tap(wire)
    show = {"metadata": {}, "transient": {"display_id": "d"}}
    for seq in range(1, 10):
        listener.begin(seq, str(seq))
        wire.send(None, message("stream", str(seq), name="stdout", text=f"{seq} "))
        if seq < 3:
            wire.send(None, message("display_data", str(seq), data={"text/plain": "old"}, **show))
        wire.send(None, message("status", str(seq), execution_state="idle"))
    assert len(listener._in_memory) == 3
    told.clear()
    wire.send(None, message("stream", "1", name="stdout", text="late"))
    wire.send(None, message("update_display_data", "9", data={"text/plain": "new"}, **show))
    wire.send(None, message("clear_output", "4", wait=False))
    assert len(listener._in_memory) <= 4
    shown = {"output_type": "display_data", "data": {"text/plain": "new"}, "metadata": {}}
    assert dict(told) == {
        1: [stream("stdout", "1 "), shown, stream("stdout", "late")],
        2: [stream("stdout", "2 "), shown],
        4: [],
    }


def test_a_cell_that_shows_too_much_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_LIMIT", 10)
    area = OutputArea()
    area.stream("stdout", "123456")
    assert area.add("display_data", {"data": {"text/plain": "123"}}) is not None
    assert area.add("display_data", {"data": {"text/plain": "123"}}) is None
    area.stream("stderr", "more")
    assert [entry["output_type"] for entry in area.outputs] == ["stream", "display_data"]
    assert area.cut == 2 + 4


def test_a_failure_of_ours_does_not_stop_a_message() -> None:
    wire = Wire()
    listener = KernelTap(wire, lambda seq, area: 1 // 0, lambda seq: [])  # type: ignore[arg-type, return-value]
    listener.start()
    listener.begin(1, "r")
    wire.send(None, {"nothing": "of the form"})
    wire.send(None, message("status", "r", execution_state="idle"))
    assert len(wire.sent) == 2


def test_streams_stay_the_same_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    listener = StreamTap()
    listener.start()
    print("one", 2)
    sys.stdout.writelines(["three", "\n"])
    sys.stderr.write("oops")
    listener.quietly(print)("not recorded")
    assert sys.stdout is out
    area = listener.stop()
    print("after")
    assert area.outputs == [stream("stdout", "one 2\nthree\n"), stream("stderr", "oops")]
    assert "write" not in vars(out)
    out.flush()
    assert out.buffer.getvalue().decode() == "one 2\nthree\nnot recorded\nafter\n"  # type: ignore[attr-defined]


def test_streams_of_another_tool_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        __slots__ = ("text",)

        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

    fixed = Fixed()
    monkeypatch.setattr(sys, "stdout", fixed)
    listener = StreamTap()
    listener.start()
    print("x")
    listener.stop()
    assert fixed.text == "x\n"


def test_replaced_streams_are_not_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    listener = StreamTap()
    listener.start()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    print("elsewhere")
    listener.stop()
    assert out.getvalue() == ""


def test_threads_may_print_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    listener = StreamTap()
    listener.start()
    threads = [threading.Thread(target=lambda: [sys.stdout.write("x") for _ in range(1000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (output,) = listener.stop().outputs
    assert output["text"] == "x" * 8000


def test_a_script_with_much_output_is_not_slowed_down() -> None:
    code = "import sys\nfrom reprokit.capture.outputs import StreamTap\ntap = StreamTap()\ntap.start()\n"
    code += "for n in range(400_000): print(n)\nassert len(tap.stop().outputs[0]['text']) > 2_000_000"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)
