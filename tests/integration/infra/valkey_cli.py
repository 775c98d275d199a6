#!/usr/bin/env python
"""`valkey-cli ping`, for wheels that bring the server only."""

import os

from redis import Redis

print("PONG" if Redis(password=os.environ["VALKEYCLI_AUTH"], socket_timeout=2).ping() else "")
