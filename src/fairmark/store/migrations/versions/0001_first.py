"""The first shape of the store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "content",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("text", sa.Text),
    )
    op.create_table(
        "plan",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("frozen_at", sa.Integer, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("responses_before", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_plan_study", "plan", ["study"])
    op.create_table(
        "intent",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_intent_key", "intent", ["key"])
    op.create_table(
        "response",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("system", sa.String, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("wave", sa.String, nullable=False),
        sa.Column("failure", sa.String),
        sa.Column("usd", sa.Float),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("record", sa.String(64), sa.ForeignKey("content.hash"), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_response_key", "response", ["key", "seq"])
    op.create_index("ix_response_case", "response", ["case_id"])
    op.create_table(
        "grade",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
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
        sa.Column("record", sa.String(64), sa.ForeignKey("content.hash"), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_grade_key", "grade", ["key", "seq"])
    op.create_index("ix_grade_case", "grade", ["case_id"])
    op.create_index("ix_grade_source", "grade", ["source"])
    op.create_table(
        "forgotten",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("responses", sa.Integer, nullable=False),
        sa.Column("grades", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
