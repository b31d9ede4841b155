"""The interpreter, what is installed, the libraries that are loaded, and the machine."""
