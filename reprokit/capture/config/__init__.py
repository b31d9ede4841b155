"""What steers a run, by key."""
