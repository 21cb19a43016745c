"""A study under way as a page that refreshes itself: `sight.py` looks, `server.py` shows it on the loopback."""
