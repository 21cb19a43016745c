"""Which candidate comes next, and where trials are kept: the store, the samplers, the process on the speed model."""
