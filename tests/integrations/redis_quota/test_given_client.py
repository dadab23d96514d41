"""A quota on a client of the program's own."""

from __future__ import annotations

import pytest

from neto_async.integrations.redis import RedisQuota


class Pool:
    """Connections that nobody but their owner may close."""

    closings = 0

    async def disconnect(self) -> None:
        self.closings += 1


class Away:
    """A client whose server can't be reached."""

    def __init__(self):
        self.connection_pool = Pool()

    def register_script(self, _text):
        async def step(**_):
            raise ConnectionError

        return step


@pytest.mark.usefixtures("caplog")
async def test_a_failure_leaves_the_connections_of_a_given_client():
    """Where the server is away the quota closes what is its own, and nothing else."""
    client = Away()
    quota = RedisQuota(client, calls_per_minute=60)
    quota.attach(lambda: None, store_url="http://127.0.0.1", timeout=1.0)
    await quota._step()
    assert "quota server" == quota.waiting_on
    await quota.aclose()
    assert 0 == client.connection_pool.closings
