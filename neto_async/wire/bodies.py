"""
The body of an answer to the document in it: compression, encoding of characters, JSON or XML.

Pure; imports nothing of the package.

Nothing is taken on trust: the first character decides the format, because gateways label pages as they like. What can't
be decoded strictly is refused, because half an answer must not pass for a whole one. The names in a document come back
in lower case and, from XML, without prefix, so that both formats are read by the same rules.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

import xmltodict

__all__ = ["MAX_REPLY_BYTES", "UnreadableError", "branches_in", "fold_headers", "read_document"]

MAX_REPLY_BYTES = 1024 * 1024
"""Bytes of an answer to a write, inflated, that are read at most. A real one has about 40 bytes a record."""

MAX_DEPTH = 32
"""Levels of nesting that are read at most. A real answer has five."""

_BOMS = (
    # The longest first: UTF-32's begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_CHARSETS = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
    | {"iso8859-1", "iso8859-15", "cp1252"}
)
"""Python's names of the encodings that an answer may name. Others of its codecs are no encodings of text, or slow."""

_BRANCHES = (dict, list)
"""What has children in a document."""

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([A-Za-z0-9._:-]{1,40})""", re.IGNORECASE)
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_WEB_PAGE = re.compile(r"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)


class UnreadableError(Exception):
    """An answer that can't be read as a whole. The text says why, and holds nothing of the answer."""


def fold_headers(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Return the headers with names in lower case, from any mapping that HTTP libraries hand out."""
    return {_header_text(name).lower(): _header_text(value).strip() for name, value in headers.items()}


def read_document(
    action: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int = MAX_REPLY_BYTES
) -> dict[str, Any]:
    """
    Read the document in an answer's body; `branches_in` checks how deeply it nests.

    Args:
        action: The vendor's name of the call.
        headers: Headers of the answer, as `fold_headers` returns them.
        body: The bytes as they came over the wire.
        max_bytes: The most that is read, inflated.

    Raises:
        UnreadableError: It is too long, cut short, damaged, or no document of the API.
    """
    media_type = headers.get("content-type", "")
    text = _decode(_inflate(body, headers.get("content-encoding", ""), max_bytes), media_type)
    start = text.lstrip(" \t\r\n")[:1]
    if not start:
        raise UnreadableError("the answer is empty")
    try:
        if start in "{[":
            return _read_json(text)
        if start == "<":
            return _read_xml(text, action)
    except UnreadableError:
        if _WEB_PAGE.match(text):
            raise UnreadableError("the answer looks like a web page; is the store's address right?") from None
        raise
    if "html" in media_type.lower():
        raise UnreadableError("the answer says that it is a web page; is the store's address right?")
    raise UnreadableError("the answer is neither JSON nor XML")


def branches_in(document: dict[str, Any]) -> list[Any]:
    """
    List every object and every list in a document, level by level, the document first.

    One that nests too deeply raises `UnreadableError`. Nothing may walk through it by recursion before this is known.
    """
    branches: list[Any] = []
    level: list[Any] = [document]
    # A leaf is a level too, as it is an element in XML.
    for _ in range(MAX_DEPTH - 1):
        branches += level
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, _BRANCHES)
        ]
        if not level:
            return branches
    raise UnreadableError("the answer is nested too deeply")


def _header_text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _inflate(body: bytes, content_encoding: str, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise UnreadableError(f"the answer is longer than {max_bytes} bytes")
    match content_encoding.lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflate_stream(body, 16 + zlib.MAX_WBITS, max_bytes)
        case "deflate":
            try:
                return _inflate_stream(body, zlib.MAX_WBITS, max_bytes)
            except zlib.error:
                # RFC 9110, section 8.4.1.2: some senders leave out the zlib wrapper.
                return _inflate_stream(body, -zlib.MAX_WBITS, max_bytes)
        case _:
            raise UnreadableError("the answer is compressed in a way that was not asked for")


def _inflate_stream(body: bytes, window: int, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(window)
    inflated = stream.decompress(body, max_bytes + 1)
    if len(inflated) > max_bytes:
        raise UnreadableError(f"the answer is longer than {max_bytes} bytes when decompressed")
    if not stream.eof or stream.unused_data:
        raise UnreadableError("the compressed answer is cut short, or something follows it")
    return inflated


def _decode(body: bytes, media_type: str) -> str:
    encoding, start = _encoding_of(body, media_type)
    try:
        return body[start:].decode(encoding)
    except UnicodeError:
        raise UnreadableError(f"the answer is not whole text in {encoding}") from None


def _encoding_of(body: bytes, media_type: str) -> tuple[str, int]:
    """Return the encoding of a body, and where its text begins: BOM, Content-Type, zero bytes, declaration, UTF-8."""
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return encoding, len(bom)
    if (named := _CHARSET.search(media_type)) and (encoding := _known_charset(named[1])):
        return encoding, 0
    if 0 in body[:4]:
        # The first character of a document is ASCII: RFC 4627, section 3, tells the encoding from the zeros beside it.
        return json.detect_encoding(body), 0
    if (named_inside := _DECLARED.match(body)) and (encoding := _known_charset(named_inside[1].decode())):
        # A declaration that can be read byte by byte is wrong if it says UTF-16; .NET is known to write that.
        return (encoding if not encoding.startswith(("utf-16", "utf-32")) else "utf-8"), 0
    return "utf-8", 0


def _known_charset(name: str) -> str:
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        return ""
    return encoding if encoding in _CHARSETS else ""


def _read_json(text: str) -> dict[str, Any]:
    try:
        document = _json.decode(text)
    except RecursionError:
        raise UnreadableError("the answer's JSON is nested too deeply") from None
    except ValueError:
        raise UnreadableError("the answer's JSON is cut short or malformed") from None
    if not isinstance(document, dict):
        raise UnreadableError("the answer's JSON is no object")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) == 1:
        # Nearly all objects of an answer are entries with nothing but an id.
        [(name, value)] = pairs
        return {name.lower(): value}
    members = {name.lower(): value for name, value in pairs}
    if len(members) != len(pairs):
        raise UnreadableError("a name occurs twice in one object of the answer's JSON")
    return members


def _refuse_number(_name: str) -> float:
    raise UnreadableError("the answer's JSON holds a number that JSON does not have")


def _whole_number(digits: str) -> int:
    # Python reads long digits in quadratic time, where its limit on them has been lifted.
    if len(digits) > 40:  # noqa: PLR2004 - twice the digits of the largest 64-bit number
        raise UnreadableError("the answer's JSON holds a number that is too long")
    return int(digits)


_json = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_number, parse_int=_whole_number)


def _read_xml(text: str, action: str) -> dict[str, Any]:
    # Stripped, because a declaration counts only at the very start. Encoded again, with the encoding given to the
    # parser: the declaration describes the bytes that came.
    text = text.lstrip(" \t\r\n")
    document = text.encode()
    try:
        if not _is_plain(text):
            _refuse_what_no_reply_has(document)
        parsed = xmltodict.parse(
            document,
            encoding="utf-8",
            xml_attribs=False,
            disable_entities=True,
            # Notes are compared to the character, blanks at their ends included.
            strip_whitespace=False,
            postprocessor=_local_name,  # type: ignore[arg-type]  # it may return None to drop a node
        )
    except (expat.ExpatError, ValueError):
        raise UnreadableError("the answer's XML is cut short or malformed") from None
    ((root, content),) = parsed.items()
    # The root that stores send, and the one that the vendor's pages print (read 2026-11).
    if root not in {f"{action}Response".lower(), action.lower()}:
        raise UnreadableError("the answer is an XML document, but none of this call's")
    # Text alone in the root says nothing that could be read.
    return content if isinstance(content, dict) else {}


def _local_name(_path: object, name: str, value: Any) -> tuple[str, Any] | None:
    if name == "#text" and value.isspace():  # between elements
        return None
    return name.rpartition(":")[2].lower(), value


def _is_plain(text: str) -> bool:
    """
    Say whether a document is plain, so that nothing in it can be refused; others may be sound too.

    Plain is what has nothing but tags and text in it: then the tags give its depth, and "=" would show an attribute.
    """
    content = text[text.find("?>") + 2 :] if text.startswith("<?xml") else text
    if "<!" in content or "<?" in content or "=" in content:
        return False
    depth = 1
    for piece in content.split("</"):
        depth += piece.count("<") - 1
        if depth > MAX_DEPTH:
            return False
    return True


def _refuse_what_no_reply_has(document: bytes) -> None:
    """
    Look through a document before anything is built from it.

    Raise `UnreadableError` where it declares entities or a document type, nests too deeply, or hides an id in an
    attribute, which the reading of elements would pass over.
    """
    depth = 0

    def begin(_name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise UnreadableError("the answer's XML is nested too deeply")
        if any(name.rpartition(":")[2].lower() == "logid" for name in attributes):
            raise UnreadableError("the answer's XML has an id in an attribute")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_declaration: object) -> None:
        raise UnreadableError("the answer's XML declares a document type")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    parser.Parse(document, True)
