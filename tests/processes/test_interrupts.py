"""Ctrl-C that comes while TVM calls back into Python is still Ctrl-C when it comes out."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tunekit.errors import Interrupted
from tunekit.processes.interrupts import interrupt, interruptible


@pytest.fixture
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, before)


def _called_by_tvm() -> None:
    import tvm_ffi

    def callback() -> None:
        signal.raise_signal(signal.SIGINT)

    tvm_ffi.convert(callback)()


@pytest.mark.usefixtures("handler")
def test_ctrl_c_inside_of_tvm_comes_out_as_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        _called_by_tvm()


@pytest.mark.usefixtures("handler")
def test_ctrl_c_that_was_made_another_error_on_the_way_comes_out_as_what_it_is() -> None:
    def fail() -> None:
        try:
            _called_by_tvm()
        except RuntimeError as error:
            raise ValueError("cannot be compiled") from error

    with pytest.raises(KeyboardInterrupt), interruptible():
        fail()


@pytest.mark.usefixtures("handler")
def test_an_interruption_that_says_how_to_go_on_keeps_its_words() -> None:
    def stop() -> None:
        try:
            interrupt()
        except KeyboardInterrupt:
            raise Interrupted("stopped", hint="go on") from None

    with pytest.raises(Interrupted, match="stopped"), interruptible():
        stop()


@pytest.mark.usefixtures("handler")
def test_an_error_after_an_interruption_that_was_dealt_with_is_an_error() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with pytest.raises(ZeroDivisionError), interruptible():
        raise ZeroDivisionError
