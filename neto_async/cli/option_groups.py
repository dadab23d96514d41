"""Options under headings in ``--help``, which click itself does not have. May import: nothing of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["GroupedCommand", "option", "together"]


class _GroupedOption(click.Option):
    def __init__(self, *arguments: Any, heading: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.heading = heading


class GroupedCommand(click.Command):
    """A command whose help lists its options under their headings, in the order in which they were declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        headings: dict[str, list[tuple[str, str]]] = {}
        declared = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        for one in sorted(declared, key=lambda one: not isinstance(one, _GroupedOption)):  # click's own --help last
            headings.setdefault(getattr(one, "heading", "Help"), []).append(one.get_help_record(ctx) or ("", ""))
        for heading, options in headings.items():
            with formatter.section(heading):
                formatter.write_dl(options)


def option(heading: str, *names: str, **more: Any) -> Callable[[Any], Any]:
    """Declare an option under a heading."""
    return click.option(*names, cls=_GroupedOption, heading=heading, **more)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give several declarations as one, for commands that share them."""

    def declare(command: Any) -> Any:
        for one in reversed(options):
            command = one(command)
        return command

    return declare
