"""Indices that pages, reconciler and metrics read alone; see tests/scale/test_indices.py

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WAITING = sa.text("stage IS NOT NULL")
OF_STUDY = sa.text("study_instance_uid IS NOT NULL")


def upgrade() -> None:
    op.drop_index("ix_image_job_state", table_name="image")
    op.create_index("ix_image_job", "image", ["job_id", "id", "state"], unique=False)
    op.drop_index("ix_image_due", table_name="image")
    op.create_index(
        "ix_image_due",
        "image",
        ["due_at", "stage", "priority", "queued_at"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index("ix_outbox_created", "outbox", ["created_at"], unique=False)
    op.create_index(
        "ix_job_closed",
        "job",
        ["closed_at"],
        unique=False,
        sqlite_where=OF_STUDY,
        postgresql_where=OF_STUDY,
    )


def downgrade() -> None:
    op.drop_index("ix_job_closed", table_name="job")
    op.drop_index("ix_outbox_created", table_name="outbox")
    op.drop_index("ix_image_due", table_name="image")
    op.create_index(
        "ix_image_due",
        "image",
        ["due_at"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.drop_index("ix_image_job", table_name="image")
    op.create_index("ix_image_job_state", "image", ["job_id", "state"], unique=False)
