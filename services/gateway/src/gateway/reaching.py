"""How the services behind are reached."""

import ssl

import httpx
from chassis.transport import Transport

from gateway.settings import GatewaySettings


def create_client(settings: GatewaySettings) -> httpx.AsyncClient:
    """A client that is bounded in everything that can hang."""
    encrypted = any(url.startswith("https:") for url in (settings.auth_url, settings.qa_url, settings.ingest_url))
    # Without certificates it trusts nobody; loading them takes 80 ms and some MB.
    tls = ssl.create_default_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(
        # Kept shorter than the servers keep theirs, or requests go out on connections that are being closed.
        transport=Transport(most=1000, kept=100, kept_seconds=30.0, tls=tls),
        timeout=httpx.Timeout(settings.upstream_seconds, connect=2.0, pool=5.0),
        trust_env=False,
        follow_redirects=False,
    )
