"""Jobs of a study, flags of an image, and whose image it is, sealed

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Columns are added and dropped in place: a copy of the table, as Alembic's batches make, would
# need the rows that point to it gone.


def upgrade() -> None:
    op.add_column("job", sa.Column("study_instance_uid", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("peer", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("last_arrival_at", sa.Float(), nullable=True))
    op.create_index(
        "uq_job_open_study",
        "job",
        ["study_instance_uid", "peer"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index("ix_job_study", "job", ["study_instance_uid"], unique=False)
    op.add_column("image", sa.Column("flags", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "identity",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["image.id"],
        ),
        sa.PrimaryKeyConstraint("image_id"),
    )


def downgrade() -> None:
    op.drop_table("identity")
    op.drop_column("image", "flags")
    op.drop_index("ix_job_study", table_name="job")
    op.drop_index("uq_job_open_study", table_name="job")
    op.drop_column("job", "last_arrival_at")
    op.drop_column("job", "peer")
    op.drop_column("job", "study_instance_uid")
