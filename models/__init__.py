"""Neural networks of xraytriage: arrays in, labels out. Knows no queue, store or database."""
