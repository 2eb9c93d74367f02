"""Side-by-side measurements: what wardround costs, beside what people would use instead."""
