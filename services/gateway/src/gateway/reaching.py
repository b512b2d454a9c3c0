"""How the services behind are reached."""

import httpx
from chassis.tls import tls_for

from gateway.settings import GatewaySettings


def create_client(settings: GatewaySettings) -> httpx.AsyncClient:
    """A client that is bounded in everything that can hang."""
    return httpx.AsyncClient(
        verify=tls_for(settings.auth_url, settings.qa_url, settings.ingest_url),
        timeout=httpx.Timeout(settings.upstream_seconds, connect=2.0, pool=5.0),
        # Shorter than the servers keep theirs, or requests go out on connections that are being closed.
        limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=30.0),
        trust_env=False,
        follow_redirects=False,
    )
