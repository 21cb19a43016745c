"""What surrounds an engine in service: the exported script verified, requests passed on to it."""
