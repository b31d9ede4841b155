"""Notebooks as things to run: composed from a record, given parameters, executed through papermill."""
