"""What runs in the user's kernel: sessions, the probes that observe, and the events that drive them.

Everything here imports the standard library only, so that the same agent can be put into any
environment. ``session`` is the core; ``notebook`` connects it to IPython.
"""
