"""Stores as earlier versions wrote them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import fairmark.store
from fairmark.store import documents
from fairmark.store.opening import APPLICATION
from tests.store.rows import response


def of_shape_0002(path: Path) -> None:
    """A store as fairmark wrote it before there was a chain."""
    engine = create_engine(f"sqlite:///{path}")
    settings = Config()
    settings.set_main_option("script_location", str(Path(fairmark.store.__file__).parent / "migrations"))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION}")
        command.upgrade(settings, "0002")
        bodies = [documents.write(response(f"k{number}", case_id=f"c{number}")).decode() for number in range(3)]
        for number, body in enumerate(bodies):
            name = hashlib.sha256(body.encode()).hexdigest()
            for seq in (number * 3 + 1, number * 3 + 2):  # the second time it stands under the text that is there
                connection.exec_driver_sql("INSERT OR IGNORE INTO content VALUES (?, ?)", (name, body))
                connection.exec_driver_sql(
                    "INSERT INTO response VALUES (?, ?, ?, 'bare', 1, '1', NULL, 0.25, 7, ?)", (seq, f"k{number}", f"c{number}", name)
                )
        connection.exec_driver_sql("INSERT INTO intent VALUES (4, 'k', 'response', 'bare', 7)")
        connection.exec_driver_sql("INSERT INTO forgotten VALUES (1, 7, 2, 0)")
        connection.exec_driver_sql("UPDATE response SET case_id = NULL WHERE case_id = 'c2'")
        connection.exec_driver_sql("UPDATE content SET text = NULL WHERE hash = ?", (hashlib.sha256(bodies[2].encode()).hexdigest(),))
    engine.dispose()
    path.chmod(0o600)
