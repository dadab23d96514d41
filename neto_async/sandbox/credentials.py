"""The credentials that the store accepts. May import: reading."""

from __future__ import annotations

from attrs import define, field

from neto_async.sandbox.reading import SandboxRequest

__all__ = ["Credentials"]


@define(kw_only=True)
class Credentials:
    """
    The ways to log in; any one of them is enough. They can be changed while the store runs, as by a token that expires.

    Attributes:
        username: The user name that belongs to the key, None for the store's global key.
        api_key: The key.
        access_key: An approved add-on's ``X_ACCESS_KEY``, None for no add-on.
        secret_key: The ``X_SECRET_KEY`` that belongs to it.
        bearer_token: A token for ``Authorization: Bearer``, None for none.
    """

    username: str | None
    api_key: str = field(repr=False)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)

    def allow(self, request: SandboxRequest) -> bool:
        """Say whether a call has one of them, whole."""
        name_is_right = self.username is None or request.username == self.username
        has_key = name_is_right and request.api_key == self.api_key
        addon = (request.access_key, request.secret_key)
        has_addon = None not in addon and addon == (self.access_key, self.secret_key)
        has_token = self.bearer_token is not None and request.authorization == f"Bearer {self.bearer_token}"
        return has_key or has_addon or has_token
