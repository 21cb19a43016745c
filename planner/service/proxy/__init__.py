"""The front door: one address before one or several engines; long prompts are shortened or refused."""
