"""The code that ran: the tree as it is on disk, its changes meanwhile, and modules from elsewhere."""
