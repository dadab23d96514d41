"""The verdicts on what a store on loopback has lost, read back from it over HTTP."""

from __future__ import annotations

import random

import httpx
import pytest

from neto_async.models import StoredCustomer, StoredCustomerLog
from neto_async.reconciling.evidence import (
    AnsweredCall,
    Doubt,
    DoubtfulCall,
    Evidence,
    KnownLog,
    Reading,
    Settled,
)
from neto_async.reconciling.verdicts import reconcile
from neto_async.reconciling.windows import windows_of
from neto_async.sandbox import NetoSandbox, ReadBack, faults
from neto_async.settings import SETTLE_AFTER

CUSTOMERS = [f"customer {number}" for number in range(7)]
CALLS = 40
RECORDS = 5


async def post(http, store, action, body):
    headers = {
        "NETOAPI_ACTION": action,
        "NETOAPI_USERNAME": store.username,
        "NETOAPI_KEY": store.api_key,
        "Accept": "application/json",
    }
    return (await http.post(f"{store.url}/do/WS/NetoAPI", headers=headers, json=body)).json()


async def read(http, store, began_at):
    """Read all customers, page by page, to the first page that is empty."""
    found, page = [], 0
    while True:
        asked = {"Username": CUSTOMERS, "Page": page, "Limit": 4, "OutputSelector": ["Username", "CustomerLog"]}
        reply = await post(http, store, "GetCustomer", {"Filter": asked})
        customers = reply.get("Customer", [])
        customers = customers if isinstance(customers, list) else [customers]
        if not customers:
            return Reading(began_at=began_at, is_whole=True, customers=tuple(found))
        for customer in customers:
            logs = customer.get("CustomerLogs", {}).get("CustomerLog", [])
            logs = logs if isinstance(logs, list) else [logs]
            stored = tuple(StoredCustomerLog(log_id=int(log["LogID"]), fields=log) for log in logs)
            found.append(StoredCustomer(username=customer["Username"], logs=stored))
        page += 1


@pytest.mark.parametrize("marker", [False, True], ids=["sole writer", "marker"])
async def test_every_lost_answer_is_settled(marker):
    """One answer in five lost, by a store that alters texts and gives short pages: all is settled, and truly."""
    rng = random.Random(3)
    alters = ReadBack(trims=True, strips_tags=True, line_ends="\r\n", local_time=True, short_pages=True)
    doubts, calls, answered, known = [], [], [], []
    async with NetoSandbox(read_back=alters, customers=CUSTOMERS) as store, httpx.AsyncClient(trust_env=False) as http:
        for number in range(CALLS):
            records = [
                {
                    "Username": rng.choice(CUSTOMERS),
                    "LastContacted": "2026-11-05 07:30:10",
                    "Status": "Recontacting",
                    "Notes": f" <b>order</b> {number:02}{place}\nlate " + (f"[#{number:02}{place}]" if marker else ""),
                }
                for place in range(RECORDS)
            ]
            fault = rng.choice((faults.Reset(), faults.Reset(saves=True))) if number and rng.random() < 0.2 else None
            store.faults.next(fault)
            try:
                reply = await post(http, store, "AddCustomerLog", {"CustomerLogs": {"CustomerLog": records}})
            except httpx.ReadError:
                calls.append(DoubtfulCall(number=number, began=2 * number, left_at=0.0))
                doubts += [
                    Doubt(row=place, call=number, sent=sent, marker=f"[#{number:02}{place}]" if marker else None)
                    for place, sent in enumerate(records)
                ]
                continue
            ids = [int(log["LogID"]) for log in reply["CustomerLog"]]
            known += [KnownLog(log_id=log_id, sent=sent) for log_id, sent in zip(ids, records, strict=True)]
            answered.append(
                AnsweredCall(
                    began=2 * number, answered=2 * number + 1, began_at=0.0, lowest_id=ids[0], highest_id=ids[-1]
                )
            )
        first, second = await read(http, store, SETTLE_AFTER), await read(http, store, SETTLE_AFTER + 5)
        saved = {(log.call - 1, log.notes): log.log_id for log in store.logs}

    evidence = Evidence(
        doubts=tuple(doubts),
        calls=tuple(calls),
        answered=tuple(answered),
        known=tuple(known),
        first=first,
        second=second,
    )
    verdicts, _ = reconcile(evidence, windows_of(calls, answered, SETTLE_AFTER), sole_writer=not marker)
    truth = [saved.get((doubt.call, doubt.sent["Notes"])) for doubt in doubts]
    assert truth == [verdict.log_id for verdict in verdicts]
    assert {Settled.ADDED, Settled.NOT_SENT} == {verdict.settled for verdict in verdicts}
