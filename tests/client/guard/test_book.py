"""What the guard remembers of rounds that the chain opened more than once."""

from __future__ import annotations

from wardround.protocol.identifiers import Root, StudyId, hex_of
from wardround_client.guard.book import Book, RoundKey

STUDY, OTHER = StudyId(b"\x01" * 32), StudyId(b"\x02" * 32)
BASE, ANOTHER = Root(b"\x03" * 32), Root(b"\x04" * 32)


def line(key: RoundKey, update: int) -> dict[str, object]:
    return {"kind": "signed", **key.fields(), "update": hex_of(bytes([update]) * 32)}


def test_round_when_it_opens_again_on_the_same_model_is_the_same() -> None:
    """A closing was overturned and its round is open again: no second contribution to it."""
    book = Book([line(RoundKey(STUDY, 4, BASE), 7)])
    known = book.signed(RoundKey(STUDY, 4, BASE))
    assert known is not None
    assert known["update"] == hex_of(b"\x07" * 32)


def test_round_when_it_opens_again_on_another_model_is_another() -> None:
    """The round before it was overturned and closed again: this one starts from another model."""
    book = Book([line(RoundKey(STUDY, 4, BASE), 7)])
    assert book.signed(RoundKey(STUDY, 4, ANOTHER)) is None
    book.take(line(RoundKey(STUDY, 4, ANOTHER), 8))
    for base, update in ((BASE, 7), (ANOTHER, 8)):
        known = book.signed(RoundKey(STUDY, 4, base))
        assert known is not None
        assert known["update"] == hex_of(bytes([update]) * 32)


def test_round_when_of_another_study_or_number_is_another() -> None:
    book = Book([line(RoundKey(STUDY, 4, BASE), 7)])
    assert book.signed(RoundKey(OTHER, 4, BASE)) is None
    assert book.signed(RoundKey(STUDY, 5, BASE)) is None
