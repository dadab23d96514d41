"""The settings of a client: every refusal, what is fixed silently, and what no text may show."""

from __future__ import annotations

import math
import traceback
from datetime import timezone
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.credentials import Secret
from neto_async.errors import ConfigurationError
from neto_async.settings import Settings, WireFormat, credentials_from_env

STORE = "https://www.yournetosite.com.au"
SECRET = "canary-9c41"


def settings(**more):
    return Settings(**{"store_url": STORE, "api_key": "k", **more})


def refusal(**more):
    """Give the text that these settings are refused with, after looking for a secret in all that is shown."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**more)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_defaults():
    """The defaults are those of the documentation, in the signature itself."""
    made = settings()
    assert (WireFormat.JSON, timezone.utc, 100, 1_000_000, 4, 400, 60.0, 300.0, True, False) == (
        made.wire_format,
        made.wire_timezone,
        made.batch_size,
        made.max_batch_bytes,
        made.max_concurrency,
        made.requests_per_minute,
        made.timeout,
        made.give_up_after,
        made.isolate_rejections,
        made.allow_insecure_http,
    )


@pytest.mark.parametrize(
    ("given_url", "store_url"),
    [
        (STORE, STORE),
        (f"{STORE}/", STORE),
        (f"  {STORE}\n", STORE),
        (f"{STORE}/do/WS/NetoAPI", STORE),
        (f"{STORE}/do/WS/NetoAPI/", STORE),
        ("HTTPS://WWW.YourNetoSite.com.au", STORE),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("http://127.0.0.1:8020", "http://127.0.0.1:8020"),
        ("http://localhost:8020", "http://localhost:8020"),
        ("http://store.localhost", "http://store.localhost"),
        ("http://[::1]:8020", "http://[::1]:8020"),
        ("http://[::1]:80", "http://[::1]"),
        (f"{STORE}:443", STORE),
        (f"{STORE}:", STORE),
        (f"{STORE}:80", f"{STORE}:80"),
    ],
)
def test_store_url_is_normalised(given_url, store_url):
    """The address is kept as scheme and host; the API's own path, blanks and capitals are forgiven."""
    made = settings(store_url=given_url)
    assert store_url == made.store_url
    assert f"{store_url}/do/WS/NetoAPI" == made.endpoint


@pytest.mark.parametrize(
    ("store_url", "said"),
    [
        (None, "must be text"),
        (b"https://shop.example", "must be text"),
        ("", "must begin with https://"),
        ("www.yournetosite.com.au", "must begin with https://"),
        (f"ftp://{SECRET}.example", "must begin with https://"),
        ("https://", "must begin with https://"),
        ("https:///do/WS/NetoAPI", "must begin with https://"),
        ("https://[::1", "can't be read"),
        (f"https://shop.example:{SECRET}", "can't be read"),
        ("https://shop.example:99999", "can't be read"),
        (f"https://user:{SECRET}@shop.example", "scheme and host alone"),
        (f"https://shop.example?key={SECRET}", "scheme and host alone"),
        (f"https://shop.example#{SECRET}", "scheme and host alone"),
        ("https://shöp.example", "no host name has"),
        ("https://shop .example", "no host name has"),
        (f"https://shop.example/{SECRET}", "must have no path"),
        ("http://www.yournetosite.com.au", "unencrypted"),
        ("http://localhost.example", "unencrypted"),
        ("http://notlocalhost", "unencrypted"),
        ("http://192.168.0.10", "unencrypted"),
    ],
)
def test_store_url_refused(store_url, said):
    """An address that can't be right is refused with what to give instead, and is not repeated."""
    assert said in refusal(store_url=store_url)


@pytest.mark.parametrize("name", ["allow_insecure_http", "isolate_rejections"])
@pytest.mark.parametrize("value", ["false", "", 0, 1, None])
def test_a_flag_is_true_or_false(name, value):
    """A text such as "false", from the environment or a file, would count as true and send the key unencrypted."""
    assert f"{name} must be True or False" == refusal(**{"store_url": "http://10.0.0.7", name: value})


def test_plain_http_where_asked_for():
    """Plain http to a host elsewhere takes an explicit word."""
    assert "http://10.0.0.7" == settings(store_url="http://10.0.0.7", allow_insecure_http=True).store_url


@pytest.mark.parametrize("name", ["api_key", "username"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "must be text"),
        ("", "is empty"),
        (" \t\n", "is empty"),
        (f"{SECRET}é", "can't carry"),
        (f"{SECRET}\r\nX: 1", "can't carry"),
        (f"{SECRET}\x00", "can't carry"),
        (f"{SECRET}\u2003x", "can't carry"),
    ],
)
def test_credential_refused(name, value, said):
    """A credential that no header can carry is refused by its name, and is not repeated."""
    text = refusal(**{name: value})
    assert text.startswith(name)
    assert said in text


def test_missing_key_is_not_none():
    """A key is always needed; a user name is not."""
    assert "api_key must be text" == refusal(api_key=None)
    assert settings(username=None).username is None


@pytest.mark.parametrize("name", ["api_key", "username"])
def test_credential_is_stripped(name):
    """White space round a pasted credential is dropped, since the store refuses it."""
    made = settings(**{name: " abc\r\n"})
    assert "abc" == {"api_key": made.api_key.get_secret_value(), "username": made.username}[name]


@pytest.mark.parametrize(("given_format", "wire_format"), [("json", WireFormat.JSON), (WireFormat.XML, WireFormat.XML)])
def test_wire_format_is_a_member(given_format, wire_format):
    """The format is taken as a member or as its text."""
    assert wire_format is settings(wire_format=given_format).wire_format


@pytest.mark.parametrize("wire_format", ["JSON", "yaml", None, 1, ["json"]])
def test_wire_format_refused(wire_format):
    """Any other format is refused with the two."""
    assert 'wire_format must be "json" or "xml"' == refusal(wire_format=wire_format)


@pytest.mark.parametrize("wire_timezone", [None, "Australia/Sydney", 10])
def test_wire_timezone_refused(wire_timezone):
    """The zone on the wire is a tzinfo."""
    assert refusal(wire_timezone=wire_timezone).startswith("wire_timezone must be a tzinfo")
    assert settings(wire_timezone=ZoneInfo("Australia/Sydney")).wire_timezone == ZoneInfo("Australia/Sydney")


@pytest.mark.parametrize("name", ["batch_size", "max_batch_bytes", "max_concurrency"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "4", True, None])
def test_count_refused(name, value):
    """A count is a whole number above 0."""
    assert f"{name} must be a whole number above 0" == refusal(**{name: value})


@pytest.mark.parametrize("name", ["timeout", "give_up_after", "requests_per_minute"])
@pytest.mark.parametrize("value", [0, -0.5, math.nan, math.inf, 10**400, "60", True])
def test_number_refused(name, value):
    """A time or a rate is a finite number above 0."""
    assert refusal(**{name: value}).startswith(f"{name} must be a number above 0")


@pytest.mark.parametrize("name", ["timeout", "give_up_after"])
def test_time_is_always_limited(name):
    """None is no time: a call without an end would hold its slot for ever."""
    assert f"{name} must be a number above 0" == refusal(**{name: None})


def test_idle_connections_are_kept_for_a_time_or_not_at_all():
    """The seconds that an idle connection is kept are any finite number from 0 on."""
    assert [3.0, 0, 7.5] == [
        settings(**more).keepalive_expiry for more in ({}, *({"keepalive_expiry": n} for n in (0, 7.5)))
    ]
    for wrong in (-1, False, math.nan, math.inf, 10**400, None, "3"):
        assert refusal(keepalive_expiry=wrong).startswith("keepalive_expiry must be a number above 0, or 0")


def test_loopback_is_known_by_name_and_by_address():
    """A store is on loopback by its name or its address, and nowhere else."""
    here = ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "localhost.", "store.localhost", "LocalHost:8020"]
    there = ["10.0.0.1", "localhost.example", "notlocalhost", "128.0.0.1", "[::2]"]
    assert [True] * len(here) == [settings(store_url=f"http://{host}").on_loopback for host in here]
    assert [False] * len(there) == [settings(store_url=f"https://{host}").on_loopback for host in there]


class Vault:
    """What holds a key elsewhere."""

    def __init__(self, key):
        self.key = key

    def get_secret_value(self):
        return self.key


def test_a_key_may_come_from_what_holds_it():
    """A key is text, or what gives it by `get_secret_value`; what that gives is checked as text is."""
    assert settings(api_key="k") == settings(api_key=Vault(" k ")) != settings(api_key="other")
    assert 1 == len({Secret("k"), Secret(Vault("k"))})
    assert "api_key must be text" == refusal(api_key=Vault(None))
    assert "can't carry" in refusal(api_key=Vault(f"{SECRET}\n{SECRET}"))


@pytest.mark.parametrize("rate", [0.5, 1, 500, None])
def test_rate_may_be_any_positive_number_or_none(rate):
    """Less than one call a minute is a rate as well, and None is no limit."""
    assert rate == settings(requests_per_minute=rate).requests_per_minute


def test_repr_shows_no_credential():
    """Printing settings shows neither key nor user name."""
    assert SECRET not in repr(settings(api_key=SECRET, username=SECRET))


def test_settings_are_final():
    """Settings are checked once and never changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings().timeout = 5.0


@given(st.one_of(st.text(), st.from_regex(r"(?i)https?://[^ ]*"), st.none(), st.integers()))
def test_any_address_is_taken_or_refused(store_url):
    """Whatever the address, the answer is settings or a `ConfigurationError`."""
    try:
        made = settings(store_url=store_url)
    except ConfigurationError:
        return
    assert made == settings(store_url=made.store_url)


def test_credentials_from_env():
    """The three variables are read; the user name may be missing or blank."""
    environ = {"NETO_STORE_URL": f" {STORE} ", "NETO_API_KEY": "k", "NETO_USERNAME": "api"}
    assert {"store_url": STORE, "username": "api", "api_key": Secret("k")} == credentials_from_env(environ)
    assert credentials_from_env(environ | {"NETO_USERNAME": " "})["username"] is None
    del environ["NETO_USERNAME"]
    assert credentials_from_env(environ)["username"] is None


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "set the environment variables NETO_STORE_URL and NETO_API_KEY"),
        ({"NETO_API_KEY": SECRET}, "set the environment variable NETO_STORE_URL"),
        ({"NETO_STORE_URL": STORE, "NETO_API_KEY": "  "}, "set the environment variable NETO_API_KEY"),
    ],
)
def test_missing_variable_is_named(environ, text):
    """What is missing or blank is named, and nothing else is reported."""
    with pytest.raises(ConfigurationError) as caught:
        credentials_from_env(environ)
    assert text == str(caught.value)


def test_environment_of_the_process_is_the_default(monkeypatch):
    """Without a mapping, the process's own environment is read."""
    monkeypatch.setenv("NETO_STORE_URL", STORE)
    monkeypatch.setenv("NETO_API_KEY", "k")
    monkeypatch.delenv("NETO_USERNAME", raising=False)
    assert {"store_url": STORE, "username": None, "api_key": Secret("k")} == credentials_from_env()
