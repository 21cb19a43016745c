"""vLLM's words as people type them: read by the rules of a release, and what each flag means for an estimate."""
