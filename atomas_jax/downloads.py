"""One file over HTTP, whole or not at all, with a bar; every way it can fail is one line."""

import http.client
import urllib.error
import urllib.request

from atomas_jax import progress
from atomas_jax.errors import UserError

TIMEOUT = 30.0
"""Seconds without a byte before a server is given up."""
LONGEST = 1 << 26
"""Bytes of a download at most: what is fetched here has a few megabytes."""
_BLOCK = 1 << 16


def download(url: str, title: str, timeout: float = TIMEOUT) -> bytes:
    """The body of an http(s) address. `title` is shown beside the bar; proxies are taken from the environment.

    Raises `UserError` for an address that is none, no network, a server that refuses, stalls or breaks off, and a body
    over `LONGEST` bytes.
    """
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url} is no http or https address")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            said = answer.headers.get("Content-Length", "")
            total = int(said) if said.isdecimal() else None
            body = _read(answer, total, url, title)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server says {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise UserError(f"{url} cannot be reached: {error.reason}") from None
    except (TimeoutError, ValueError, http.client.HTTPException, OSError) as error:
        raise UserError(f"{url}: the transfer failed: {error or type(error).__name__}") from None
    if total is not None and len(body) < total:
        raise UserError(f"{url}: the transfer broke off after {len(body):,} of {total:,} bytes")
    return body


def _read(answer, total: int | None, url: str, title: str) -> bytes:
    if total is not None and total > LONGEST:
        raise UserError(f"{url}: {total:,} bytes are not the file that is wanted")
    body = bytearray()
    with progress.bar(title, total, "bytes") as bar:
        while block := answer.read(_BLOCK):
            body += block
            bar.advance(len(block))
            if len(body) > LONGEST:
                raise UserError(f"{url}: over {LONGEST:,} bytes are not the file that is wanted")
    return bytes(body)
