"""Connections that a cut network would leave hanging are given up, on both ends."""

import os
import socket
from contextlib import ExitStack

from pipeline import db
from tests.faults.servers import Postgres
from tests.stand_in import databases


def test_a_call_without_an_answer_from_the_network_is_given_up() -> None:
    with databases.open_folder() as folder, ExitStack() as stack:
        server = Postgres(folder / "server")
        stack.callback(server.kill)
        server.start()
        engine = db.open_engine(server.database("silence"))
        stack.callback(engine.dispose)
        with engine.connect() as connection:
            told = connection.exec_driver_sql("SHOW tcp_user_timeout").scalar_one()
            assert told == str(db.SILENCE_S * 1000), "the server's end"
            ours = connection.connection.driver_connection
            assert ours is not None
            with socket.socket(fileno=os.dup(ours.fileno())) as end:
                limit_ms = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit_ms == db.SILENCE_S * 1000, "our end"
