"""Record-level differential privacy: what it costs, where its noise comes from, how to train so."""
