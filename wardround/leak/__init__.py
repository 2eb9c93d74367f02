"""Known attacks on what a study publishes, tried on a run of one's own; imports no engine."""
