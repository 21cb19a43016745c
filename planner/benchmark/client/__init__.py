"""The HTTP client: connections, streamed events, access, what the server says about itself."""
