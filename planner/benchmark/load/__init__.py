"""The load generator: requests sent on time, by one process or several, with progress and the client's health."""
