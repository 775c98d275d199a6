"""A few of Docker's promises, kept by the kernel alone, so that compose's commands run as written.

No Docker engine runs where this is tested. So each service gets what its container would have: a
network namespace on a bridge of its own, the names of the others (in /etc/hosts, and by DNS those
that run), a host name that changes with each container unless compose sets one, a root file system
that it can't write to (but for its volumes and tmpfs), the user, the environment and no capability
but those that compose names. What is missing: the images themselves (this machine's programs are
there instead), limits of memory and CPU, and that `internal` networks reach nobody outside: here
no network does.
"""

import os
import random
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.servers import PATIENCE, wait_until
from tests.integration.infra.compose import ROOT, seconds, words
from tests.integration.infra.name_server import NameServer

PROGRAMS = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
"""What the stand-ins of the images are made of."""
RETRY_S = 120.0


@dataclass(frozen=True, slots=True)
class Image:
    """What stands in for an image: folders of its programs, its variables, its entrypoint."""

    path: Sequence[Path]
    env: Mapping[str, str]
    entrypoint: Sequence[str] = ()
    files: Mapping[str, Path] | None = None
    """Where in the container -> what is there."""


class Containers:
    """The services of a compose file as it says after interpolation."""

    def __init__(self, config: dict[str, Any], images: Mapping[str, Image], folder: Path) -> None:
        """Nothing is started yet. `images`: by repository, without the tag."""
        self.services: dict[str, dict[str, Any]] = config["services"]
        self._images = images
        self._folder = folder
        self._tag = f"xt{uuid.uuid4().hex[:6]}"
        self._net = f"10.213.{random.randrange(256)}"
        self._addresses = {
            name: f"{self._net}.{number}" for number, name in enumerate(self.services, start=10)
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._volumes: set[str] = set()

    def __enter__(self) -> "Containers":
        """Make the network: a bridge in a namespace of its own, and our own end of it."""
        _run("ip", "netns", "add", self._tag)
        _run("ip", "-n", self._tag, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self._tag, "link", "set", "br0", "up")
        self._plug(None, f"{self._net}.1")
        self._names = NameServer(f"{self._net}.1", self._running)
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever runs and take the network away."""
        self._names.close()
        for process in self.processes.values():
            process.kill()
            process.wait()
        for name in self.processes:
            wait_until(lambda name=name: not self._inmates(name), f"nothing of {name} stays")  # type: ignore[misc]
        for name in (*self.processes, None):
            subprocess.run(["ip", "netns", "del", self._space(name)], capture_output=True)

    def address(self, service: str) -> str:
        """The IP address of a service; from here, too."""
        return self._addresses[service]

    def up(self, *services: str) -> None:
        """Start these and what they depend on, each when the conditions of compose are met.

        What has ended is started again, as compose does it.
        """
        self._up(services, set())

    def _up(self, services: Iterable[str], met: set[str]) -> None:
        for name in services:
            if name in met:
                continue
            met.add(name)
            for needed, how in self.services[name].get("depends_on", {}).items():
                self._up([needed], met)
                self._await(needed, how["condition"])
            if name not in self.processes:
                self._start(name)
            elif self.processes[name].poll() is not None:
                self._enter(name)

    def restart(self, service: str) -> None:
        """Start a stopped service again, in the same network and on the same volumes."""
        self._enter(service)

    def log(self, service: str) -> str:
        """Everything that a service wrote."""
        return (self._folder / f"{service}.log").read_text()

    def is_healthy(self, service: str) -> bool:
        """Run the health check as compose has it, inside the container."""
        test: list[str] = self.services[service]["healthcheck"]["test"]
        return self.execute(service, words(test)) == 0

    def execute(self, service: str, command: Sequence[str]) -> int:
        """Run a command beside the service, as its user; returns the exit code."""
        if self._first_process(service) is None:
            return 1
        beside = [*self.beside(service), *command]
        return subprocess.run(beside, capture_output=True, timeout=60 * PATIENCE).returncode

    def beside(self, service: str) -> list[str]:
        """The words before a command that runs beside a service, as its user."""
        target = f"--target={self._first_process(service)}"
        inside = ["nsenter", target, "--net", "--mount", "--pid", "--root", "--wd"]
        return [*inside, *self._as_user(service)]

    def anew(self, service: str, command: Sequence[str]) -> list[str]:
        """The words that run a command in a new container of a service, on its volumes."""
        return self._container(f"{service}.run", service, command)

    def stop(self, service: str) -> int:
        """SIGTERM as `docker compose stop` sends it; returns the exit code."""
        process = self.processes[service]
        pid = self._first_process(service)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        return process.wait(seconds(self.services[service].get("stop_grace_period", "10s")))

    def _await(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            code = self.processes[name].wait(RETRY_S)
            assert code == 0, f"{name} exited with {code}: {self.log(name)}"
            return
        assert condition == "service_healthy"

        def healthy() -> bool:
            assert self.processes[name].poll() is None, f"{name} ended: {self.log(name)}"
            return self.is_healthy(name)

        wait_until(healthy, f"{name} is healthy", RETRY_S)

    def _start(self, name: str) -> None:
        _run("ip", "netns", "add", self._space(name))
        _run("ip", "-n", self._space(name), "link", "set", "lo", "up")
        if self.services[name].get("network_mode") != "none":
            self._plug(name, self._addresses[name])
        self._enter(name)

    def _enter(self, name: str) -> None:
        service, image = self.services[name], self._image(name)
        command = [*(service.get("entrypoint") or image.entrypoint), *(service["command"] or ())]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._container(name, name, [word.replace("$$", "$") for word in command]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _container(self, label: str, name: str, command: Sequence[str]) -> list[str]:
        """The words that make a container of a service and run a command in it."""
        (self._folder / f"{label}.fs").mkdir(exist_ok=True)
        script = self._folder / f"{label}.sh"
        script.write_text("\n".join(self._script(name, self._folder / f"{label}.fs", command)))
        # Should these tests be killed, nothing that they started stays.
        enter = ["setpriv", "--pdeathsig=KILL", "nsenter", f"--net=/run/netns/{self._space(name)}"]
        alone = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child"]
        return [*enter, *alone, "sh", str(script)]

    def _running(self, name: str) -> str | None:
        """What DNS says of a name."""
        process = self.processes.get(name)
        runs = process is not None and process.poll() is None
        return self._addresses[name] if runs else None

    def _plug(self, name: str | None, address: str) -> None:
        """A cable from the bridge to a service, or to us."""
        number = address.rpartition(".")[2]
        ours, bridge = f"{self._tag}-{number}", f"b{number}"
        peer = ("peer", "name", bridge, "netns", self._tag)
        _run("ip", "link", "add", ours, "type", "veth", *peer)
        _run("ip", "-n", self._tag, "link", "set", bridge, "master", "br0", "up")
        at: tuple[str, ...] = ()
        if name is not None:
            _run("ip", "link", "set", ours, "netns", self._space(name))
            at = ("-n", self._space(name))
        _run("ip", *at, "address", "add", f"{address}/24", "dev", ours)
        _run("ip", *at, "link", "set", ours, "up")

    def _space(self, name: str | None) -> str:
        return self._tag if name is None else f"{self._tag}-{name}"

    def _script(self, name: str, own: Path, command: Sequence[str]) -> Iterator[str]:
        """Shell lines that make the container's file system and become its program."""
        service, image = self.services[name], self._image(name)
        root = own / "root"
        hostname = service.get("hostname", uuid.uuid4().hex[:12])
        yield f"set -eu; hostname {hostname}; mount --make-rprivate /"
        # The upper layer may not be below the lower one: hence a file system of its own.
        yield f"mount -t tmpfs tmpfs {own}; mkdir {own}/up {own}/work {root}"
        yield (
            f"mount -t overlay overlay -o lowerdir=/,upperdir={own}/up,workdir={own}/work {root}"
        )
        yield f"mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev"
        for folder in {parent for path in PROGRAMS for parent in _closed(path)}:
            yield f"chmod 755 {root}{folder}"  # the user of the container may run what is there
        yield f"echo app:x:{service['user']}::/tmp:/bin/false >> {root}/etc/passwd"
        yield f"echo app:x:{service['user'].partition(':')[2]}: >> {root}/etc/group"
        hosts = "".join(f"{address} {name}\\n" for name, address in self._addresses.items())
        yield f"printf '127.0.0.1 localhost\\n{hosts}' > {root}/etc/hosts"
        yield f"cd {root}/etc; rm -f resolv.conf; echo nameserver {self._net}.1 > resolv.conf"
        for target, source in (image.files or {}).items():
            yield f"install -D -m 555 {source} {root}{target}"
        yield from self._mounts(service, root)
        for path in PROGRAMS:  # also where they lie below a folder that was just covered
            yield f"mkdir -p {root}{path}; mount --bind {path} {root}{path}"
            yield f"mount -o remount,bind,ro {root}{path}"
        if service.get("read_only"):
            yield f"mount -o remount,ro {root}"
        yield f"cd /; exec chroot {root} {shlex.join([*self._as_user(name), *command])}"

    def _mounts(self, service: dict[str, Any], root: Path) -> Iterator[str]:
        for entry in service.get("tmpfs", ()):
            target, _, options = entry.partition(":")
            yield f"mkdir -p {root}{target}"
            yield f"mount -t tmpfs -o {options or 'rw'} tmpfs {root}{target}"
        for volume in service.get("volumes", ()):
            source, target = volume["source"], volume["target"]
            if volume["type"] == "volume":
                source = self._volume(volume["source"], service["user"])
            yield f"mkdir -p {root}{target}; mount --bind {source} {root}{target}"
            if volume.get("read_only"):
                yield f"mount -o remount,bind,ro {root}{target}"

    def _volume(self, name: str, user: str) -> Path:
        """A named volume. A new one belongs to whom the image says: its user, or root."""
        folder = self._folder / f"volume-{name}"
        if name not in self._volumes:
            self._volumes.add(name)
            folder.mkdir()
            uid, gid = map(int, user.split(":"))
            os.chown(folder, uid, gid)
        return folder

    def _as_user(self, name: str) -> list[str]:
        """Become the user of the container, with its variables and no more rights than it has."""
        service, image = self.services[name], self._image(name)
        uid, gid = service["user"].split(":")
        path = os.pathsep.join(map(str, (*image.path, "/usr/bin", "/bin", "/usr/sbin", "/sbin")))
        env = {"PATH": path, **image.env, **(service.get("environment") or {})}
        kept = "".join(f",+{cap.lower()}" for cap in service.get("cap_add", ()))
        return [
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--pdeathsig=KILL"),
            *("--no-new-privs", f"--bounding-set=-all{kept}", f"--inh-caps=-all{kept}"),
            *("env", "-i", *(f"{key}={value}" for key, value in env.items() if value is not None)),
        ]

    def _image(self, name: str) -> Image:
        return self._images[self.services[name]["image"].rpartition(":")[0]]

    def _inmates(self, name: str) -> str:
        """The processes in a service's network."""
        pids = ["ip", "netns", "pids", self._space(name)]
        return subprocess.run(pids, capture_output=True, text=True).stdout

    def _first_process(self, name: str) -> int | None:
        """Process 1 of the container, by its number out here."""
        pid = self.processes[name].pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None


def _closed(path: Path) -> list[Path]:
    return [folder for folder in (path, *path.parents) if not folder.stat().st_mode & 0o001]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
