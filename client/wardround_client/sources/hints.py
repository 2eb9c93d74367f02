"""What a CSV file is that does not fit its declaration: which setting of [data.source] to change.

Looks at how a file is written, never at what it tells of a patient.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Sequence

DELIMITERS = (",", ";", "\t", "|")
#: Bytes of a file's beginning that are looked at.
HEAD_BYTES = 1 << 16
_MARK = b"\xef\xbb\xbf"
_WRONG_KINDS = (
    (b"PK\x03\x04", "it is an Excel workbook or another archive: export it as CSV"),
    (b"\xd0\xcf\x11\xe0", "it is an Excel workbook: export it as CSV"),
    (b"\x1f\x8b", "it is packed by gzip: unpack it"),
    (b"PAR1", 'it is a Parquet file: write type = "parquet"'),
)
_TO_UTF_8 = 'which encoding cannot name: export it as UTF-8, for encoding = "utf-8"'
#: Bytes that cp1252 gives no letter.
_NO_LETTER = frozenset(b"\x81\x8d\x8f\x90\x9d")
#: What Python makes of a byte that is not UTF-8, and of letters that are.
_ESCAPED = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]+")


def hint_of_start(head: bytes, encoding: str) -> str | None:
    """Tell by a file's first bytes what it is instead of text in the declared encoding."""
    for start, hint in _WRONG_KINDS:
        if head.startswith(start):
            return hint
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return f"it is UTF-32 text, {_TO_UTF_8}"
    # Without a mark, a letter of ASCII still has a zero byte beside it.
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in head[:4]:
        return f"it is UTF-16 text, {_TO_UTF_8}"
    if head.startswith(_MARK) and encoding != "utf-8":
        return 'it begins with the mark of UTF-8: write encoding = "utf-8"'
    text = head.removeprefix(_MARK)
    if found := re.match(rb'"?sep=([^\r\n"]?)"?[\r\n]', text, re.IGNORECASE):
        delimiter = found[1].decode("ascii", "replace").replace("\t", "\\t")
        return f'its first line is "sep=": delete that line, and write delimiter = "{delimiter}"'
    return None


def hint_of_encoding(chunks: Iterable[bytes], encoding: str) -> str | None:
    """Tell which encoding a file has that is not the declared one.

    Args:
        chunks: the file's bytes.
        encoding: as declared.
    Returns:
        None where it may be the declared one, or the file is damaged, or its encoding is none that
        can be declared.
    """
    right = wrong = 0
    beyond_latin, letters = False, True
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in itertools.chain(chunks, [b""]):
        text = decoder.decode(chunk, final=not chunk)
        bad = _ESCAPED.findall(text)
        wrong += len(bad)
        right += sum(map(len, _BEYOND_ASCII.findall(text)))
        codes = {ord(one) - 0xDC00 for one in bad}
        beyond_latin |= any(code < 0xA0 for code in codes)
        letters &= not codes & _NO_LETTER
    if wrong == 0 and right and encoding != "utf-8":
        return 'it is UTF-8 text: write encoding = "utf-8"'
    if encoding == "latin-1" and beyond_latin and letters:
        return 'it has letters that latin-1 has not: write encoding = "cp1252"'
    # A few wrong bytes among many right ones are damage, and not another encoding.
    if wrong <= right or encoding != "utf-8":
        return None
    if not beyond_latin:
        return 'it is not UTF-8 text: write encoding = "latin-1" or encoding = "cp1252"'
    return 'it is not UTF-8 text: write encoding = "cp1252"' if letters else None


def hint_of_header(
    head: bytes, encoding: str, delimiter: str, columns: Sequence[str]
) -> str | None:
    """Tell which delimiter or encoding would find more of the declared columns in a header."""

    def found(encoding: str, delimiter: str) -> int:
        names = header_of(head, encoding, delimiter)
        return sum(name in names for name in map(str.casefold, columns))

    best = max(DELIMITERS, key=lambda one: (found(encoding, one), one == delimiter))
    if found(encoding, best) > found(encoding, delimiter):
        written = best.replace("\t", "\\t")
        return f'its header is divided otherwise: write delimiter = "{written}"'
    if encoding != "utf-8" and found("utf-8", delimiter) > found(encoding, delimiter):
        return 'its header is UTF-8 text: write encoding = "utf-8"'
    return None


def header_of(head: bytes, encoding: str, delimiter: str) -> set[str]:
    """Read the names of a file's first line, without their capitals; none that is damaged."""
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    lines = text.lstrip("\r\n").splitlines()[:1]
    try:
        (names,) = csv.reader(lines, delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return set()
    return {name.strip().casefold() for name in names}
