"""Thin Celery workers: a message becomes a call."""
