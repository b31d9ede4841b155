"""The store: journals and objects are the truth, the index is derived from them.

``layout``, ``journal``, ``objects`` and ``liveness`` run in the user's kernel and import the standard
library alone; ``assemble``, ``names`` and ``store`` add reading; only ``index`` imports SQLAlchemy.
Nothing is imported here, so that importing the journal costs the kernel the journal and no more.
"""
