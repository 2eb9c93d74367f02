"""The trainer: one job from the guard, one answer to it, in this process or in a sandbox."""
