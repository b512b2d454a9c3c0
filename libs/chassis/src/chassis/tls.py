"""Whom an HTTP client trusts."""

import ssl


def tls_for(*urls: str) -> ssl.SSLContext:
    """For a client that only asks these addresses.

    Where none of them is `https:` it trusts nobody: loading certificates takes 80 ms and some MB.
    """
    if any(url.startswith("https:") for url in urls):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
