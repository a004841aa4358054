"""Strings, GUIDs and bytes on the way back: lengths, code pages, and text that is none."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from .values_support import REFUSED, agrees, inbound, never, refused, stored


def broken(*values: bytes | None) -> pa.Array:
    """Strings that hold whatever bytes they hold."""
    return pa.array(values, pa.binary()).view(pa.string())


@pytest.mark.parametrize("sql_type", ["nvarchar(4)", "nchar(4)"])
@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("", 0),
        ("abcd", 4),
        ("日本語字", 4),
        ("😀😀", 4),
        ("a\0b", 3),
        ("é ", 2),
        ("abcde", 5),
        ("😀😀a", 5),
        ("日本語字x", 5),
    ],
)
def test_national_text_is_counted_in_utf_16(sql_type: str, text: str, units: int) -> None:
    """A character beyond U+FFFF counts twice; blanks and NUL characters count and are kept."""
    if units <= 4:
        assert stored(sql_type, pa.array([text, None])).to_pylist() == [text, None]
    else:
        message = refused(sql_type, pa.array(["ok", text])).message
        assert message == (
            f"Row 2, column 'v': {text!r} can't go into {sql_type}: "
            f"it has {units} characters (UTF-16 code units), and 4 fit."
        )


@pytest.mark.parametrize("sql_type", ["nvarchar(max)", "varchar(max)", "ntext", "text", "xml", "json"])
def test_long_text_is_taken_whole(sql_type: str) -> None:
    """The (max) types and their like have no length to check."""
    assert stored(sql_type, pa.array(["x" * 100_000, "", None])).to_pylist() == ["x" * 100_000, "", None]


@pytest.mark.parametrize(
    ("code_page", "good", "size", "bad", "lacking"),
    [
        (1252, "é€Ž", 3, "aŁ", "'Ł' (U+0141)"),
        (1250, "łź", 2, "ñ", "'ñ' (U+00F1)"),
        (1251, "Привет", 6, "é", "'é' (U+00E9)"),
        (1253, "αβ", 2, "Ж", "'Ж' (U+0416)"),
        (1254, "ğş", 2, "ł", "'ł' (U+0142)"),
        (874, "กข", 2, "é", "'é' (U+00E9)"),
        (437, "é½", 2, "€", "'€' (U+20AC)"),
        (850, "éð", 2, "€", "'€' (U+20AC)"),
        (932, "日本ｱ", 5, "é", "'é' (U+00E9)"),
        (936, "中文", 4, "😀", "'😀' (U+1F600)"),
        (949, "한국", 4, "😀", "'😀' (U+1F600)"),
        (950, "中文", 4, "한", "'한' (U+D55C)"),
        (1252, "ABC", 3, "Ａ", "'Ａ' (U+FF21)"),  # Windows' best fit would store A
        (1252, "-", 1, "‐", "'‐' (U+2010)"),
    ],
)
def test_coded_text_is_counted_in_its_code_page_and_never_replaced(
    code_page: int, good: str, size: int, bad: str, lacking: str
) -> None:
    """Bytes count; a character that the code page lacks is named instead of becoming '?' or a look-alike."""
    values = [good, None, ""]
    assert stored(f"varchar({size})", pa.array(values), code_page=code_page).to_pylist() == values
    assert stored(f"char({size})", pa.array(values), code_page=code_page).to_pylist() == values
    if size > 1:
        message = refused(f"varchar({size - 1})", pa.array(["a", good]), code_page=code_page).message
        assert f"it has {size} bytes in code page {code_page}, and {size - 1} fit" in message
    error = refused("varchar(8000)", pa.array([good, bad]), code_page=code_page)
    assert error.message.startswith("Row 2, ")
    assert error.message.endswith(f"code page {code_page} has no {lacking}: it would become '?'.")
    assert error.hint is not None
    assert "nvarchar" in error.hint


def test_utf_8_columns_hold_every_character() -> None:
    """Code page 65001 counts bytes of UTF-8."""
    assert stored("varchar(10)", pa.array(["é日😀x"]), code_page=65001).to_pylist() == ["é日😀x"]
    assert (
        "it has 10 bytes in code page 65001, and 9 fit"
        in refused("varchar(9)", pa.array(["é日😀x"]), code_page=65001).message
    )


def test_a_code_page_that_is_not_known_is_told() -> None:
    """None is taken for Windows-1252, with a warning; a number that Python has no codec for is refused."""
    assert inbound("varchar(9)", pa.string(), code_page=None).warnings == (
        "the code page of v is not known: 1252 was taken",
    )
    assert inbound("nvarchar(9)", pa.string(), code_page=None).warnings == ()
    assert refused("varchar(9)", pa.array(["Ł"]), code_page=None)
    assert "does not know its code page, 12345" in never("varchar(9)", pa.string(), code_page=12345).message


@pytest.mark.parametrize(
    "sql_type", ["nvarchar(50)", "varchar(50)", "nvarchar(max)", "xml", "uniqueidentifier", "time(7)"]
)
@pytest.mark.parametrize("raw", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_what_is_not_utf_8_is_refused(sql_type: str, raw: bytes) -> None:
    """Lone surrogates, overlong forms and cut characters are no text; the value is shown as bytes."""
    views = pa.array([None, raw], pa.binary_view()).view(pa.string_view())
    for array in (broken(None, raw), broken(None, raw).cast(pa.large_string()), views):
        message = refused(sql_type, array).message
        assert f"Row 2, column 'v': 0x{raw.hex().upper()} can't go into {sql_type}: it is not valid UTF-8" in message


PLAIN = "6F9619FF-8B86-D011-B42D-00C04FC964FF"


@pytest.mark.parametrize("text", [PLAIN, PLAIN.lower(), f"{{{PLAIN}}}", f"{{{PLAIN.lower()}}}"])
def test_guids_are_written_as_the_server_writes_them(text: str) -> None:
    """With or without braces, in any case: 8-4-4-4-12 digits in upper case."""
    assert stored("uniqueidentifier", pa.array([None, text])).to_pylist() == [None, PLAIN]


@pytest.mark.parametrize(
    "text",
    ["", PLAIN[:-1], PLAIN + "0", f"{{{PLAIN}", f"{PLAIN}}}", f"({PLAIN})", PLAIN.replace("-", ""), f" {PLAIN}",
     f"{PLAIN}\n", PLAIN.replace("6", "G"), PLAIN.replace("6", "６"), f"{{{{{PLAIN}}}}}", f"urn:uuid:{PLAIN}"],
)  # fmt: skip
def test_what_is_no_guid_is_refused(text: str) -> None:
    """SQL Server would take the first 36 characters of some of these."""
    assert "it is not a GUID" in refused("uniqueidentifier", pa.array([text])).message


@pytest.mark.parametrize("source", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4)], ids=str)
def test_bytes_are_taken_whole(source: pa.DataType) -> None:
    """Of any Arrow type; longer ones are refused, and shorter ones where the server would add zeros."""
    array = pa.array([b"\0\1\2\xff", None], source)
    for sql_type in ("binary(4)", "varbinary(4)", "varbinary(10)", "varbinary(max)", "image"):
        assert stored(sql_type, array).to_pylist() == [b"\0\1\2\xff", None]
    assert "0x000102FF can't go into varbinary(3): it has 4 bytes, and 3 fit" in refused("varbinary(3)", array).message
    assert "it has 4 bytes, and 3 fit" in refused("binary(3)", array).message
    assert "the server would add zeros to make it 5" in refused("binary(5)", array).message
    assert "1 fit" in refused("binary", array).message


@pytest.mark.parametrize("source", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_strings_of_any_arrow_type_are_read(source: pa.DataType) -> None:
    """Also as dictionaries, with NULL in the dictionary too."""
    array = pa.array(["a", None, "bé"], source)
    assert stored("nvarchar(2)", array).to_pylist() == ["a", None, "bé"]
    assert "'bé' can't go into varchar(1)" in refused("varchar(1)", array).message
    if source != pa.string_view():
        encoded = pa.DictionaryArray.from_arrays(pa.array([2, 1, None, 0, 2], pa.int8()), array)
        assert stored("nvarchar(2)", encoded).to_pylist() == ["bé", None, None, "a", "bé"]
        assert "Row 1, column 'v': 'bé'" in refused("varchar(1)", encoded).message


@pytest.mark.parametrize(
    ("source", "sql_type"),
    [
        (pa.binary(), "uniqueidentifier"),
        (pa.binary(16), "uniqueidentifier"),
        (pa.binary(), "nvarchar(10)"),
        (pa.binary(), "xml"),
        (pa.string(), "varbinary(10)"),
        (pa.string(), "bit"),
        (pa.string(), "sql_variant"),
        (pa.string(), "geography"),
        (pa.binary(), "rowversion"),
        (pa.binary(), "timestamp"),
        (pa.bool_(), "nvarchar(5)"),
    ],
    ids=str,
)
def test_text_and_bytes_are_kept_apart(source: pa.DataType, sql_type: str) -> None:
    """The bytes of a GUID have two orders, those of a text many; what has no loading is refused by its name."""
    assert f"can't go into {sql_type}, since " in never(sql_type, source).message


# -- at random ---------------------------------------------------------------------------------------------------------

ALPHABET = st.sampled_from("aZ \0\x81é€łŽЖяαğกשم日中한ｱ½ﾞ～￥\\😀Ａ‐")
TEXTS = st.lists(st.none() | st.text(max_size=12), max_size=6)


@given(TEXTS, st.integers(1, 8))
@example(["😀" * 4, "a" * 8, "日" * 9], 8)
def test_any_text_fits_a_national_column_or_is_refused(values: list[str | None], length: int) -> None:
    """By Python's UTF-16."""
    expected: list[Any] = [
        value if value is None or len(value.encode("utf-16-le")) <= 2 * length else REFUSED for value in values
    ]
    agrees(f"nvarchar({length})", pa.array(values, pa.string()), expected)


@given(
    st.sampled_from([1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258, 437, 850, 874, 932, 936, 949, 950, 65001]),
    st.integers(1, 8),
    st.data(),
)
def test_any_text_fits_a_code_page_or_is_refused(code_page: int, length: int, data: st.DataObject) -> None:
    """By Python's codecs, a text at a time."""
    codec = "utf-8" if code_page == 65001 else f"cp{code_page}"
    texts = st.text(max_size=6) | st.text(ALPHABET, max_size=10)
    values = data.draw(st.lists(st.none() | texts, max_size=6))

    def expected(value: str | None) -> Any:
        if value is None:
            return None
        try:
            return value if len(value.encode(codec)) <= length else REFUSED
        except UnicodeEncodeError:
            return REFUSED

    agrees(f"varchar({length})", pa.array(values, pa.string()), list(map(expected, values)), code_page=code_page)


@given(st.lists(st.none() | st.binary(max_size=6), max_size=6), st.integers(1, 5), st.sampled_from(["", "var"]))
def test_any_bytes_fit_or_are_refused(values: list[bytes | None], length: int, kind: str) -> None:
    """binary(n) takes n bytes, varbinary(n) up to n."""

    def expected(value: bytes | None) -> Any:
        fits = value is None or (len(value) <= length if kind else len(value) == length)
        return value if fits else REFUSED

    agrees(f"{kind}binary({length})", pa.array(values, pa.binary()), list(map(expected, values)))


@given(st.lists(st.none() | st.binary(max_size=6), max_size=4))
def test_any_bytes_are_text_or_are_refused(values: list[bytes | None]) -> None:
    """Arrow's check of UTF-8 against Python's."""

    def expected(value: bytes | None) -> Any:
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError:
            return REFUSED

    agrees("nvarchar(max)", broken(*values), list(map(expected, values)))
