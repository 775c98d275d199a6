"""Flower behind a login and read-only: it shows the queues, it commands nobody.

`FLOWER_BASIC_AUTH=user:password` is wanted (several with commas), or `FLOWER_AUTH` with the
variables of an OAuth provider; without one of them it does not start. Every other option has a
variable `FLOWER_…` too, but those below are not to be changed from outside.
"""

import os
import sys

from pipeline.settings import PLACEHOLDER

_users = os.environ.get("FLOWER_BASIC_AUTH", "")

if not _users and not os.environ.get("FLOWER_AUTH"):
    sys.exit("error: set FLOWER_BASIC_AUTH to user:password; Flower is not started without a login")
if PLACEHOLDER in _users.lower():
    sys.exit(f"error: FLOWER_BASIC_AUTH still says {PLACEHOLDER}; put a password of your own there")
if _users and not all(all(user.partition(":")[::2]) for user in _users.split(",")):
    sys.exit("error: FLOWER_BASIC_AUTH is not user:password")

# Looking only: no shutdown, no revoking, no sending, whoever asks.
read_only = True

# The oldest are forgotten first; without a bound its memory grows with every message.
max_tasks = 20_000
max_workers = 1_000

# What a restart forgets is in the database and in Prometheus; a state file would only grow.
persistent = False

# Containers that were replaced leave the list after five minutes.
purge_offline_workers = 300

# Arguments are never shown: each message says itself how many images it names.
tasks_columns = "name,args,uuid,state,received,runtime,worker"
