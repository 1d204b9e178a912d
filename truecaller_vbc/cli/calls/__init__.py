"""Push a file of call records of any size, resume it, and ask for the outcome of a batch."""
