"""What the documentation shows, as a user writes it: mypy strict and pyright accept every line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime, timezone
from typing import Any, assert_type

import httpx

import neto_async
from neto_async import (
    Added,
    AddOnKeys,
    AsyncNetoClient,
    Attempt,
    BearerToken,
    BlockingNetoClient,
    BulkReport,
    Clock,
    CustomerLog,
    CustomerLogStatus,
    DrainReport,
    Evidence,
    ImportProgress,
    InDoubt,
    Invalid,
    InvalidRecordError,
    Item,
    NetoError,
    NotSent,
    NotSentCause,
    NotSentError,
    Outcome,
    OutcomeUnknownError,
    Phase,
    Quota,
    RateLimitedError,
    Rejected,
    RejectedError,
    Statistics,
    Unknown,
)


class Secret:
    def get_secret_value(self) -> str:
        return "key"


async def token() -> str:
    return "token"


class Never(Quota):
    """A quota as a program would bring it."""

    @property
    def used(self) -> int:
        return 0

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        return now

    def begin(self, now: float, *, spaced: bool) -> bool:
        return True

    def end(self, now: float, place: Any) -> None: ...

    def pause(self, now: float, until: float) -> None: ...

    def seconds_for(self, calls: int) -> float | None:
        return None


def clients(quota: Quota, clock: Clock) -> list[AsyncNetoClient]:
    def note(outcome: Outcome) -> None:
        print(outcome.index)

    neto_async.use_clock(None)
    return [
        AsyncNetoClient("https://www.yournetosite.com.au", api_key="key"),
        AsyncNetoClient(
            "https://www.yournetosite.com.au", api_key=Secret(), wire_format="xml", quota=quota, clock=clock
        ),
        AsyncNetoClient.from_env(
            timeout=3, give_up_after=10, requests_per_minute=None, on_unawaited=note, quota=Never()
        ),
        AsyncNetoClient.from_env(http_client=httpx.AsyncClient()),
        AsyncNetoClient.from_env(api_key=AddOnKeys(access_key="a", secret_key=Secret())),
        AsyncNetoClient.from_env(api_key=AddOnKeys(access_key=Secret(), secret_key=lambda: "b")),
        AsyncNetoClient.from_env(api_key=BearerToken(Secret, base_path="/stores/1")),
        AsyncNetoClient.from_env(api_key=BearerToken(token)),
    ]


def logs() -> list[CustomerLog]:
    return [
        CustomerLog(status="Completed", notes="a", username=None),
        CustomerLog(status=CustomerLogStatus.COMPLETED, last_contacted=datetime.now(timezone.utc)),
        CustomerLog(date_required_follow_up=date(2026, 11, 5)),
    ]


async def single(neto: AsyncNetoClient) -> None:
    try:
        added = await neto.add_customer_log(CustomerLog(notes="a"), context=17, give_up_after=5)
        assert_type(added, Added)
        assert_type(added.attempts, tuple[Attempt, ...])
        assert_type(added.attempts[0].phase, Phase)
        await neto.add_customer_log({"Notes": "a"})
    except InvalidRecordError as error:
        assert_type(error.outcome, Invalid)
        print(error.errors, error.outcome.errors)
    except RejectedError as error:
        assert_type(error.fate, Rejected)
        assert_type(error.outcome.messages, tuple[str, ...])
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except NotSentError as error:
        assert_type(error.outcome, NotSent)
        assert_type(error.fate.cause, NotSentCause)
    except OutcomeUnknownError as error:
        assert_type(error.outcome, Unknown)
        assert_type(error.outcome.evidence, Evidence)
    except NetoError as error:
        assert_type(error.outcome, Outcome | None)
        print(error.safe_to_resend)


async def many(neto: AsyncNetoClient) -> None:
    report = await neto.add_customer_logs([CustomerLog(notes="a"), {"Notes": "b"}, Item({"Notes": "c"}, 17)])
    assert_type(report, BulkReport)
    assert_type(report.added, tuple[Added, ...])
    report.raise_for_problems()

    async def rows() -> AsyncIterator[dict[str, str]]:
        yield {"Notes": "a"}

    async with neto.import_customer_logs(rows(), journal="run.journal", in_doubt="resend") as run:
        async for outcome in run:
            match outcome:
                case Added(log_id=log_id):
                    assert_type(log_id, int)
                case Unknown(reason=reason):
                    print(reason)
                case Rejected() | Invalid() | NotSent():
                    print(outcome.safe_to_resend)
    assert_type(run.progress, ImportProgress)
    async with neto.import_customer_logs(logs(), in_doubt=InDoubt.HOLD, total=3) as run:
        assert_type(await run.finish(), ImportProgress)
    assert_type(neto.statistics(), Statistics)
    assert_type(await neto.flush(), DrainReport)
    assert_type(await neto.aclose(None), DrainReport)


def blocking() -> None:
    with BlockingNetoClient.from_env(timeout=3) as neto:
        assert_type(neto.add_customer_log({"Notes": "a"}, context=1), Added)
        assert_type(neto.add_customer_logs(logs()), BulkReport)
    BlockingNetoClient(lambda: AsyncNetoClient.from_env()).close()


if __name__ == "__main__":
    asyncio.run(many(AsyncNetoClient.from_env()))
