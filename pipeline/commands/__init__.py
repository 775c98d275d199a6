"""The commands of `xraytriage`, one noun a file. Heavy imports stand inside the functions."""
