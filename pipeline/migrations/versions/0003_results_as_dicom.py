"""What DICOM results are made of: studies, rules as they were applied, and the delivery record

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    stored = op.get_bind().dialect.name == "postgresql"
    op.add_column(
        "image",
        sa.Column(
            "study_instance_uid",
            sa.Text(),
            # PostgreSQL indexes stored ones only; SQLite adds virtual ones only.
            sa.Computed("header ->> 'study_instance_uid'", persisted=stored),
            nullable=True,
        ),
    )
    op.create_index("ix_image_study", "image", ["study_instance_uid"], unique=False)
    op.add_column("stage_run", sa.Column("rules", sa.JSON(none_as_null=True), nullable=True))
    _deliveries()


def _deliveries() -> None:
    op.create_table(
        "delivery_plan",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("planned_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "delivery",
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("sop_instance_uid"),
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["due_at"],
        unique=False,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_index("ix_delivery_job", "delivery", ["job_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_delivery_job", table_name="delivery")
    op.drop_index("ix_delivery_due", table_name="delivery")
    op.drop_table("delivery")
    op.drop_table("delivery_plan")
    op.drop_column("stage_run", "rules")
    op.drop_index("ix_image_study", table_name="image")
    op.drop_column("image", "study_instance_uid")
