"""Runs become steps, and steps pipelines: what an engineer takes over from a session."""
