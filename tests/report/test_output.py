"""Where a result goes, and in which form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.report.output import Format, Result, format_of, write

_RESULT = Result(
    table=lambda width: f"a table of {width}",
    json=lambda: "json\n",
    csv=lambda: "csv\n",
    md=lambda: "md\n",
)


@pytest.mark.parametrize("form", [Format.json, Format.csv, Format.md])
def test_what_was_asked_for_is_all_there_is_on_standard_output(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    write(_RESULT, form)
    assert capsys.readouterr().out == f"{form.value}\n"


def test_off_a_terminal_nothing_limits_a_tables_width(capsys: pytest.CaptureFixture[str]) -> None:
    write(_RESULT)
    assert capsys.readouterr().out == "a table of 1000\n"
    write(_RESULT, width=80)
    assert capsys.readouterr().out == "a table of 80\n"


@pytest.mark.parametrize(
    ("name", "form", "written"),
    [
        ("report.md", None, "md\n"),
        ("report.CSV", None, "csv\n"),
        ("report.txt", None, "a table of 1000\n"),
        ("report", None, "json\n"),
        ("report.md", Format.json, "json\n"),
    ],
)
def test_a_file_gets_the_form_that_its_name_asks_for_and_the_reader_a_table(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    form: Format | None,
    written: str,
) -> None:
    write(_RESULT, form, file=tmp_path / name)
    assert (tmp_path / name).read_text() == written
    assert capsys.readouterr().out == "a table of 1000\n"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_json_loses_nothing_so_it_is_written_where_a_name_does_not_say() -> None:
    assert format_of(Path("report.out")) is Format.json
