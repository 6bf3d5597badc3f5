"""Make the tables.

Schema `naiad` has what is received and registered, `naiad_catalog` the tables of `naiad.storage.sql.tables`, and
`naiad_run` the tables of `naiad.storage.local.index.schema` for one run: views of the partitioned tables in `naiad`
that show and change the rows of the run whose number is set as `naiad.run`. `naiad.about.least` is the oldest version
whose programs can use the tables: a later migration raises it if they cannot, which should take two releases.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
PARTITIONS = 16
RUN = "run bigint not null default current_setting('naiad.run')::bigint"
TABLES = """
create schema naiad_catalog;
create table public.token (id text primary key, secret_sha256 text not null, principal text not null,
    role text not null, project text, created double precision not null, expires double precision,
    last_used text not null, is_revoked boolean not null);
create table public.audit (number bigserial primary key, at double precision not null, principal text not null,
    action text not null, subject text not null);
create schema naiad_run;
create table naiad.about (one int primary key check (one = 1), epoch text not null,
    least text not null default '0001', backed_up_at timestamptz, deletions bigint not null default 0);
create table naiad.project (key text primary key, name text not null unique);
create table naiad.counter (prefix text primary key, last bigint not null);
create table naiad.run (
    number bigserial primary key, uid text not null unique, kind text not null, id text not null unique,
    project text not null, custom text, created timestamptz not null default now(), failures int not null default 0,
    problem text, bytes bigint not null default 0, archived_at timestamptz, unique (project, custom)
);
create index run_archived_at on naiad.run (archived_at) where archived_at is not null;
create table naiad.due (run bigint primary key, at timestamptz not null, waiting bigint not null default 0);
create index due_at on naiad.due (at);
create table naiad.writer (
    run bigint not null, name text not null, state text not null, seen_at timestamptz not null,
    primary key (run, name)
);
create table naiad.content (project text not null, sha256 text not null, size bigint not null,
    made_at timestamptz not null default now(), primary key (project, sha256));
create table naiad.unreferenced (object text primary key, since timestamptz not null, deleting_at timestamptz);
create table naiad.received (
    run bigint not null, file text not null, upto bigint not null, crc bigint not null, is_sealed boolean not null,
    primary key (run, file)
) partition by hash (run);
create sequence naiad.inbox_id;
create table naiad.inbox (
    run bigint not null, file text not null, start bigint not null, upto bigint not null,
    at timestamptz not null default now(), data bytea, object text, place bigint, length bigint, crc bigint,
    primary key (run, file, start)
) partition by hash (run);
create table naiad.run_head ({run}, id int not null, format int not null, facts bytea not null, crc bigint not null,
    primary key (run));
create table naiad.run_writer ({run}, name text not null, facts bytea not null, fields bytea not null,
    crc bigint not null, primary key (run, name));
create table naiad.run_position ({run}, file text not null, upto bigint not null, is_done int not null,
    crc bigint not null, primary key (run, file)) partition by hash (run);
create table naiad.run_field ({run}, id int not null, path text not null, kind text not null, facts bytea not null,
    crc bigint not null, primary key (run, id)) partition by hash (run);
create table naiad.run_chunk ({run}, key bigint not null, count int not null, crc bigint not null, pyramid bytea,
    data bytea, object text, place bigint, length int, pyramid_place bigint, pyramid_length int,
    primary key (run, key), check ((data is null) <> (object is null))) partition by hash (run);
create table naiad.run_pack ({run}, id int not null, first_field int not null, last_field int not null,
    count int not null, crc bigint not null, data bytea, object text, place bigint, length int,
    primary key (run, id), check ((data is null) <> (object is null))) partition by hash (run);
create table naiad.run_coarse ({run}, field int not null, first int not null, pieces int not null,
    count bigint not null, pyramid bytea, primary key (run, field, first)) partition by hash (run);
create table naiad_catalog.about (format int primary key, listed text not null, made text not null,
    revision bigint not null);
create table naiad_catalog.container (
    number int primary key, uid text not null unique, kind text not null, id text, project text, state text not null,
    created bigint, losses text not null, stamp text not null, seal text not null, cells bytea not null,
    crc bigint not null, begun bigint not null, revision bigint not null
);
create index container_created on naiad_catalog.container (created);
create index container_project on naiad_catalog.container (kind, project, created);
create index container_revision on naiad_catalog.container (revision);
create index container_id on naiad_catalog.container (id);
create index container_losses on naiad_catalog.container (losses) where losses != '';
create table naiad_catalog.gone (uid text primary key, id text, revision bigint not null);
create index gone_revision on naiad_catalog.gone (revision);
create table naiad_catalog.field (number int primary key, path text not null, kind text not null, crc bigint not null);
create unique index field_path on naiad_catalog.field (path, kind);
create table naiad_catalog.cell (
    field int not null, container int not null, num double precision, integer bigint, txt text, whole text,
    min double precision, max double precision, average double precision, variance double precision,
    primary key (field, container)
);
create index cell_num on naiad_catalog.cell (field, num, integer, container);
create index cell_txt on naiad_catalog.cell (field, txt, container) where txt is not null;
create table naiad_catalog.tag (field int not null, tag text not null, container int not null,
    primary key (field, tag, container));
alter table naiad_catalog.field alter column path set statistics 1000;
create statistics naiad_catalog.cell_txt_values (mcv, dependencies) on field, txt from naiad_catalog.cell;
create statistics naiad_catalog.cell_num_values (mcv, dependencies) on field, num from naiad_catalog.cell
"""
FEW_FILES = 8
"""Up to so many files of a group are moved one by one: a statement for one file prunes the other 15 parts of the table
before it begins, and one for many begins with all of them, which takes half a millisecond."""
SIGN_SECONDS = 5
"""A sign of life is written if the one before is so old."""
FUNCTIONS = """
create function naiad.positions(runs bigint[], files text[], there bigint[])
returns table (number bigint, file text, upto bigint, crc bigint, is_sealed boolean)
language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
begin
    return query
    select run.number, r.file, r.upto, r.crc, r.is_sealed
    from naiad.run left join (
        select r.* from unnest(runs, files) as asked (run, file)
        join naiad.received r on r.run = asked.run and r.file = asked.file
    ) r on r.run = run.number
    where run.number = any(there);
end $$;
create function naiad.take(runs bigint[], files text[], was bigint[], was_crc bigint[], upto bigint[], crc bigint[],
    is_sealed boolean[], piece_runs bigint[], piece_files text[], starts bigint[], ends bigint[], bytes bytea[],
    object_name text, places bigint[], lengths bigint[], piece_crcs bigint[], sign_runs bigint[], names text[],
    due_runs bigint[], sizes bigint[], waits float8[], urgent bigint)
returns table (run bigint, file text)
language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
    here bigint[];
    took_runs bigint[];
    took_files text[];
begin
    select coalesce(array_agg(number), array[]::bigint[]) into here from (
        select number from naiad.run where number = any(runs || sign_runs || due_runs) order by number for key share
    ) locked;
    if cardinality(files) <= {few} then
        for round in 1 .. 2 loop
            for i in 1 .. cardinality(files) loop
                continue when (was[i] is null) <> (round = 1) or not runs[i] = any(here);
                if round = 1 then
                    insert into naiad.received (run, file, upto, crc, is_sealed)
                    values (runs[i], files[i], take.upto[i], take.crc[i], take.is_sealed[i]) on conflict do nothing;
                else
                    update naiad.received r set upto = take.upto[i], crc = take.crc[i], is_sealed = take.is_sealed[i]
                    where r.run = runs[i] and r.file = files[i]
                        and r.upto = was[i] and r.crc = was_crc[i] and not r.is_sealed;
                end if;
                if found then
                    took_runs := took_runs || runs[i];
                    took_files := took_files || files[i];
                end if;
            end loop;
        end loop;
    else
        with new as (
            select new.* from unnest(runs, files, take.was, take.was_crc, take.upto, take.crc, take.is_sealed)
                as new (run, file, was, was_crc, upto, crc, is_sealed) where run = any(here)
        ),
        begun as (
            insert into naiad.received (run, file, upto, crc, is_sealed)
            select run, file, upto, crc, is_sealed from new where was is null order by run, file
            on conflict do nothing returning run, file
        ),
        held as (
            select r.run, r.file from naiad.received r join new on r.run = new.run and r.file = new.file
            where new.was is not null order by r.run, r.file for update of r
        ),
        moved as (
            update naiad.received r set upto = new.upto, crc = new.crc, is_sealed = new.is_sealed
            from new join held using (run, file)
            where r.run = new.run and r.file = new.file
                and r.upto = new.was and r.crc = new.was_crc and not r.is_sealed
            returning r.run, r.file
        )
        select array_agg(run), array_agg(file) into took_runs, took_files
        from (select * from begun union all select * from moved) each;
    end if;
    if took_runs is not null then
        insert into naiad.inbox (run, file, start, upto, data, object, place, length, crc)
        select run, file, start, piece.upto, case object_name when '' then data end, nullif(object_name, ''),
            place, length, piece.crc
        from unnest(piece_runs, piece_files, starts, ends, bytes, places, lengths, piece_crcs)
            as piece (run, file, start, upto, data, place, length, crc)
        join unnest(took_runs, took_files) as took (run, file) using (run, file);
    end if;
    insert into naiad.writer (run, name, state, seen_at)
    select run, name, 'alive', now() from unnest(sign_runs, names) as sign (run, name)
    where run = any(here) and not exists (
        select from naiad.writer w
        where w.run = sign.run and w.name = sign.name and w.state = 'alive'
            and w.seen_at > now() - interval '{fresh} seconds'
    ) order by run, name
    on conflict (run, name) do update set state = excluded.state, seen_at = excluded.seen_at;
    insert into naiad.due (run, at, waiting)
    select run, now() + make_interval(secs => seconds), size
    from unnest(due_runs, sizes, take.waits) as due (run, size, seconds) where run = any(here) order by run
    on conflict (run) do update set waiting = due.waiting + excluded.waiting,
        at = case when due.waiting + excluded.waiting >= urgent then now() else least(due.at, excluded.at) end;
    return query select * from unnest(took_runs, took_files);
end $$
"""
"""What the replicas call for each group of pieces, in functions because these keep their plans for a connection: a plan
for tables of 16 parts takes a millisecond, which small groups would pay each time, and a pooler between (PgBouncer)
loses prepared statements.

`take` stores what continues its file, still, and lets the file go on; it returns the files that went on. A file that
another replica has moved meanwhile is left out (compare and set), and so is a run that was deleted.

Files are locked in one order, however many there are: new ones first, then those that go on, each by run and name. Two
replicas that get the same files would otherwise hold one each and wait for the other.
"""
PARTITIONED = ("received", "inbox", "run_position", "run_field", "run_chunk", "run_pack", "run_coarse")
VIEWS = {
    "head": "id, format, facts, crc",
    "writer": "name, facts, fields, crc",
    "position": "file, upto, is_done, crc",
    "field": "id, path, kind, facts, crc",
    "chunk": "key, count, crc, pyramid, data",
    "pack": "id, first_field, last_field, count, crc, data",
}


def upgrade() -> None:
    """Make them."""
    for statement in TABLES.format(run=RUN).split(";\n"):
        op.execute(statement)
    for table in PARTITIONED:
        for number in range(PARTITIONS):
            op.execute(
                f"create table naiad.{table}_{number} partition of naiad.{table} "
                f"for values with (modulus {PARTITIONS}, remainder {number})"
            )
    for number in range(PARTITIONS):  # blocks and journal bytes are compressed already
        op.execute(f"alter table naiad.inbox_{number} alter column data set storage external")
        op.execute(f"alter table naiad.run_chunk_{number} alter column data set storage external")
        op.execute(f"alter table naiad.run_pack_{number} alter column data set storage external")
    for function in FUNCTIONS.format(few=FEW_FILES, fresh=SIGN_SECONDS).split("$$;\n"):
        op.execute(function if function.endswith("$$\n") else f"{function}$$")
    for name, columns in VIEWS.items():
        own = "where run = current_setting('naiad.run')::bigint"
        op.execute(f"create view naiad_run.{name} as select {columns} from naiad.run_{name} {own}")
    op.execute("insert into naiad.about values (1, md5(random()::text || clock_timestamp()::text))")
    op.execute("insert into naiad_catalog.about values (7, '', md5(random()::text || clock_timestamp()::text), 0)")
