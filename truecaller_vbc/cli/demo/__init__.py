"""``truecaller-vbc demo``: a play in which everything goes wrong and nobody is without a token."""
