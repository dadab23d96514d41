"""What bytes are taken as an answer: compression, encodings of characters, limits, and tricks."""

from __future__ import annotations

import codecs
import gzip
import sys
import tracemalloc
import zlib
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.wire import ADD_CUSTOMER_LOG, VerdictKind
from neto_async.wire.bodies import MAX_DEPTH, MAX_REPLY_BYTES

NOW = datetime(2026, 11, 2, 7, 30, tzinfo=timezone.utc)
JSON = '{"CustomerLog": {"LogID": "5001"}, "Ack": "Warning", "Messages": {"Warning": "Grüße € 😀"}}'
XML = (
    "<AddCustomerLogResponse><CustomerLog><LogID>5001</LogID></CustomerLog><Ack>Warning</Ack>"
    "<Messages><Warning>Grüße € 😀</Warning></Messages></AddCustomerLogResponse>"
)
WARNING = ("Grüße € 😀",)
BODIES = pytest.mark.parametrize("text", [JSON, XML], ids=["json", "xml"])


def read(body, **headers):
    """Judge the body of a 200 to a call of one record; underscores in header names are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ADD_CUSTOMER_LOG.judge(200, named, body if isinstance(body, bytes) else body.encode(), 1, now=NOW)


def raw_deflate(body):
    """Compress without the zlib wrapper, as some senders do."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def zeros(total, encoding="gzip"):
    """Compress a JSON object that begins well and goes on with blanks for `total` bytes."""
    compressor = zlib.compressobj(9, wbits=zlib.MAX_WBITS + (16 if encoding == "gzip" else 0))
    block = b" " * 2**20
    parts = [compressor.compress(JSON.encode()), *(compressor.compress(block) for _ in range(total // len(block)))]
    return b"".join([*parts, compressor.flush()])


COMPRESSED = pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)],
    ids=["gzip", "x-gzip", "deflate", "raw-deflate"],
)


@BODIES
@COMPRESSED
def test_compression_that_was_not_asked_for_is_read(text, encoding, compress):
    """A gateway that compresses all the same loses no outcome."""
    verdict = read(compress(text.encode()), Content_Encoding=encoding)
    assert (VerdictKind.ADDED, WARNING) == (verdict.kind, verdict.warnings)


@COMPRESSED
def test_a_compressed_answer_cut_short_is_unknown(encoding, compress):
    """Cut at any byte, a compressed answer is none, the end with the checksum included."""
    body = compress(JSON.encode())
    for end in range(len(body)):
        assert read(body[:end], Content_Encoding=encoding).kind is VerdictKind.UNKNOWN, end


@COMPRESSED
@pytest.mark.parametrize("tail", [b"\0", b"x" * 100], ids=["byte", "text"])
def test_something_after_a_compressed_answer_makes_it_unknown(encoding, compress, tail):
    """Bytes after the end of the stream are no part of an answer."""
    assert read(compress(JSON.encode()) + tail, Content_Encoding=encoding).kind is VerdictKind.UNKNOWN


def test_concatenated_members_are_unknown():
    """A second gzip member is not read, and not passed over."""
    body = gzip.compress(JSON[:30].encode()) + gzip.compress(JSON[30:].encode())
    assert read(body, Content_Encoding="gzip").kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, identity", "compress", "?"])
def test_other_compressions_are_unknown(encoding):
    """Compression that was not asked for and is not known is not guessed at."""
    verdict = read(gzip.compress(JSON.encode()), Content_Encoding=encoding)
    assert VerdictKind.UNKNOWN is verdict.kind
    assert "compressed" in verdict.reason


@pytest.mark.parametrize("encoding", ["identity", "IDENTITY", "", " "])
def test_no_compression_by_any_name(encoding):
    """``identity`` in any case, or nothing, means the bytes as they are."""
    assert read(JSON, Content_Encoding=encoding).kind is VerdictKind.ADDED


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_plain_text_called_compressed_is_unknown(encoding):
    """What is not the stream that it says it is can't be read."""
    assert read(JSON, Content_Encoding=encoding).kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_never_inflated_beyond_the_cap(encoding):
    """A body that inflates to 64 MiB costs a few times the cap in memory at most, and is unknown."""
    bomb = zeros(64 * 2**20, encoding)
    tracemalloc.start()
    try:
        verdict = read(bomb, Content_Encoding=encoding)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert VerdictKind.UNKNOWN is verdict.kind
    assert "longer than" in verdict.reason
    assert peak < 4 * MAX_REPLY_BYTES


def test_a_bomb_of_a_later_member_is_not_inflated():
    """A small member in front of a bomb does not get the bomb inflated."""
    body = gzip.compress(JSON.encode()) + zeros(64 * 2**20)
    tracemalloc.start()
    try:
        verdict = read(body, Content_Encoding="gzip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert VerdictKind.UNKNOWN is verdict.kind
    assert peak < MAX_REPLY_BYTES


def padded(text, length):
    """Fill a text up with blanks, to a length in bytes."""
    return text.encode() + b" " * (length - len(text.encode()))


@BODIES
def test_the_cap_holds_to_the_byte(text):
    """An answer of exactly the cap is read, and one byte more is not, compressed or not."""
    whole, longer = padded(text, MAX_REPLY_BYTES), padded(text, MAX_REPLY_BYTES + 1)
    assert read(whole).kind is VerdictKind.ADDED
    assert read(longer).kind is VerdictKind.UNKNOWN
    assert read(gzip.compress(whole), Content_Encoding="gzip").kind is VerdictKind.ADDED
    assert read(gzip.compress(longer), Content_Encoding="gzip").kind is VerdictKind.UNKNOWN


@BODIES
@pytest.mark.parametrize(
    ("bom", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
    ids=["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"],
)
@pytest.mark.parametrize("media_type", ["", "application/json; charset=iso-8859-1"], ids=["unsaid", "wrong"])
def test_a_byte_order_mark_beats_all(text, bom, encoding, media_type):
    """A byte order mark decides the encoding, even against the header."""
    verdict = read(bom + text.encode(encoding), Content_Type=media_type)
    assert (VerdictKind.ADDED, WARNING) == (verdict.kind, verdict.warnings)


@BODIES
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_without_a_mark_are_detected_by_their_zeros(text, encoding):
    """UTF-16 and UTF-32 are read without a mark, since the first character of a document is ASCII."""
    verdict = read(text.encode(encoding))
    assert (VerdictKind.ADDED, WARNING) == (verdict.kind, verdict.warnings)


@BODIES
@pytest.mark.parametrize("charset", ["charset=iso-8859-15", "charset = 'latin9'", 'Charset="ISO-8859-15"; x=y'])
def test_a_charset_in_the_header_is_honoured(text, charset):
    """A real charset in Content-Type decides the encoding."""
    body = text.replace(" 😀", "").encode("iso-8859-15")
    assert read(body, Content_Type=f"text/plain; {charset}").warnings == ("Grüße €",)


@BODIES
@pytest.mark.parametrize("charset", ["x-unknown", "none", "", "rot13", "hex", "unicode_escape", "idna", "undefined"])
def test_a_charset_that_is_none_is_passed_over(text, charset):
    """A charset that does not exist, or is one of Python's codecs that are none, leaves it at UTF-8."""
    assert read(text, Content_Type=f"application/json; charset={charset}").warnings == WARNING


@BODIES
@pytest.mark.parametrize("charset", ["utf-16", "us-ascii"])
def test_a_charset_that_does_not_fit_makes_it_unknown(text, charset):
    """What can't be decoded strictly is not read by halves."""
    assert read(text, Content_Type=f"application/json; charset={charset}").kind is VerdictKind.UNKNOWN


@BODIES
@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xbc"])
def test_broken_utf_8_is_unknown(text, broken):
    """A byte that is no UTF-8 makes the whole answer unreadable; nothing is replaced."""
    body = text.encode().replace("ü".encode(), broken)
    verdict = read(body)
    assert (VerdictKind.UNKNOWN, ()) == (verdict.kind, verdict.log_ids)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("iso-8859-15", "iso-8859-15"), ("utf-8", "utf-8"), ("UTF-16", "utf-8"), ("x-unknown", "utf-8")],
)
def test_an_xml_declaration_names_the_encoding(declared, encoding):
    """A declaration is honoured where the bytes can be so; a UTF-16 one on single bytes is known to be wrong."""
    text = f'<?xml version="1.0" encoding="{declared}"?>\n{XML.replace(" 😀", "")}'
    assert read(text.encode(encoding)).warnings == ("Grüße €",)


@BODIES
def test_white_space_around_a_document_is_passed_over(text):
    """Blank lines before and after a document, a habit of templates, change nothing."""
    assert read(f"\r\n \t{text}\n\n").kind is VerdictKind.ADDED


@pytest.mark.parametrize("body", ["", " \n", "\ufeff", "5001", '"5001"', "[]", "null", "OK", "true", "(", "\0"])
def test_what_is_no_document_is_unknown(body):
    """Nothing, or something that is neither an object nor an element, is no answer."""
    assert read(body).kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "9" * 41, "9" * 100_000, "01", "+1", ".5"])
def test_numbers_that_json_does_not_have_are_unknown(number):
    """A JSON number that others could not read, or that takes seconds to read, makes the answer unreadable."""
    assert read(f'{{"CustomerLog": {{"LogID": "5001"}}, "Seconds": {number}}}').kind is VerdictKind.UNKNOWN


def test_long_numbers_are_unknown_without_pythons_limit():
    """The limit on digits is our own, and holds where a program has lifted Python's."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        verdict = read(f'{{"CustomerLog": {{"LogID": {"9" * 10_000}}}}}')
    finally:
        sys.set_int_max_str_digits(limit)
    assert VerdictKind.UNKNOWN is verdict.kind


@pytest.mark.parametrize(
    "body",
    [
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 1_000_000,
        "<a>" * 1_000_000,
        "<AddCustomerLogResponse>" + "<a>" * 400_000 + "</a>" * 400_000 + "</AddCustomerLogResponse>",
    ],
    ids=["objects", "lists", "open-lists", "open-elements", "elements"],
)
def test_deep_nesting_is_unknown(body):
    """A document nested thousands of levels deep is refused before it costs the stack or much memory."""
    tracemalloc.start()
    try:
        verdict = read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert VerdictKind.UNKNOWN is verdict.kind
    assert peak < 8 * MAX_REPLY_BYTES


@pytest.mark.parametrize("deeper", [False, True])
def test_both_formats_nest_equally_deep(deeper):
    """The limit of levels holds in both formats, to the level."""
    levels = MAX_DEPTH - 1 + deeper
    as_json = '{"CustomerLog": {"LogID": "5001"}, "a": ' + '{"a": ' * (levels - 1) + '""' + "}" * levels
    as_xml = (
        "<AddCustomerLogResponse><CustomerLog><LogID>5001</LogID></CustomerLog>"
        + "<a>" * levels + "</a>" * levels + "</AddCustomerLogResponse>"
    )  # fmt: skip
    kind = VerdictKind.UNKNOWN if deeper else VerdictKind.ADDED
    assert (kind, kind) == (read(as_json).kind, read(as_xml).kind)


@pytest.mark.parametrize(
    "text",
    [
        "<!ENTITY x 'y'>",
        "<!DOCTYPE AddCustomerLogResponse>",
        "<!DOCTYPE AddCustomerLogResponse [<!ENTITY x 'y'>]>",
        "<!-- a comment --><?pi?><!DOCTYPE AddCustomerLogResponse [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]>",
        "<!DOCTYPE AddCustomerLogResponse PUBLIC 'a' 'http://127.0.0.1:9/a.dtd'>",
    ],
)
def test_a_document_type_is_unknown(text):
    """A reply declares nothing, so what could define entities, or load them, is refused as a whole."""
    assert read(text + XML).kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize("reference", ["&nbsp;", "&x;", "&#0;", "&#xD800;", "&"])
def test_references_that_xml_does_not_know_are_unknown(reference):
    """A reference that would have to be declared, or names no character, makes the document malformed."""
    assert read(XML.replace("€", reference)).kind is VerdictKind.UNKNOWN


def test_references_that_xml_knows_are_read():
    """The five names and numbers of characters are resolved."""
    assert read(XML.replace("€", "&amp;&lt;&#8364;&#x20AC;")).warnings == ("Grüße &<€€ 😀",)


def test_comments_and_sections_change_nothing():
    """Comments, CDATA and processing instructions are read as XML means them."""
    body = XML.replace("5001", "50<!-- x -->01").replace("€", "<![CDATA[<!DOCTYPE html> &x;]]>")
    verdict = read(f"<!-- <html> --><?pi?>{body}<!-- end -->")
    assert ((5001,), ("Grüße <!DOCTYPE html> &x; 😀",)) == (verdict.log_ids, verdict.warnings)


@pytest.mark.parametrize("escape", ["\\ud800", "\\u0000", "\\u001b", "\\ufffe", "\\u0008"])
def test_messages_hold_what_xml_could_carry(escape):
    """JSON's escapes can hold what no file or terminal takes: it is replaced, so both formats give the like."""
    verdict = read(JSON.replace("€", escape))
    assert (VerdictKind.ADDED, ("Grüße \ufffd 😀",)) == (verdict.kind, verdict.warnings)
    verdict.warnings[0].encode()


def test_pairs_of_surrogates_are_one_character():
    """An escaped pair is the character that it means."""
    assert read(JSON.replace("€", "\\ud83d\\ude00")).warnings == ("Grüße 😀 😀",)


@given(st.text(max_size=30), st.sampled_from([JSON, XML]))
def test_bytes_in_front_never_hide_a_whole_answer_as_another(noise, text):
    """A document with anything in front of it is read as it is or not at all."""
    verdict = read(noise + text)
    assert verdict.kind in {VerdictKind.ADDED, VerdictKind.UNKNOWN}
    assert verdict.log_ids in {(), (5001,)}
