"""What a client logs in with: the headers of each login, every refusal, and what no text may show."""

from __future__ import annotations

import traceback

import pytest

from neto_async import AddOnKeys, BearerToken, ConfigurationError
from neto_async.credentials import Secret
from neto_async.settings import Settings, credentials_from_env

STORE = "https://www.yournetosite.com.au"
SECRET = "canary-9c41"


class Vault:
    """What holds a key elsewhere."""

    def get_secret_value(self):
        return SECRET


def settings(api_key, **more):
    return Settings(store_url=STORE, api_key=api_key, **more)


def clear(headers):
    return {name: secret.get_secret_value() for name, secret in headers.items()}


@pytest.mark.parametrize(
    ("credentials", "headers"),
    [
        (SECRET, {"NETOAPI_KEY": SECRET}),
        (AddOnKeys(access_key=" a\n", secret_key=SECRET), {"X_ACCESS_KEY": "a", "X_SECRET_KEY": SECRET}),
        (AddOnKeys(access_key=Vault(), secret_key=Vault()), {"X_ACCESS_KEY": SECRET, "X_SECRET_KEY": SECRET}),
        (BearerToken(f"{SECRET}\r\n"), {"Authorization": f"Bearer {SECRET}"}),
        (BearerToken(Vault()), {"Authorization": f"Bearer {SECRET}"}),
    ],
)
def test_each_login_has_its_headers(credentials, headers):
    """Keys go out in the vendor's headers, without the white space round them, and in no repr."""
    made = settings(credentials)
    assert headers == clear(made.login.headers)
    assert SECRET not in f"{credentials!r}{made!r}{made.login!r}" or credentials is SECRET
    assert SECRET not in f"{made!r}{made.login!r}"


def test_a_user_name_goes_with_an_api_key_alone():
    """A user's key has its user's name beside it; the credentials of an add-on are refused beside one."""
    assert {"NETOAPI_KEY": "k", "NETOAPI_USERNAME": "u"} == clear(settings("k", username=" u ").login.headers)
    for credentials in (AddOnKeys(access_key="a", secret_key="b"), BearerToken("c")):
        with pytest.raises(ConfigurationError, match=r"^username belongs to an API key"):
            settings(credentials, username="u")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("access_key", lambda given: AddOnKeys(access_key=given, secret_key="b")),
        ("secret_key", lambda given: AddOnKeys(access_key="a", secret_key=given)),
        ("token", BearerToken),
    ],
)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "must be text"),
        (SECRET.encode(), "must be text"),
        ("", "is empty; give the one that was given to the add-on"),
        (" \t\n", "is empty"),
        (f"{SECRET}é", "can't carry"),
        (f"{SECRET}\r\nX: 1", "can't carry"),
        (f"{SECRET}\x00", "can't carry"),
        (f"{SECRET}\u2003x", "can't carry"),
        (f"Bearer {SECRET}", "holds white space"),
    ],
)
def test_a_key_that_no_header_carries_is_refused(name, make, given, said):
    """A key with white space inside, control or foreign characters is refused by its name, and is not repeated."""
    with pytest.raises(ConfigurationError) as caught:
        settings(make(given))
    assert str(caught.value).startswith(f"{name} ")
    assert said in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("base_path", ["", "/", "/stores/1", "/stores/1/", "/a-b_c.d~e"])
def test_the_base_path_is_part_of_the_address(base_path):
    """Calls go below it, and stores that differ by it have quotas and journals of their own."""
    made = settings(BearerToken("t", base_path=base_path))
    assert f"{STORE}{base_path.rstrip('/')}" == made.store_url
    assert f"{made.store_url}/do/WS/NetoAPI" == made.endpoint


@pytest.mark.parametrize("base_path", [None, "stores", "/a//b", "/..", "/a/./b", "/a?b", "/a#b", "/ü", "/a b", "/a\n"])
def test_a_base_path_that_is_no_path_is_refused(base_path):
    """What would go to another address than it says is refused, and is not repeated."""
    with pytest.raises(ConfigurationError, match=r'^base_path must be a path, such as "/stores/1", or "" for none$'):
        settings(BearerToken("t", base_path=base_path))


ENVIRON = {"NETO_STORE_URL": STORE, "NETO_ACCESS_KEY": "a", "NETO_SECRET_KEY": "b"}


def test_an_add_ons_keys_may_be_in_the_environment():
    """The two of an add-on replace user name and key; a client that has its keys needs the address alone."""
    keys = AddOnKeys(access_key="a", secret_key="b")
    assert {"store_url": STORE, "username": None, "api_key": keys} == credentials_from_env(ENVIRON)
    assert {"store_url": STORE, "username": None} == credentials_from_env({"NETO_STORE_URL": STORE}, with_key=False)
    assert Secret("b") == credentials_from_env(ENVIRON)["api_key"].secret_key


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({**ENVIRON, "NETO_SECRET_KEY": " "}, "set the environment variable NETO_SECRET_KEY"),
        ({"NETO_SECRET_KEY": SECRET}, "set the environment variables NETO_STORE_URL and NETO_ACCESS_KEY"),
        (
            {**ENVIRON, "NETO_API_KEY": SECRET},
            "set either NETO_API_KEY, or NETO_ACCESS_KEY and NETO_SECRET_KEY, and not all of them",
        ),
    ],
)
def test_half_an_add_on_is_refused(environ, text):
    """One of the two, or a key of another kind beside them, is refused by the names of the variables."""
    with pytest.raises(ConfigurationError) as caught:
        credentials_from_env(environ)
    assert text == str(caught.value)
