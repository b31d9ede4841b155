"""Which files each cell reads and writes, and their bytes at that time."""
