"""Replay: a plan, a workspace, an environment, an execution, a verdict. All of it runs in the parent process."""
