"""`naiad server`: take runs of many machines, and serve them."""

from __future__ import annotations

import errno
import ipaddress
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from naiad import trash
from naiad.errors import BeingWritten, ContainerProtected, MissingPackage, StorageError
from naiad.places import is_server
from naiad.settings import setting
from naiad.storage.opening import folder, folder_upkeep, locate
from naiad.storage.receiving import Upkeep
from naiad_server import retention

if TYPE_CHECKING:
    from naiad_server.database import Database
    from naiad_server.quotas import Quotas
    from naiad_server.tokens import Tokens

PORT = 8128
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ROLES = ("viewer", "contributor", "owner", "admin")
QUOTAS = ("runs", "fields-per-run", "points-per-day", "content-bytes", "requests-per-second")


@click.group(invoke_without_command=True)
@click.option("--store", "own", type=click.Path(), help="The folder to keep runs in, as `naiad --store`.")
@click.option("--init", is_flag=True, help="Make the store and a token of the role admin, print both, and serve.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port; 0 picks a free one."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 accepts other machines."
)
@click.option("--url", help="Address that users see, if it differs, for example behind a proxy.")
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with the TLS certificate."
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the private key of the TLS certificate.",
)
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="CIDR",
    help="Network of a proxy that ends TLS; headers of other senders are ignored.",
)
@click.option(
    "--insecure-http", is_flag=True, help="Serve other machines without TLS; tokens and data can be read on the way."
)
@click.option("--database", "database", help="Keep runs in PostgreSQL, postgresql://...; allows several replicas.")
@click.option("--objects", help="Where large content goes, with --database: s3://bucket/prefix or file:///folder.")
@click.option(
    "--role", type=click.Choice(["all", "web", "worker"]), default="all", help="Part to run, with --database."
)
@click.pass_context
def server(
    context: click.Context,
    own: str | None,
    init: bool,
    port: int,
    host: str,
    url: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    trusted_proxy: tuple[str, ...],
    insecure_http: bool,
    database: str | None,
    objects: str | None,
    role: str,
) -> None:
    """Take runs of other machines into a store, and serve them until Ctrl-C.

    With --init it makes the store first, and prints a token and the line that others need. With --database and
    --objects, any number of such processes serve the same runs.

    Examples: naiad server --store /data/naiad --init; naiad server --store /data/naiad;
    naiad server --database postgresql://db/naiad --objects s3://bucket/naiad
    """
    named = own or context.obj
    if is_server(named):
        raise click.UsageError(f"--store must name a folder to keep runs in; {named} is the address of a server.")
    place: Any = _database(own, database, objects, role) or (Path(own) if own else context.obj)
    context.obj = place
    if context.invoked_subcommand is not None:
        return
    if role == "worker":
        _work(place)
        return
    _require_folder(place)
    # Before anything is made: an error in the options must leave no store and no token.
    _require_secure(host, tls_cert, tls_key, trusted_proxy, insecure_http)
    is_shared = not (place is None or isinstance(place, Path))
    serve, tokens = _serving(), _tokens(place, is_new=init)
    # The socket is open before the token is printed: its address is in the line that is to be copied.
    listener = _listen(host, port)
    address = url or _address(host, listener.getsockname()[1], is_tls=tls_cert is not None)
    lines = _first_token(tokens, address, None if is_shared else folder(place)) if init else []
    is_open = host not in LOOPBACK and tls_cert is None and not trusted_proxy
    if is_open:
        lines.insert(0, "--insecure-http: tokens and data cross the network as plain text, readable to all between.")
    lines.insert(0, f"naiad server: {place if is_shared else locate(place)} at {address}")
    # On this machine alone, other names in `Host` mean a page of another site that was rebound to 127.0.0.1. A server
    # of a network is known by any name.
    hosts = frozenset({*LOOPBACK, "[::1]"}) if host in LOOPBACK and url is None else None
    serve(
        place if is_shared else folder(place),
        tokens,
        listener,
        hosts,
        address.rstrip("/"),
        partial(click.echo, "\n".join(lines)),
        certificate=tls_cert,
        key=tls_key,
        proxies=trusted_proxy,
    )


@server.group()
def token() -> None:
    """Make, list and end the tokens of a server.

    Example: naiad server --store /data/naiad token list
    """


@token.command("add")
@click.argument("principal")
@click.option("--role", type=click.Choice(ROLES), default="contributor", show_default=True)
@click.option("--project", help="Only for this project; by default for all.")
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    help="Days until it expires; by default it is valid until revoked.",
)
@click.pass_obj
def add(place: Any, principal: str, role: str, project: str | None, days: float | None) -> None:
    """Make a token for PRINCIPAL, a person or program, and print it. It cannot be shown again.

    Example: naiad server --store /data/naiad token add ana --role contributor --project digits --days 90
    """
    tokens = _tokens(place)
    _token, text = tokens.add(principal, role, project, days)
    click.echo(text)


@token.command("list")
@click.pass_obj
def list_(place: Any) -> None:
    """List the tokens: id, principal, role, project, last use, end, and whether it was revoked.

    Example: naiad server --store /data/naiad token list
    """
    tokens = _tokens(place)
    from naiad_server.tokens import as_date

    for each in tokens.all():
        state = "revoked" if each.is_revoked else "" if each.is_valid else "expired"
        click.echo(
            "\t".join(
                (each.id, each.principal, each.role, each.project or "*", each.last_used, as_date(each.expires), state)
            )
        )


@token.command("revoke")
@click.argument("name", metavar="ID")
@click.pass_obj
def revoke(place: Any, name: str) -> None:
    """End the token with an ID, within 5 seconds also for a server that runs.

    Example: naiad server --store /data/naiad token revoke ab12cd34
    """
    tokens = _tokens(place)
    if not tokens.revoke(name):
        raise click.ClickException(f"There is no token {name!r}. List them with: naiad server token list")


@server.group()
def member() -> None:
    """Give roles to people that a trusted proxy names (OIDC): users, groups, or all.

    Example: naiad server --store /data/naiad member set ana@example.org --role contributor
    """


@member.command("set")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True)
@click.option("--project", help="Only for this project; by default for all.")
@click.pass_obj
def set_member(place: Any, name: str, role: str, project: str | None) -> None:
    """Give NAME a role: a user as the proxy names it, group:GROUP, or * for all that the proxy lets in.

    A user's own role comes before those of their groups. It counts within 5 seconds.

    Example: naiad server --store /data/naiad member set ana@example.org --role contributor
    """
    tokens = _tokens(place)
    tokens.set_member(name, role, project)


@member.command("remove")
@click.argument("name")
@click.pass_obj
def remove_member(place: Any, name: str) -> None:
    """Take the role of NAME away, within 5 seconds also for a server that runs.

    Example: naiad server --store /data/naiad member remove ana@example.org
    """
    tokens = _tokens(place)
    if not tokens.remove_member(name):
        raise click.ClickException(f"There is no member {name!r}. List them with: naiad server member list")


@member.command("list")
@click.pass_obj
def list_members(place: Any) -> None:
    """List the members: name, role and project.

    Example: naiad server --store /data/naiad member list
    """
    tokens = _tokens(place)
    for each in tokens.members():
        click.echo(f"{each.name}\t{each.role}\t{each.project or '*'}")


@server.group()
def quota() -> None:
    """Limit the runs, points and files of projects, and the requests of tokens.

    Example: naiad server --store /data/naiad quota set points-per-day 1e9 --project digits
    """


@quota.command("set")
@click.argument("kind", type=click.Choice(QUOTAS))
@click.argument("most", type=click.FloatRange(min=0))
@click.option(
    "--project", default="*", show_default=True, help="Project; * stands for each project that has no quota of its own."
)
@click.pass_obj
def set_quota(place: Any, kind: str, most: float, project: str) -> None:
    """Set a quota. It counts within 5 seconds. A client over it keeps its data and ships it later.

    Example: naiad server --store /data/naiad quota set points-per-day 1e9 --project digits
    """
    if kind == "requests-per-second" and project != "*":
        raise click.UsageError("requests-per-second is for every token: leave --project out.")
    _quotas(place).set(project, kind, most)


@quota.command("remove")
@click.argument("kind", type=click.Choice(QUOTAS))
@click.option("--project", default="*", show_default=True)
@click.pass_obj
def remove_quota(place: Any, kind: str, project: str) -> None:
    """End a quota.

    Example: naiad server --store /data/naiad quota remove points-per-day --project digits
    """
    _quotas(place).set(project, kind, None)


@quota.command("list")
@click.pass_obj
def list_quotas(place: Any) -> None:
    """List the quotas: project, kind, limit, and how much of it is used.

    Example: naiad server --store /data/naiad quota list
    """
    for project, kind, most, used in _quotas(place).all():
        click.echo(f"{project}\t{kind}\t{most:.0f}\t{used}")


@server.command("audit")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most this many, the latest.")
@click.pass_obj
def audit(place: Any, limit: int) -> None:
    """List the changes of tokens, members, projects and the trash: time, principal, change, subject.

    Example: naiad server --store /data/naiad audit --limit 20
    """
    tokens = _tokens(place)
    for each in tokens.audit(limit):
        at = datetime.fromtimestamp(each.at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        click.echo(f"{at}\t{each.principal}\t{each.action}\t{each.subject}")


@server.command("verify")
@click.pass_context
def verify(context: click.Context) -> None:
    """Read every block and every file that is stored, and name each damage. Exit code 1 if there is any.

    The server may run meanwhile.

    Example: naiad server --store /data/naiad verify
    """
    damaged = [*_upkeep(context.obj).verify()]
    for name, damage in damaged:
        click.echo(f"{name}\t{damage}")
    click.echo(f"{len(damaged):,} damaged places." if damaged else "Everything was read, and is whole.")
    context.exit(1 if damaged else 0)


@server.command("gc")
@click.option(
    "--trash-days",
    type=click.FloatRange(min=0),
    help="Also purge items that have been in the trash for this many days.",
)
@click.option(
    "--monitoring-days",
    type=click.FloatRange(min=0),
    help="Also delete series below monitoring/ of runs that are over and have not changed for this many days.",
)
@click.option("--project", help="Only items and runs of this project.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=1),
    help="Of a database: days for which content stays when nothing refers to it any more; by default 7, or 30 while "
    "no backup is noted.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Delete nothing; print what would be deleted.")
@click.pass_obj
def gc(
    place: Any,
    trash_days: float | None,
    monitoring_days: float | None,
    project: str | None,
    keep_days: float | None,
    is_dry: bool,
) -> None:
    """Free the content of files that nothing refers to; with --trash-days also empty the trash of old items.

    With --monitoring-days it also deletes the metrics of hardware and the console output of old runs, that is all
    series below monitoring/. All other fields stay.

    Both count from the last change of the item, by the clock of the program that made it; beside a database from the
    time at which the server last heard of its programs, if that is later or the change is from the future. Without them
    no run, and no part of one, is deleted by age. Content used in the last ten minutes stays. The server may run
    meanwhile; runs that are protected or being written stay as they are.

    Beside a database, content stays that a restore of the last backup may need, as noted by `naiad server backed-up`.
    It is freed by the command that runs some days after the one that first found it without a reference: run it daily.

    Example: naiad server --store /data/naiad gc --trash-days 30
    """
    tokens = _tokens(place)
    upkeep = _upkeep(place)
    store = place.open()[0] if _is_database(place) else locate(folder(place))
    now, arrivals = datetime.now(timezone.utc), upkeep.arrivals()
    if trash_days is not None:
        before = now - timedelta(days=trash_days)
        unsettled = tokens.unsettled()
        for row in store.catalog().summaries(project, kind=None, is_trashed=True):
            if row.run.uid in unsettled or not retention.is_old(row, before, arrivals):
                continue
            try:
                gone = [trash.Item(row.id, row.run)] if is_dry else trash.delete(store, [trash.Item(row.id, row.run)])
            except (BeingWritten, ContainerProtected) as error:
                click.echo(str(error), err=True)
                continue
            for item in gone:
                click.echo(f"deleted\t{item.id}")
                if not is_dry:
                    tokens.note("command", "container.delete", item.id)
    if monitoring_days is not None:
        for each in retention.expired(store, project, now - timedelta(days=monitoring_days), arrivals):
            if not is_dry:
                retention.drop(store, each)
                tokens.note("command", "monitoring.delete", each.id)
            for path in each.paths:
                click.echo(f"deleted\t{each.id}\t{path}")
    if _is_database(place) and upkeep.backup() is None:
        click.echo("No backup of the database is noted: naiad server backed-up", err=True)
    for name, size in upkeep.collect(keep_days, is_dry=is_dry):
        click.echo(f"freed\t{name}\t{size}")


def _upkeep(place: Any) -> Upkeep:
    if _is_database(place):
        found: Upkeep = place.upkeep()
        return found
    _tokens(place)
    return folder_upkeep(folder(place))


def _quotas(place: Any) -> Quotas:
    tokens = _tokens(place)
    from naiad_server.quotas import Quotas

    return Quotas(tokens.engine, is_made=tokens.is_made)


def _is_database(place: Any) -> bool:
    return place is not None and not isinstance(place, Path)


@server.command()
@click.pass_obj
def migrate(place: Any) -> None:
    """Bring the tables of a database up to date. Replicas may serve meanwhile.

    Example: naiad server --database postgresql://db/naiad --objects s3://bucket/naiad migrate
    """
    if place is None or isinstance(place, Path):
        raise click.UsageError("A folder needs no migration: name a database with --database.")
    click.echo(f"{place}: version {place.migrate()}")


@server.command()
@click.pass_obj
def restored(place: Any) -> None:
    """Let clients send the bytes again that a database lost when it was set back to a backup.

    Run it after the restore. Clients keep the bytes for 7 days by default (NAIAD_KEEP_SHIPPED).

    Example: naiad server --database postgresql://db/naiad --objects s3://bucket/naiad restored
    """
    if place is None or isinstance(place, Path):
        raise click.UsageError("For a folder, use naiad sync --verify where runs are made; or name a --database.")
    tokens = _tokens(place)
    place.upkeep().renew_epoch()
    tokens.note("command", "backup.restore", str(place))
    click.echo("Clients send again the bytes that are missing here.")


@server.command("backed-up")
@click.argument("began", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.pass_obj
def backed_up(place: Any, began: datetime) -> None:
    """Note that a backup of the database is complete, which began at a time with its zone, as 2026-12-01T03:00:00Z.

    `naiad server gc` then keeps all content that a restore of it needs, and of the last 7 days. Older backups may miss
    content: give the start time of the oldest one that you may restore.

    Example: naiad server --database postgresql://db/naiad --objects s3://bucket/naiad backed-up 2026-12-01T03:00:00Z
    """
    if not _is_database(place):
        raise click.UsageError("A backup of a folder has its content too; or name a --database.")
    if began > datetime.now(timezone.utc):
        raise click.UsageError(f"{began.isoformat()} is in the future: give the time at which the backup began.")
    tokens = _tokens(place)
    place.upkeep().note_backup(began.timestamp())
    tokens.note("command", "backup.note", began.isoformat())


def _require_folder(place: Any) -> None:
    """Raise a usage error if NAIAD_STORE is the address of a server, and nothing else names a place to keep runs in."""
    if place is None and is_server(setting("STORE")):
        raise click.UsageError(
            f"NAIAD_STORE is the address of a server, {setting('STORE')}.\n"
            "Name the folder to keep runs in: --store FOLDER"
        )


def _database(own: str | None, url: str | None, objects: str | None, role: str) -> Database | None:
    """The database that the options name; None for a folder."""
    url = url or setting("SERVER_DATABASE")
    objects = objects or setting("SERVER_OBJECTS")
    # A folder that was named counts more than a database in the environment.
    if url is None or own is not None:
        if role != "all" or (objects is not None and own is None):
            raise click.UsageError("--objects and --role belong to a --database.")
        if url is not None and own is not None:
            raise click.UsageError("Give --store or --database, not both.")
        return None
    if objects is None:
        raise click.UsageError("A database needs a place for large content: --objects s3://bucket/prefix")
    try:
        from naiad_server.database import Database
    except ModuleNotFoundError as error:
        raise _missing(error, "server") from error
    found = Database(url, objects, role)
    try:
        # Opened once, so that a missing package or a wrong address is an error here, and not of the first request.
        found.open()[1].close()
    except ModuleNotFoundError as error:
        raise _missing(error, "server-postgres") from error
    return found


def _missing(error: ModuleNotFoundError, extra: str) -> MissingPackage:
    return MissingPackage(
        f'naiad server needs {error.name}.\nInstall it with: pip install "naiad[{extra}]"', package=str(error.name)
    )


def _work(place: Any) -> None:
    """Fold due runs until a signal ends that."""
    from naiad_server.workers import fold_due

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_given: ended.set())
    click.echo(f"naiad server: folding for {place}")
    sys.stdout.flush()
    fold_due(place.url, place.objects, ended.is_set, lambda _seconds, problem: click.echo(problem) if problem else None)


def _serving() -> Callable[..., None]:
    """The function that serves; only the server itself waits until the packages for that are imported."""
    try:
        from naiad_server.serving import serve
    except ModuleNotFoundError as error:
        raise _missing(error, "server") from error
    return serve


def _tokens(place: Any, *, is_new: bool = False) -> Tokens:
    if _is_database(place):
        if is_new:
            place.migrate()
        found: Tokens = place.tokens()
        return found
    try:
        from naiad_server.tokens import open_tokens
    except ModuleNotFoundError as error:
        raise _missing(error, "server") from error
    root = folder(place)
    if not is_new and not (root / "server").is_dir():
        raise StorageError(
            f"The store {root} has no server yet.\nMake one with: naiad server --store {root} --init",
            errno=errno.ENOENT,
            filename=str(root),
        )
    return open_tokens(root / "server")


def _first_token(tokens: Tokens, address: str, root: Path | None) -> list[str]:
    """The lines that the first start prints; a server that has tokens already gets no other."""
    command = "naiad server" if root is None else f"naiad server --store {shlex.quote(str(root))}"
    if tokens.all():
        return [f"It has tokens already: {command} token list"]
    _token, text = tokens.add("admin", "admin")
    # Without it, programs on other machines refuse the address.
    is_open = address.startswith("http://") and urlsplit(address).hostname not in LOOPBACK
    allowed = " NAIAD_ALLOW_HTTP=1" * is_open
    return [
        f"Your token, shown this once: {text}",
        f"The pages: {address}/#token={text}",
        f"A colleague gets a token from: {command} token add NAME --role contributor",
        f"and then needs one line: export NAIAD_STORE={address}{allowed} NAIAD_API_TOKEN=TOKEN",
    ]


def _require_secure(
    host: str, certificate: Path | None, key: Path | None, proxies: Sequence[str], insecure: bool
) -> None:
    """Raise if other machines could connect without TLS, unless an option permits it."""
    for each in proxies:
        try:
            ipaddress.ip_network(each, strict=False)
        except ValueError:
            raise click.UsageError(
                f"--trusted-proxy takes an address or a network, as 10.0.0.5 or 10.0.0.0/8, not {each!r}."
            ) from None
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together.")
    if host not in LOOPBACK and certificate is None and not proxies and not insecure:
        raise click.UsageError(
            f"--host {host} lets other machines ask, and tokens would cross the network as plain text.\n"
            "Give --tls-cert and --tls-key, or --trusted-proxy of a proxy that ends TLS, or accept it: --insecure-http."
        )


def _address(host: str, port: int, *, is_tls: bool) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{name}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    # The protocol is named, since asyncio turns TCP_NODELAY on for such sockets alone. Without it the body of an answer
    # waits 40 ms, until the client has acknowledged its headers.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A restart must not wait a minute for connections of the process before.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(f"It cannot listen on {host}, port {port}: {error.strerror or error}.") from None
    listener.listen(1024)
    return listener
