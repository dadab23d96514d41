"""
Print the store's answer as bytes, in the shapes that Neto's replies are known to have.

No recorded reply on customer logs is public: the shapes are those of the vendor's pages (developers.maropost.com, read
2026-11) and of replies to its other calls. May import: reading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from attrs import field, frozen
from attrs.validators import in_

from neto_async.sandbox.reading import Format

__all__ = ["Answer", "Message", "ReplyShape", "print_answer"]


@frozen(kw_only=True)
class Message:
    """One of Neto's messages: the vendor's Message, and the Description that only errors have."""

    text: str = field(repr=False)
    description: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Answer:
    """
    The store's answer to a call, before it is printed in a shape.

    Attributes:
        action: The action that it answers.
        log_ids: Ids of the logs, in the order of the records; for AddCustomerLog.
        customers: Each customer's texts, and logs under CustomerLogs; for GetCustomer.
        errors: Messages of the kind Error.
        warnings: Messages of the kind Warning.
    """

    action: str = "AddCustomerLog"
    log_ids: tuple[int, ...] = ()
    customers: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    errors: tuple[Message, ...] = ()
    warnings: tuple[Message, ...] = ()

    @property
    def ack(self) -> str:
        """The vendor's Ack: Error, Warning or Success."""
        return "Error" if self.errors else "Warning" if self.warnings else "Success"


def _one_of(*words: str) -> Any:
    return field(default=words[0], validator=in_(words))


@frozen(kw_only=True)
class ReplyShape:
    """
    How replies are printed. Each default is what live replies to other calls of the API look like.

    Attributes:
        records: "object" prints a single record as an object and several as a list; "list" always prints a list.
            XML knows no difference.
        customer_logs: How a customer's logs are printed: "wrapped" in an object under CustomerLog, "bare" without one,
            or as a "list" of one such object. In XML the third is the first.
        no_records: What replaces records, and a customer's logs, where there are none. In XML all but "absent" are an
            empty element.
        no_messages: What replaces messages where there are none. In XML all but "absent" are
            ``<Messages />``.
        messages: "object" prints a single error (or warning) as an object and several as a list; "list" always prints
            a list; "wrapped" is a list of objects with one error or warning each (in XML, a ``<Messages>`` for
            each); "text" prints the bare text instead of the message.
        description: Whether errors carry a Description, where they have one.
        severity: "spelt" or "misspelt": "Waring", once, in the vendor's own page.
        xml_root: The root's name; None for the action's name and "Response", as live replies have. The vendor's pages
            print the action's name alone.
        xml_namespace: The root's namespace, None for none.
        ack: "title", "upper" or "lower" case of the word; "absent" leaves it out.
        log_ids: "text" or "number", in JSON.
        current_time: Whether CurrentTime is in the reply.
        extra_warnings: Texts of warnings that every reply carries; they turn a Success into a Warning.
    """

    records: Literal["object", "list"] = _one_of("object", "list")
    customer_logs: Literal["wrapped", "bare", "list"] = _one_of("wrapped", "bare", "list")
    no_records: Literal["absent", "text", "list", "object", "null"] = _one_of(
        "absent", "text", "list", "object", "null"
    )
    no_messages: Literal["absent", "object", "text", "list", "null"] = _one_of(
        "absent", "object", "text", "list", "null"
    )
    messages: Literal["object", "list", "wrapped", "text"] = _one_of("object", "list", "wrapped", "text")
    description: bool = True
    severity: Literal["spelt", "misspelt"] = _one_of("spelt", "misspelt")
    xml_root: str | None = None
    xml_namespace: str | None = None
    ack: Literal["title", "upper", "lower", "absent"] = _one_of("title", "upper", "lower", "absent")
    log_ids: Literal["text", "number"] = _one_of("text", "number")
    current_time: bool = True
    extra_warnings: tuple[str, ...] = field(default=(), repr=False)


_NOTHING: dict[str, Any] = {"text": "", "list": [], "object": {}, "null": None}


def print_answer(answer: Answer, shape: ReplyShape, wire_format: Format, now: datetime) -> bytes:
    """Print an answer in a shape and a format, in UTF-8."""
    envelope = _envelope(answer, shape, now)
    return json.dumps(envelope).encode() if wire_format == "json" else _xml(envelope, shape, answer.action)


def _envelope(answer: Answer, shape: ReplyShape, now: datetime) -> dict[str, Any]:
    envelope: dict[str, Any] = {}
    name, records = _records(answer, shape)
    if records:
        envelope[name] = _one_or_many(records, shape)
    elif name and shape.no_records != "absent":
        envelope[name] = _NOTHING[shape.no_records]
    if shape.current_time:
        envelope["CurrentTime"] = now.strftime("%Y-%m-%d %H:%M:%S")
    if shape.ack != "absent":
        envelope["Ack"] = getattr(answer.ack, shape.ack)()
    if messages := _messages(answer, shape):
        envelope["Messages"] = messages
    elif shape.no_messages != "absent":
        envelope["Messages"] = _NOTHING[shape.no_messages]
    return envelope


def _records(answer: Answer, shape: ReplyShape) -> tuple[str, list[Any]]:
    """Give the records and the name of their element; an update has none."""
    if answer.action == "GetCustomer":
        return "Customer", [_customer(customer, shape) for customer in answer.customers]
    ids: list[Any] = [{"LogID": str(log_id) if shape.log_ids == "text" else log_id} for log_id in answer.log_ids]
    return "" if answer.action == "UpdateCustomerLog" else "CustomerLog", ids


def _customer(customer: Mapping[str, Any], shape: ReplyShape) -> dict[str, Any]:
    printed = {name: value for name, value in customer.items() if name != "CustomerLogs"}
    logs = customer.get("CustomerLogs")
    if logs:
        logs = _one_or_many(logs, shape)
        wrapped = logs if shape.customer_logs == "bare" else {"CustomerLog": logs}
        printed["CustomerLogs"] = [wrapped] if shape.customer_logs == "list" else wrapped
    elif logs is not None and shape.no_records != "absent":
        printed["CustomerLogs"] = _NOTHING[shape.no_records]
    return printed


def _one_or_many(records: list[Any], shape: ReplyShape) -> Any:
    return records[0] if len(records) == 1 and shape.records == "object" else records


def _messages(answer: Answer, shape: ReplyShape) -> Any:
    warning = "Warning" if shape.severity == "spelt" else "Waring"
    kinds = {
        "Error": [_message(message, "Error", shape) for message in answer.errors],
        "Warning": [_message(message, warning, shape) for message in answer.warnings],
    }
    if shape.messages == "wrapped":
        return [{kind: message} for kind, messages in kinds.items() for message in messages]
    return {
        kind: messages[0] if len(messages) == 1 and shape.messages != "list" else messages
        for kind, messages in kinds.items()
        if messages
    }


def _message(message: Message, severity: str, shape: ReplyShape) -> Any:
    if shape.messages == "text":
        return message.text
    printed = {"Message": message.text, "SeverityCode": severity}
    if message.description is not None and shape.description:
        printed["Description"] = message.description
    return printed


def _xml(envelope: dict[str, Any], shape: ReplyShape, action: str) -> bytes:
    root = shape.xml_root or f"{action}Response"
    namespace = f" xmlns={quoteattr(shape.xml_namespace)}" if shape.xml_namespace else ""
    inner = "".join(_element(name, value) for name, value in envelope.items())
    return f'<?xml version="1.0" encoding="utf-8"?>\n<{root}{namespace}>{inner}</{root}>'.encode()


def _element(name: str, value: Any) -> str:
    if isinstance(value, list) and value:
        return "".join(_element(name, item) for item in value)
    if isinstance(value, dict) and value:
        return f"<{name}>{''.join(_element(inner, item) for inner, item in value.items())}</{name}>"
    return f"<{name}>{escape(str(value))}</{name}>" if value else f"<{name} />"
