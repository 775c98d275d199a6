"""Several hosts on one network, each a container that runs several services of compose.

What may happen to a cable or to a firewall happens here in silence: packets are dropped, nothing
is refused, and nobody is told. So connections hang, as they do between real hosts.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.integration.infra.containers import Containers, Image

USER = "10001:10001"
NOBODY = "02:00:00:00:00:01"
"""A hardware address that no port has: what is sent there arrives nowhere."""


class Hosts(Containers):
    """Each host has a network, a hostname, process ids and data of its own."""

    def __init__(
        self,
        hosts: Mapping[str, Sequence[str]],
        services: Mapping[str, dict[str, Any]],
        images: Mapping[str, Image],
        folder: Path,
    ) -> None:
        """`hosts`: host -> the services whose names and volumes it has. Nothing is started yet."""
        self._homes = hosts
        everything = Image(
            [path for image in images.values() for path in image.path],
            {},
            files={at: file for i in images.values() for at, file in (i.files or {}).items()},
        )
        config = {name: {**service, "user": USER} for name, service in services.items()}
        for host, names in hosts.items():
            volumes = [v for name in names for v in services[name].get("volumes", ())]
            sleeps = {"image": "host:none", "user": USER, "command": ["sleep", "infinity"]}
            place = {"hostname": host, "volumes": volumes, "tmpfs": ["/tmp:mode=1777"]}
            config[host] = {**sleeps, **place}
        super().__init__({"services": config}, {**images, "host": everything}, folder)
        self.programs: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._muted: list[tuple[str, str]] = []

    def __enter__(self) -> "Hosts":
        """Start all hosts; a host answers to the names of its services, each with an address."""
        super().__enter__()
        try:
            self.up(*self._homes)
            for host, names in self._homes.items():
                for name in names:
                    address = ("address", "add", f"{self.address(name)}/24", "dev")
                    self._ip(host, *address, self._port(host))
            for host in self._homes:
                for name in self._homes:
                    self._know(host, name)
                # Rules that drop come before the one that delivers, which is the first as a rule.
                self._ip(host, "rule", "add", "preference", "10", "lookup", "local")
                self._ip(host, "rule", "del", "preference", "0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End all hosts and with them their programs, then take the network away."""
        for program in self.programs.values():
            program.kill()  # nsenter, which fell asleep itself where its program did
            program.wait()
        super().__exit__()

    def run(self, host: str, service: str, command: Sequence[str] = (), **env: str) -> None:
        """Start a service of compose on a host: its command, or another in its place."""
        given = self.services[service]
        entry = given.get("entrypoint") or self._image(service).entrypoint
        words = [word.replace("$$", "$") for word in command or (*entry, *given["command"])]
        variables = [f"{key}={value}" for key, value in env.items()]
        log_path = self._folder / f"{host}.{service}.log"
        with log_path.open("ab") as log:
            self.programs[host, service] = subprocess.Popen(
                [*self._inside(host), *self._as_user(service), *variables, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, host: str, service: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command to its end beside a service; returns the exit code and what it wrote."""
        words = [*self._inside(host), *self._as_user(service), *command]
        said = subprocess.run(words, capture_output=True, text=True, timeout=600)
        return said.returncode, said.stdout + said.stderr

    def said(self, host: str, service: str) -> str:
        """Everything that a service wrote on a host."""
        return (self._folder / f"{host}.{service}.log").read_text(errors="replace")

    def process(self, host: str, service: str) -> psutil.Process:
        """The main process of a service, by its number out here."""
        (inside,) = psutil.Process(self.programs[host, service].pid).children()
        return inside

    def unheard(self, host: str, port: int) -> set[str]:
        """Connections of a host to such a port, or tries at one, that nobody acknowledges."""
        # https://docs.kernel.org/networking/proc_net_tcp.html: addresses are hexadecimal.
        table = Path(f"/proc/{self._first_process(host)}/net/tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in table]
        made, tried = "01", "02"
        return {
            local
            for _, local, remote, state, queues, *_ in rows
            if remote.endswith(f":{port:04X}") and state in (made, tried) and int(queues[:8], 16)
        }

    def unplug(self, host: str) -> None:
        """Cut a host off: its cable leads nowhere, which neither end of it can see."""
        self._bridge("link", "set", f"b{self._number(host)}", "nomaster")

    def plug(self, host: str) -> None:
        """Let a host back in."""
        self._bridge("link", "set", f"b{self._number(host)}", "master", "br0")

    def mute(self, host: str, service: str) -> None:
        """Nothing passes between a host and one service; all other services it reaches."""
        self._neighbour(host, service, NOBODY)
        self._ip(host, "rule", "add", *self._swallow(host, service))
        self._muted.append((host, service))

    def heal(self) -> None:
        """Let everything through again."""
        while self._muted:
            host, service = self._muted.pop()
            self._ip(host, "rule", "del", *self._swallow(host, service))
            (home,) = (name for name, services in self._homes.items() if service in services)
            self._neighbour(host, service, self._hardware(home))
        for host in self._homes:
            self.plug(host)

    def _swallow(self, host: str, service: str) -> tuple[str, ...]:
        """A rule that drops what comes in from a service, before anybody here sees it."""
        source = ("from", self.address(service), "iif", self._port(host))
        return ("preference", "5", *source, "blackhole")

    def _know(self, host: str, other: str) -> None:
        # Routers stand between real hosts: there, too, no failed ARP request tells a client at
        # once that a server is away.
        if host != other:
            for name in (other, *self._homes[other]):
                self._neighbour(host, name, self._hardware(other))

    def _neighbour(self, host: str, name: str, hardware: str) -> None:
        where = (self.address(name), "lladdr", hardware, "dev", self._port(host))
        self._ip(host, "neigh", "replace", *where, "nud", "permanent")

    def _hardware(self, host: str) -> str:
        shown = self._ip(host, "-json", "link", "show", "dev", self._port(host))
        return str(json.loads(shown)[0]["address"])

    def _ip(self, host: str, *words: str) -> bytes:
        return _run("ip", "-n", self._space(host), *words)

    def _bridge(self, *words: str) -> None:
        _run("ip", "-n", self._tag, *words)

    def _number(self, host: str) -> str:
        return self.address(host).rpartition(".")[2]

    def _port(self, host: str) -> str:
        return f"{self._tag}-{self._number(host)}"

    def _inside(self, host: str) -> list[str]:
        into = ("--net", "--mount", "--pid", "--uts", "--root", "--wd")
        # Should the tests be killed, nothing that they started stays.
        outside = ("setpriv", "--pdeathsig=KILL", "nsenter")
        return [*outside, f"--target={self._first_process(host)}", *into]


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout
