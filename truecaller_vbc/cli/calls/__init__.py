"""``truecaller-vbc calls``: push a file of records of any size, resume it, and ask what became of a batch."""
