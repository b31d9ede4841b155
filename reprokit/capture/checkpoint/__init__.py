"""What a kernel's state is kept in, so that a run that was cut off can go on: only when a checkpoint is asked for."""
