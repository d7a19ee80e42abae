"""The file: private from its first byte, of one shape whichever way it was made, and refused where it is not ours."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from fairmark.errors import CannotDo
from fairmark.store import Store
from fairmark.store.opening import APPLICATION, SCHEMA, file_system, upgrade
from fairmark.store.tables import metadata
from tests.store.older import of_shape_0002
from tests.store.rows import response


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
        assert {oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {"0o600"}
        assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


def test_a_store_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store.open(path).close()
    path.chmod(0o666)
    with pytest.raises(CannotDo, match="everybody") as refused:
        Store.open(path)
    assert refused.value.code == "NOT_PRIVATE"


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "open" / "s.db"
    Store.open(path).close()
    path.parent.chmod(0o1777)  # others could plant the journal that SQLite reads beside the file
    with pytest.raises(CannotDo, match="everybody"):
        Store.open(path, read_only=read_only)


def test_a_copy_that_others_may_read_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store.open(path).close()
    path.chmod(0o644)
    with Store.open(path) as store:
        store.add_response(response()).result()
        assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o600"}


def test_reading_only_reads(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(CannotDo, match="no store"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        store.add_response(response()).result()
    with Store.open(path, read_only=True) as store:
        assert store.responses(["k" * 64])
        with pytest.raises(CannotDo, match="reading only"):
            store.add_response(response())


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be taken for one", b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CannotDo):
        Store.open(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [True, False])
def test_what_cannot_be_opened_is_refused(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(CannotDo, match="is no file") as refused:
        Store.open(tmp_path, read_only=read_only)
    assert refused.value.code == "NO_ACCESS"
    path = tmp_path / "s.db"
    Store.open(path).close()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(CannotDo, match="cannot be opened") as refused:
        Store.open(path, read_only=read_only)
    assert refused.value.code == "NO_ACCESS"


def test_another_programs_database_and_a_newer_store_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (x)")
    with pytest.raises(CannotDo, match="another program"):
        Store.open(other)
    newer = tmp_path / "newer.db"
    Store.open(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotDo, match="newer fairmark"):
        Store.open(newer)


def test_a_file_that_nothing_was_written_to_is_made_or_missed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.touch(0o600)
    with pytest.raises(CannotDo, match="nothing was ever stored"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        assert store.counts()["responses"] == 0


def test_an_older_store_is_brought_to_the_present_shape(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as old:  # a store before its first migration
        old.execute(f"PRAGMA application_id={APPLICATION}")
        old.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    old.close()
    path.chmod(0o600)
    with pytest.raises(CannotDo, match="older shape"):
        Store.open(path, read_only=True)
    with Store.open(path) as store:
        store.add_response(response()).result()
    with Store.open(path, read_only=True) as store:
        assert store.responses(["k" * 64])
    with sqlite3.connect(path) as now:
        assert now.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
    now.close()


def test_rows_from_before_the_chain_stay_and_are_covered_by_its_first_link(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    of_shape_0002(path)
    with Store.open(path) as store:
        assert store.responses(["k0", "k1", "k2"]) == {key: response(key, case_id=f"c{key[1:]}") for key in ("k0", "k1")}
        found = store.verify()
        assert found.proven, found.wrong
        assert (found.links, found.rows, found.forgotten) == (1, 8, 2)
        store.add_response(response("new")).result()
        assert store.forget("c1") == 3
        assert store.verify().proven
        assert store.integrity() == "ok"
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("SELECT seq FROM response ORDER BY seq").fetchall() == [(1,), (2,), (4,), (5,), (7,), (8,), (9,)]


def test_alembic_is_read_only_where_it_is_needed(tmp_path: Path) -> None:
    program = "import sys; from fairmark.store import Store; Store.open(sys.argv[1]).close(); print('alembic' in sys.modules)"
    for _ in ("made", "opened"):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s.db")], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_a_store_on_a_disk_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path) as store:
        store.add_response(response()).result()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write everywhere")
    try:
        for read_only in (True, False):
            with Store.open(path, read_only=read_only) as store:
                assert store.responses(["k" * 64])
        with Store.open(path) as store, pytest.raises(CannotDo, match="may not be written"):
            store.add_response(response()).result()
        with pytest.raises(CannotDo, match="cannot be made"):
            Store.open(tmp_path / "new.db")
        with pytest.raises(CannotDo, match="cannot be made"):
            Store.open(tmp_path / "new" / "s.db")
    finally:
        tmp_path.chmod(0o700)


def test_network_disks_are_told_by_the_mount_that_covers_the_place() -> None:
    mounts = [
        "/dev/sda1 / ext4 rw 0 0",
        "server:/home /home nfs4 rw 0 0",
        "/dev/sdb1 /home/ana/local\\040disk ext4 rw 0 0",
        "tmpfs /tmp tmpfs rw 0 0",
        "nonsense",
    ]
    assert file_system(Path("/srv/study"), mounts) == "ext4"
    assert file_system(Path("/home/ana/study"), mounts) == "nfs4"
    assert file_system(Path("/home/ana/local disk/study"), mounts) == "ext4"
    assert file_system(Path("/homework"), mounts) == "ext4"
    assert file_system(Path("/srv"), []) == ""


def test_migrations_and_tables_give_the_same_shape() -> None:
    shapes = []
    indexes = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table ORDER BY name")
    for migrate in (True, False):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            upgrade(connection) if migrate else metadata.create_all(connection)
            seen = inspect(connection)
            shapes.append(
                {
                    table: (
                        [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in seen.get_columns(table)],
                        connection.execute(indexes, {"table": table}).all(),
                        [(f["constrained_columns"], f["referred_table"]) for f in seen.get_foreign_keys(table)],
                    )
                    for table in seen.get_table_names()
                    if table != "alembic_version"
                }
            )
    assert shapes[0] == shapes[1]
