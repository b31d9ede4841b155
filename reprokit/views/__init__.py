"""Records and verdicts as text, HTML and JSON: pure functions that print nothing and read nothing."""
