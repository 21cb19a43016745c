"""Memory of one GPU by component: weights, activations, KV cache, overheads, each with an interval."""
