"""What a user may write by mistake: mypy strict and pyright each refuse every line that is marked, and no other."""

from __future__ import annotations

from neto_async import (
    AddOnKeys,
    AsyncNetoClient,
    BearerToken,
    BlockingNetoClient,
    CustomerLog,
    NotSentError,
    Outcome,
    RejectedError,
)


async def mistakes(neto: AsyncNetoClient) -> None:
    AsyncNetoClient.from_env(timout=3)  # refused
    AsyncNetoClient.from_env(timeout="3")  # refused
    AsyncNetoClient("https://www.yournetosite.com.au")  # refused
    AsyncNetoClient("https://www.yournetosite.com.au", "key")  # refused
    AsyncNetoClient.from_env(api_key=len)  # refused
    AddOnKeys(access_key="a")  # refused
    AddOnKeys(access_key=lambda: "a", secret_key="b")  # refused
    BearerToken(len)  # refused
    BearerToken("a", "/stores/1")  # refused
    AsyncNetoClient.from_env(http_client=object())  # refused
    AsyncNetoClient.from_env(quota=500)  # refused
    AsyncNetoClient.from_env(on_unawaited="print")  # refused
    BlockingNetoClient.from_env(timout=3)  # refused
    BlockingNetoClient(neto)  # refused
    CustomerLog(notes=3)  # refused
    CustomerLog(note="a")  # refused
    CustomerLog("a")  # refused
    CustomerLog(status=3)  # refused
    CustomerLog(last_contacted="2026-11-05")  # refused
    await neto.add_customer_log("a")  # refused
    await neto.add_customer_log({"Notes": "a"}, 17)  # refused
    await neto.add_customer_log({"Notes": "a"}, give_up_after="5")  # refused
    await neto.add_customer_logs(CustomerLog(notes="a"))  # refused
    neto.import_customer_logs([], journal=3)  # refused
    await neto.aclose("3")  # refused
    neto.store_url = "https://b.example"  # refused


def outcomes(outcome: Outcome) -> None:
    print(outcome.log_id)  # refused
    outcome.index = 3  # refused
    try:
        print(outcome.safe_to_resend)
    except RejectedError as error:
        print(error.outcome.cause)  # refused
        print(error.fate.log_id)  # refused
    except NotSentError as error:
        print(error.outcome.messages)  # refused
