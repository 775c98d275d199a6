"""The domain: what an image is, where it lives and what happens to it next. Knows no torch."""
