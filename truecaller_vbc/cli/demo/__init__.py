"""``truecaller-vbc demo``: keep many callers supplied with one token through refreshes, outages and revocation."""
