"""What people and scripts read: tables, a summary and a page, written from the database."""
