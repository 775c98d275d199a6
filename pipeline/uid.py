"""Identifiers of jobs and images: unique, and sortable by the time they were made."""

import secrets
import time


def new_id() -> str:
    """32 hexadecimal digits: 56 bits of microseconds since 1970, then 72 random bits.

    Time-ordered, as UUID version 7 (RFC 9562, 5.7) is, so that database pages fill in order and a
    listing by id is a listing by arrival.
    """
    return f"{time.time_ns() // 1_000:014x}{secrets.token_hex(9)}"
