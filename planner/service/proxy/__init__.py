"""The front door: one address in front of one or several engines; long prompts are shortened or refused."""
