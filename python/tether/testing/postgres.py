"""A real PostgreSQL server for tests, started from the machine's own binaries in a folder of its own.

One server serves a whole test session, with a database for each test. It can be stopped, killed, restarted and frozen,
so that tests see what a store does then. As root the server runs as user `postgres`, since it refuses to run as root.
Source: postgresql.org/docs/15/app-pg-ctl.html.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

_BINARIES = "/usr/lib/postgresql"
_USER = "postgres"
_SHARED = "shared"
_START_S = 60  # on a machine whose cores are taken
_SETTINGS = (
    "max_connections = 200",
    "shared_buffers = 64MB",
    "fsync = on",  # tests kill the server and count what was acknowledged
    "synchronous_commit = on",
    "logging_collector = off",
    "wal_level = replica",
    "max_wal_senders = 4",
    "max_wal_size = 256MB",
    "autovacuum = on",
)


def binaries() -> Path | None:
    """Folder of the newest installed server's programs, or None where there is no server."""
    folders = sorted(Path(_BINARIES).glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


class PostgresServer:
    """A server in a folder of its own.

    Args:
        folder: where its data lies; short, since a socket's path is bounded. None makes one, and `close` removes it.
        port: of its listener; 0 for any free one.

    Raises:
        FileNotFoundError: no server is installed.
    """

    def __init__(self, folder: Path | None = None, port: int = 0) -> None:
        found = binaries()
        if found is None:
            raise FileNotFoundError("PostgreSQL is not installed: Debian's package is `postgresql`")
        self._binaries = found
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tether-pg-", dir="/tmp"))
        self.port = port or _free_port()
        self._data = self.folder / "data"
        self._lock = threading.Lock()
        self._has_shared = False

    def start(self) -> "PostgresServer":
        """Create its data where there is none, start it and wait until it serves.

        Raises:
            RuntimeError: it does not start; says why.
        """
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self._control("start")
        return self

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it.

        Args:
            mode: `smart`, `fast` (connections are told) or `immediate` (as a crash: it recovers from its log).
        """
        self._control("restart", "-m", mode)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `start` brings it back."""
        if self.pid is not None:
            self._control("stop", "-m", mode)

    def kill9(self) -> None:
        """Kill the postmaster and all its children, as a power cut would; `start` brings it back."""
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # or it would make new ones of those that die before it
        for one in (killed := (pid, *_children(pid))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        for one in killed:
            _await_gone(one, collected=one == pid)

    def freeze(self) -> None:
        """Stop it in its tracks: it neither answers nor closes."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def drop_connections(self, database: str) -> int:
        """End all connections to a database; returns how many there were."""
        query = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608 - a test's own name
        return int(self.sql(query))

    def create_database(self, name: str = "") -> str:
        """Make an empty database; returns its address, `postgresql://…`."""
        chosen = name or f"t{secrets.token_hex(6)}"
        self.sql(f'CREATE DATABASE "{chosen}"')
        return self.url(chosen)

    def create_schema(self) -> str:
        """Make an empty schema in a database that tests share; returns its address, `postgresql://…`."""
        if not self._has_shared:
            self.create_database(_SHARED)
            self._has_shared = True
        name = f"s{secrets.token_hex(6)}"
        self.sql(f"CREATE SCHEMA {name}", _SHARED)
        return f"{self.url(_SHARED)}?search_path={name}"

    def drop_database(self, name: str) -> None:
        """Remove a database with whatever is connected to it."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, database: str) -> str:
        """Address of a database, over loopback."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """Address of a database, over the Unix socket."""
        return f"postgresql://{_USER}@/{database}?host={self.folder}&port={self.port}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with `psql`; returns its output, unaligned."""
        where = ("-h", str(self.folder), "-p", str(self.port), "-U", _USER, "-d", database)
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, "-c", statement).strip()

    def replica(self, folder: Path | None = None) -> "PostgresServer":
        """A streaming replica of this server, started; the caller closes it."""
        other = PostgresServer(folder)
        _give(other.folder)
        where = ("-h", str(self.folder), "-p", str(self.port), "-U", _USER)
        self._run("pg_basebackup", *where, "-D", str(other._data), "-X", "stream", "-R", "-c", "fast")
        other._configure()
        return other.start()

    @property
    def pid(self) -> int | None:
        """The postmaster's process, or None while it does not run."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        return pid if _runs(pid) else None

    def close(self) -> None:
        """Stop it, and remove its folder where it made one; idempotent."""
        pid = self.pid
        if pid is not None:
            self.thaw()
            self.stop("immediate")
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self) -> None:
        _give(self.folder)
        self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self._configure()

    def _configure(self) -> None:
        own = (
            f"port = {self.port}",
            "listen_addresses = '127.0.0.1'",
            f"unix_socket_directories = '{self.folder}'",
            *_SETTINGS,
        )
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n" + "\n".join(own) + "\n")

    def _control(self, *verb: str) -> None:
        with self._lock:
            log = str(self.folder / "log")
            self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", str(_START_S), "-s", *verb)

    def _signal(self, number: int) -> None:
        pid = self.pid
        if pid is not None:
            for one in (pid, *_children(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one, number)

    def _run(self, program: str, *arguments: str) -> str:
        user = () if program == "psql" else _as_user()
        command = [*user, str(self._binaries / program), *arguments]
        done = subprocess.run(  # noqa: S603 - programs of the installed server, arguments of tests
            command, capture_output=True, text=True, timeout=_START_S + 30, check=False, cwd="/", env=_environment()
        )
        if done.returncode != 0:
            log = self.folder / "log"
            tail = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed: {done.stderr or done.stdout}{tail}")
        return done.stdout


@contextlib.contextmanager
def database_of(server: PostgresServer) -> Iterator[str]:
    """A fresh database's address; the database goes at the end."""
    url = server.create_database()
    try:
        yield url
    finally:
        server.drop_database(url.rsplit("/", 1)[1])


def _as_user() -> Sequence[str]:
    return ("runuser", "-u", _USER, "--") if os.geteuid() == 0 else ()


def _give(folder: Path) -> None:
    """Let the server's user own its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


def _runs(pid: int) -> bool:
    """Whether a process lives; a dead one that nobody collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def _await_gone(pid: int, timeout_s: float = 10.0, *, collected: bool = True) -> None:
    waited = threading.Event()
    for _ in range(round(timeout_s / 0.01)):
        if not Path(f"/proc/{pid}").exists():  # until it is collected, its lock holds off the next one
            return
        if not collected and not _runs(pid):
            return
        waited.wait(0.01)
    if not _runs(pid):
        return
    raise RuntimeError(f"process {pid} does not die")
