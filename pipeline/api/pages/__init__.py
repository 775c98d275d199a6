"""The pages people look at: rendered here, with a little script for uploads and overlays."""
