"""An error in a line or a few, whoever raised it."""

from __future__ import annotations

from tunekit.wording import error_line, first_line, last_lines

_TVM = RuntimeError("\n Traceback:\n  0: somewhere\n  1: elsewhere\n\n  no such layout  \n")


def test_an_exception_is_told_by_its_first_line_with_text() -> None:
    error = ValueError("\n  no such layout \nmore about it")
    assert first_line(error) == "no such layout"
    assert error_line(error) == "ValueError: no such layout"


def test_an_exception_without_words_is_named() -> None:
    assert first_line(NotImplementedError()) == "NotImplementedError"
    assert error_line(NotImplementedError("  ")) == "NotImplementedError"
    assert last_lines(NotImplementedError()) == "NotImplementedError"


def test_what_is_wrong_stands_at_the_end_of_tvms_errors() -> None:
    assert last_lines(_TVM) == "no such layout"
    assert last_lines(_TVM, 2) == "1: elsewhere\n  no such layout"


def test_a_text_that_says_nothing_has_no_last_line() -> None:
    assert last_lines(" \n") == ""


def test_where_a_runtime_was_in_its_own_source_is_not_what_is_wrong() -> None:
    said = (
        "Exception from src/inference/src/cpp/core.cpp:132:\n"
        "Exception from src/inference/src/dev/plugin.cpp:58:\n"
        "Check 'is_static' failed at src/plugins/graph.cpp:77:\n"
        "FrontEnd API failed:\n"
        "the shape depends on data\n"
        "and more\n"
    )
    assert first_line(RuntimeError(said)) == (
        "Check 'is_static' failed at src/plugins/graph.cpp:77: "
        "FrontEnd API failed: the shape depends on data"
    )
    assert first_line(RuntimeError("core.cpp:132:")) == "core.cpp:132:"


def test_a_line_that_prints_a_whole_tensor_is_cut() -> None:
    error = RuntimeError("cannot trace " + "0.1234, " * 100_000)
    assert len(first_line(error)) == 300
    assert len(error_line(error)) < 200
