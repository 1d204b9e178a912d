"""Random faults against the library, in virtual time and with real processes."""
