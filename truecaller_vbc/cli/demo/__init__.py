"""Keep many callers supplied with one token through refreshes, outages and revocation (``truecaller-vbc demo``)."""
