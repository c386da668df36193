"""A table: as wide as its terminal at most, and the same columns in Markdown and CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tunekit.report.table import Column, as_csv, elided, facts, fields, markdown, number, terminal

Row = dict[str, Any]
_ROWS: list[Row] = [
    {"name": "3x3 512 to 512, 7x7 add relu (winograd 2x2)", "ms": 1.5, "note": "a | b"},
    {"name": "fused_contrib_conv2d_NCHWc_add_relu_with_a_long_name_59", "ms": None, "note": "c"},
]
_COLUMNS: list[Column[Row]] = [
    Column("kernel", lambda row: row["name"], elide=True),
    number("ms", lambda row: row["ms"]),
    Column("seldom read", lambda row: "x" * 30, priority=2),
    Column("note", lambda row: row["note"], priority=1),
]


def _lines(width: int) -> list[str]:
    return terminal(_COLUMNS, _ROWS, width).plain.splitlines()


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_a_table_fits_its_terminal(width: int) -> None:
    assert max(map(len, _lines(width))) <= width


def test_what_is_read_least_gives_way_first_and_names_last() -> None:
    assert _lines(120)[0].split() == ["kernel", "ms", "seldom", "read", "note"]
    assert _lines(60)[0].split() == ["kernel", "ms", "note"]
    assert _lines(38)[0].split() == ["kernel", "ms"]
    assert _lines(120)[2].startswith(_ROWS[1]["name"])
    assert _lines(30)[1].startswith("3x3")


def test_numbers_stand_at_the_right_and_what_a_row_does_not_have_is_empty() -> None:
    heading, first, second = _lines(120)
    end = heading.index("ms") + len("ms")
    assert first[:end].endswith(" 1.5")
    assert second[:end].endswith("    ")


def test_a_kernels_name_keeps_what_tells_it_from_others() -> None:
    by_people, by_tvm = (row["name"] for row in _ROWS)
    assert elided(by_people, 36) == "3x3 512 to 512, 7x7\u2026 (winograd 2x2)"
    assert elided(by_tvm, 30) == "fused_contrib_conv2\u2026ng_name_59"
    assert elided(by_tvm, 100) == by_tvm
    for limit in range(1, 60):
        assert len(elided(by_people, limit)) <= limit


def test_a_remark_stands_below_its_row_or_in_place_of_empty_cells() -> None:
    rows: list[Row] = [{"name": "right", "ms": 1.0}, {"name": "broken", "ms": None}]
    text = terminal(_COLUMNS[:2], rows, 40, remark=lambda row: f"{row['name']} again")
    assert text.plain.splitlines()[1:] == [
        "right   1.0",
        "        right again",
        "broken  broken again",
    ]


def test_markdown_has_every_column_and_what_would_be_markup_is_escaped() -> None:
    columns = [*_COLUMNS[:2], _COLUMNS[3]]
    lines = markdown(columns, _ROWS, lambda row: "bold" if row["ms"] else "").splitlines()
    assert lines[:2] == ["| kernel | ms | note |", "| --- | ---: | --- |"]
    assert lines[2] == "| **3x3 512 to 512, 7x7 add relu (winograd 2x2)** | 1.5 | a \\| b |"
    assert lines[3].startswith("| fused\\_contrib\\_conv2d")


def test_csv_has_values_and_not_what_people_read_of_them() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    row: Row = {"id": 3, "samples_s": [0.5, 1.0], "at": moment, "missing": None, "text": 'a,"b'}
    text = as_csv(fields(list(row)), [row])
    assert text.splitlines() == [
        "id,samples_s,at,missing,text",
        '3,"[0.5, 1.0]",2026-01-02T00:00:00+00:00,,"a,""b"',
    ]


def test_facts_leave_out_what_is_not_known() -> None:
    assert facts({"model": "resnet50", "library": "", "id": "3"}).plain == (
        "model    resnet50\nid       3"
    )
