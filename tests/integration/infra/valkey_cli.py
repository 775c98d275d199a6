#!/usr/bin/env python
"""`valkey-cli`, for wheels that bring the server only."""

import os
import sys

from redis import Redis

client = Redis(password=os.environ["VALKEYCLI_AUTH"], socket_timeout=2)
answer = client.execute_command(*sys.argv[1:])
print("PONG" if sys.argv[1:] == ["ping"] else answer)
