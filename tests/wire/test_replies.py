"""
The short ways of reading say what the long ones say.

Nearly every answer is read by a short way: ids without an object for each entry, XML without a look at each element
first. White-box tests: each law compares the two ways, which only their private names distinguish.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from xml.parsers.expat import ExpatError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neto_async.wire import ADD_CUSTOMER_LOG, bodies, replies
from neto_async.wire.bodies import MAX_DEPTH, UnreadableError
from neto_async.wire.replies import MAX_DIGITS, MAX_LOG_ID, Entries, read_reply

ODD_NUMBERS = [0, -1, MAX_LOG_ID, MAX_LOG_ID + 1, True, False, 5001.0]
ODD_TEXTS = [
    *("", "0", "00", "007", " 5001", "5001\n", "-1", "+1", "1.0", "1e3", "0x1", "1_0", "5 001", "²", "٣", "5٣"),
    *("9" * (MAX_DIGITS - 1), "9" * MAX_DIGITS, "0" * 30 + "5", str(MAX_LOG_ID), str(MAX_LOG_ID + 1)),
]
ODD_VALUES = [None, [], {}, ["5001"], ["5001", "5002"], {"LogID": "5001"}]
NUMBERS = st.integers(1, MAX_LOG_ID)
TEXTS = NUMBERS.map(str)


def entries_of(values: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    """Make lists of entries, most of which have nothing but an id of one kind; each oddity is rare, as in life."""
    alone = st.builds(lambda value: {"LogID": value}, values)
    more = st.builds(lambda entry, name, value: {**entry, name: value}, alone, NAMES, st.sampled_from(ODD_VALUES))
    bare = values | st.lists(alone, max_size=2) | st.just({})
    return st.lists(alone, max_size=4) | st.lists(alone | more, max_size=3) | st.lists(alone | more | bare, max_size=3)


NAMES = st.sampled_from(["logid", "Log", "LogIDs"])
LOGS = (
    entries_of(TEXTS | st.sampled_from(ODD_TEXTS))
    | entries_of(NUMBERS | st.sampled_from(ODD_NUMBERS))
    | entries_of(TEXTS | NUMBERS | st.sampled_from([*ODD_TEXTS, *ODD_NUMBERS, *ODD_VALUES]))
)


def folded(logs: object) -> list[object]:
    """Read logs as they come out of a document: with their names in lower case."""
    document = bodies.read_document(ADD_CUSTOMER_LOG.name, {}, json.dumps({"CustomerLog": logs}).encode())
    found: list[object] = document["customerlog"]
    return found


@contextmanager
def the_long_way(module: object, name: str, answer: object) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, lambda _: answer)
        yield


def outcome_of(body: bytes) -> object:
    """Read an answer; where it can't be read, say why."""
    try:
        return read_reply(ADD_CUSTOMER_LOG.name, {}, body)
    except UnreadableError as error:
        return str(error)


@settings(max_examples=500)
@given(LOGS)
def test_plain_ids_are_the_ids_of_the_entries(logs):
    """Where the short way gives ids, the long way gives the same, and finds neither a gap nor anything illegible."""
    try:
        entries = folded(logs)
    except UnreadableError:
        return  # one name in two cases
    if ids := replies._plain_ids(entries):
        assert Entries(ids=ids) == replies._entries(entries)


@pytest.mark.parametrize("kind", [int, str])
@given(st.lists(st.integers(1, 10 ** (MAX_DIGITS - 1) - 1), min_size=1, max_size=100))
def test_the_usual_answer_takes_the_short_way(kind, numbers):
    """Entries of nothing but an id, all digits or all numbers, are read by the short way, whatever their ids."""
    entries = [{"logid": kind(number)} for number in numbers]

    assert tuple(numbers) == replies._plain_ids(entries)


@settings(max_examples=300)
@given(LOGS, st.sampled_from([{}, {"LogID": "7"}, {"Ack": "Error"}, {"Messages": {"Error": {"LogID": "8"}}}]))
def test_an_answer_means_the_same_by_both_ways(logs, beside):
    """A whole answer gives the same reply, or the same fault, with the short way and without it."""
    body = json.dumps({"CustomerLog": logs, **beside}).encode()
    by_the_short_way = outcome_of(body)

    with the_long_way(replies, "_plain_ids", ()):
        assert outcome_of(body) == by_the_short_way


def nested(levels: int, inside: str) -> str:
    return "<a>" * levels + inside + "</a>" * levels


PARTS = [
    *("", "x", "=", "<b/>", "<b></b>", "<b/>" * (MAX_DEPTH + 1), "</b>", "</b></b></b>", "<b>", "a<b", "<", "&lt;"),
    *("?>", "<LogID>5</LogID>", "<b LogID='5'/>", "<b x:LogID='5'/>", "<b LogID ='5'/>", "<b LogID/>", "<?pi x?>"),
    *("<!-- -->", "<![CDATA[</b></b>]]>", "<!DOCTYPE a>", "</a ><a >", "<\ta>"),
    *("<?pi </a></a></a></a>?>", "<!-- </a></a></a></a> -->", "<b><b></b></b>"),
]
DECLARATIONS = [
    *("", '<?xml version="1.0"?>', "<?xml version='1.0' encoding='utf-8'?>\n", "<?xml", "<?xml-x LogID='5'?>"),
    *("<?xml?>", "<?xml version='1.0'?><!DOCTYPE a>", "<?xml version='1.0'?><?xml-x y?>", "<?xml version='?>'?>"),
]
DOCUMENTS = st.builds(
    lambda declaration, levels, parts: (
        declaration + f"<AddCustomerLog>{nested(levels, ''.join(parts))}</AddCustomerLog>"
    ),
    st.sampled_from(DECLARATIONS),
    st.integers(0, 3) | st.integers(MAX_DEPTH - 4, MAX_DEPTH + 3),
    st.lists(st.sampled_from(PARTS), max_size=4),
)


def test_a_plain_document_has_nothing_to_refuse():
    """What is taken for plain by its characters, whole or not, would not be refused by a look at its elements."""
    near_the_limit = range(MAX_DEPTH - 3, MAX_DEPTH + 1)
    plain = [
        text
        for declaration, levels, first, second in product(DECLARATIONS[:3], (0, *near_the_limit), PARTS, PARTS)
        if bodies._is_plain(text := declaration + nested(levels, first + second))
    ]
    for text in plain:
        with suppress(ExpatError):  # it may be no XML at all, which its reader says of it by either way
            bodies._refuse_what_no_reply_has(text.encode())

    assert len(plain) > 500


@given(DOCUMENTS)
def test_xml_means_the_same_by_both_ways(text):
    """A whole XML answer gives the same reply, or the same fault, with the short way and without it."""
    body = text.encode()
    by_the_short_way = outcome_of(body)

    with the_long_way(bodies, "_is_plain", False):
        assert outcome_of(body) == by_the_short_way


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_is_exact_to_the_level(levels):
    """A document at the limit of nesting takes the short way, and one level more does not."""
    text = nested(levels, "x")

    assert (levels <= MAX_DEPTH) is bodies._is_plain(text)


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="utf-8"?>\n'])
@pytest.mark.parametrize("entries", [1, 2, 100])
def test_the_usual_xml_answer_takes_the_short_way(declaration, entries):
    """Tags and text alone are plain, with a declaration before them or without, however many entries there are."""
    logs = "".join(f"<CustomerLog><LogID>{5000 + number}</LogID></CustomerLog>" for number in range(entries))

    assert bodies._is_plain(f"{declaration}<AddCustomerLogResponse>{logs}<Ack>Success</Ack></AddCustomerLogResponse>")
