"""The shape of the store. Rows are only ever added; the newest row of a key is the one that holds.

Texts stand in `content`, apart from the rows that point at them, so that a person's words can be removed while every row,
key and hash stays. They are found by a number that only grows: under their hash every text would change a page of its own.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

# keys are random: each new one changes another page of its index, and the less stands there the fewer pages it has
ENDING = "substr(key, -10)"

content = Table(
    "content",
    metadata,
    Column("id", Integer, primary_key=True),
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
    Column("key", String(64), nullable=False),
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
    Column("record", String(64), nullable=False),  # SHA-256 of the whole record
    Column("body", Integer, ForeignKey("content.id"), nullable=False),  # the whole record in `content`
    Index("ix_response_key", text(ENDING)),
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
    Column("record", String(64), nullable=False),
    Column("body", Integer, ForeignKey("content.id"), nullable=False),
    Index("ix_grade_key", text(ENDING)),
    Index("ix_grade_source", "source", sqlite_where=text("source != ''")),  # recorded marks alone have one
    sqlite_autoincrement=True,
)

# what people are asked to mark, and how it was chosen
assignment = Table(
    "assignment",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),  # random; the only name a person's browser sees
    Column("study", String, nullable=False),  # name and wave
    Column("person", String, nullable=False),
    Column("kind", String, nullable=False),  # training, together, work or repeat
    Column("response", String, nullable=False),  # key of the response
    Column("case_id", String),  # NULL once it was forgotten
    Column("system", String, nullable=False),
    Column("trial", Integer, nullable=False),
    Column("place", Float, nullable=False),  # in the person's random order
    Column("repeat", Integer, nullable=False),
    Column("second", Integer, nullable=False),
    Column("stratum", String, nullable=False),
    Column("probability", Float),  # NULL where nothing was drawn
    Column("round", Integer, nullable=False),
    Column("pair", String, nullable=False),
    Column("side", Integer, nullable=False),
    Column("at", Integer, nullable=False),
    Index("ix_assignment_person", "study", "person"),
    Index("ix_assignment_case", "case_id"),
    sqlite_autoincrement=True,
)

# everything that people did while marking; their labels stand in `grade` as well
act = Table(
    "act",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),  # made in the browser: sending it twice does it once
    Column("study", String, nullable=False),  # name and wave
    Column("person", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("assignment", String, nullable=False),  # id of the assignment, or empty
    Column("case_id", String),  # NULL where it is of no case, or once it was forgotten
    Column("at", Integer, nullable=False),
    Column("record", String(64), nullable=False),
    Column("body", Integer, ForeignKey("content.id"), nullable=False),
    Index("ix_act_person", "study", "person", "seq"),
    Index("ix_act_assignment", "assignment", "seq"),
    Index("ix_act_case", "case_id"),
    sqlite_autoincrement=True,
)

# who may come in; the tokens themselves are nowhere
session = Table(
    "session",
    metadata,
    Column("token", String(64), primary_key=True),  # SHA-256 of the token
    Column("study", String, nullable=False),  # name and wave
    Column("person", String, nullable=False),
    Column("role", String, nullable=False),  # grader, adjudicator or owner
    Column("kind", String, nullable=False),  # link, which opens one session, or session
    Column("at", Integer, nullable=False),
    Column("until", Integer, nullable=False),
    Column("ended", Integer),  # when the link was used or the session ended; NULL: still good
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

# one link for each commit: what it added, and the hash that binds it to all that was there before
link = Table(
    "link",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("at", Integer, nullable=False),
    Column("covers", Text, nullable=False),  # JSON: for each table its last seq, and the hash of the rows that were added
    Column("head", String(64), nullable=False),  # hash of the head before, of `at` and of `covers`
    sqlite_autoincrement=True,
)

# the one process that asks; no row where none does
lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),  # 1
    Column("token", String(32), nullable=False),  # made by the holder
    Column("what", String, nullable=False),  # what it is doing, in a word
    Column("pid", Integer, nullable=False),
    Column("machine", String, nullable=False),  # boot and process namespace in which the number means that process
    Column("since", Integer, nullable=False),
    Column("beat", Integer, nullable=False),  # nanoseconds since the boot, when it was last alive
)
