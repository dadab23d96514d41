"""The fixtures of the pytest plugin, used as a user's tests use them."""

from __future__ import annotations

import os
import time
from importlib.metadata import entry_points

import pytest

from neto_async import AsyncNetoClient, OutcomeUnknownError

if not entry_points(group="pytest11", name="neto_async"):  # pragma: no cover
    pytest.skip("the project was installed before it had a plugin: install it again", allow_module_level=True)


def test_the_environment_leads_to_the_store(neto_store):
    """What a client is made from leads to neto_store, and nowhere else."""
    told = (os.environ["NETO_STORE_URL"], os.environ["NETO_USERNAME"], os.environ["NETO_API_KEY"])
    assert (neto_store.url, neto_store.username, neto_store.api_key) == told


async def test_the_environment_leads_to_the_newest_store(neto_store, make_neto_store):
    """A store made with settings of its own takes the place of the one before, a global key without a user too."""
    newer = make_neto_store(username=None)
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log({"notes": "Paid."})
    newer.assert_each_once([{"notes": "Paid."}])
    neto_store.assert_each_once([])


async def test_an_answer_that_is_lost(neto_store):
    """The log is saved, the client can't know, and it stands there once."""
    neto_store.faults.next("answer lost")
    async with AsyncNetoClient.from_env() as neto:
        with pytest.raises(OutcomeUnknownError):
            await neto.add_customer_log({"notes": "Rang back."})
    neto_store.assert_each_once([{"notes": "Rang back."}])


async def test_a_pause_of_a_minute_takes_no_time(neto_store, neto_time):
    """A 429 with Retry-After: 60 is waited through without waiting."""
    neto_store.faults.next("rate limited")
    began = time.monotonic()
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log({"notes": "Rang back."})
    assert 59 < neto_time.skipped <= 60
    assert time.monotonic() - began < 30
    assert ["HTTP 429", "Success"] == [call.outcome for call in neto_store.calls]
