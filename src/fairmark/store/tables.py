"""The shape of the store. Rows are only ever added; the newest row of a key is the one that holds.

Texts stand in `content` under their hash, apart from the rows that point at them, so that a person's words can be removed
while every row and key stays.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

content = Table(
    "content",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("text", Text),  # JSON string; NULL once it was forgotten
)

plan = Table(
    "plan",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("study", String, nullable=False, index=True),
    Column("fingerprint", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("frozen_at", Integer, nullable=False),
    Column("code", String, nullable=False),  # version of fairmark
    Column("responses_before", Integer, nullable=False),
    sqlite_autoincrement=True,
)

intent = Table(
    "intent",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False, index=True),
    Column("what", String, nullable=False),  # response or grade
    Column("name", String, nullable=False),  # of the system or grader
    Column("at", Integer, nullable=False),
    sqlite_autoincrement=True,
)

# an outcome is stored as one JSON document in `content`; beside it stand the columns that are searched and counted
response = Table(
    "response",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False),
    Column("case_id", String),  # NULL once it was forgotten
    Column("system", String, nullable=False),
    Column("trial", Integer, nullable=False),
    Column("wave", String, nullable=False),
    Column("failure", String),  # kind; NULL where it was answered
    Column("usd", Float),
    Column("at", Integer, nullable=False),
    Column("record", String(64), ForeignKey("content.hash"), nullable=False),  # the whole record in `content`
    Index("ix_response_key", "key", "seq"),
    Index("ix_response_case", "case_id"),
    sqlite_autoincrement=True,
)

grade = Table(
    "grade",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False),
    Column("case_id", String),  # NULL once it was forgotten
    Column("criterion", String, nullable=False),
    Column("grader", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("failure", String),
    Column("source", String, nullable=False),  # digest of a recorded mark, empty otherwise
    Column("usd", Float),
    Column("at", Integer, nullable=False),
    Column("record", String(64), ForeignKey("content.hash"), nullable=False),
    Index("ix_grade_key", "key", "seq"),
    Index("ix_grade_case", "case_id"),
    Index("ix_grade_source", "source"),
    sqlite_autoincrement=True,
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Integer, nullable=False),
    Column("responses", Integer, nullable=False),
    Column("grades", Integer, nullable=False),
    sqlite_autoincrement=True,
)
