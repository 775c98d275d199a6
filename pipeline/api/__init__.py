"""The HTTP door: routes, public shapes, problems in words, and the pages people look at."""
