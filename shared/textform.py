"""How an opaque message body becomes text: one rule for `consume`, `log show` and `log export`.

A body that is valid UTF-8 is shown as that text under `body`; any other goes out unchanged as
base64 under `body_base64`. A reader gets the exact bytes back, and can tell which way it was.
"""

from __future__ import annotations

from base64 import b64encode


def body_fields(body: bytes) -> dict[str, str]:
    """{"body": text} if `body` is valid UTF-8, otherwise {"body_base64": text}."""
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(body).decode("ascii")}
