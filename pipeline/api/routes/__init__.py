"""The addresses below /v1, one file a noun, and the two that orchestrators ask."""
