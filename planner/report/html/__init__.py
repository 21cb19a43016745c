"""A study as one HTML file that needs nothing else: no script, no network. `page.py` fills the template."""
