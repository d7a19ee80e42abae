"""People mark: what they are asked, what they do, and who may come in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "assignment",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("response", sa.String, nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("system", sa.String, nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("place", sa.Float, nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("second", sa.Integer, nullable=False),
        sa.Column("stratum", sa.String, nullable=False),
        sa.Column("probability", sa.Float),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("pair", sa.String, nullable=False),
        sa.Column("side", sa.Integer, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_assignment_person", "assignment", ["study", "person"])
    op.create_index("ix_assignment_case", "assignment", ["case_id"])
    op.create_table(
        "act",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("assignment", sa.String, nullable=False),
        sa.Column("case_id", sa.String),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("record", sa.String(64), sa.ForeignKey("content.hash"), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_act_person", "act", ["study", "person", "seq"])
    op.create_index("ix_act_assignment", "act", ["assignment", "seq"])
    op.create_index("ix_act_case", "act", ["case_id"])
    op.create_table(
        "session",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("study", sa.String, nullable=False),
        sa.Column("person", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer),
    )
