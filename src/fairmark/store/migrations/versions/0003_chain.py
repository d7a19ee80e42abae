"""Rows are chained by their hashes, texts are found by number, and one process at a time asks."""

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from fairmark.store import chain

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("content_by_number", sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
    op.execute("INSERT INTO content_by_number (id, text) SELECT rowid, text FROM content")
    _with_body(
        "response",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("system", sa.String, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("wave", sa.String, nullable=False),
        sa.Column("failure", sa.String),
        sa.Column("usd", sa.Float),
        sa.Column("at", sa.Integer, nullable=False),
        indexes={"ix_response_key": [sa.text("substr(key, -10)")]},
    )
    _with_body(
        "grade",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("criterion", sa.String, nullable=False),
        sa.Column("grader", sa.String, nullable=False),
        sa.Column("rater", sa.String, nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("failure", sa.String),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("usd", sa.Float),
        sa.Column("at", sa.Integer, nullable=False),
        indexes={"ix_grade_key": [sa.text("substr(key, -10)")]},
    )
    op.create_index("ix_grade_source", "grade", ["source"], sqlite_where=sa.text("source != ''"))
    _with_body(
        "act",
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("assignment", sa.String, nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("at", sa.Integer, nullable=False),
        indexes={
            "ix_act_person": ["study", "person", "seq"],
            "ix_act_assignment": ["assignment", "seq"],
            "ix_act_case": ["case_id"],
        },
    )
    op.drop_table("content")
    op.rename_table("content_by_number", "content")
    op.drop_index("ix_intent_key", "intent")
    op.create_table(
        "link",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("covers", sa.Text, nullable=False),
        sa.Column("head", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("beat", sa.Integer, nullable=False),
    )
    connection = op.get_bind()
    extending = chain.Extending(connection.dialect)
    extending.extend(connection, time.time_ns(), chain.Seal("", {}))  # the first link covers what is there


def _with_body(table: str, *columns: sa.Column[Any], indexes: dict[str, Sequence[str | sa.TextClause]]) -> None:
    """Makes a table anew whose rows point at their texts by number."""
    op.create_table(
        f"{table}_new",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        *columns,
        sa.Column("record", sa.String(64), nullable=False),
        sa.Column("body", sa.Integer, sa.ForeignKey("content_by_number.id"), nullable=False),
        sqlite_autoincrement=True,
    )
    names = ", ".join(["seq", *(column.name for column in columns), "record"])
    op.execute(
        f"INSERT INTO {table}_new ({names}, body)"
        f" SELECT {names}, (SELECT content.rowid FROM content WHERE content.hash = {table}.record) FROM {table} ORDER BY seq"
    )
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)
    for name, of in indexes.items():
        op.create_index(name, table, list(of))
