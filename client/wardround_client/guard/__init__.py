"""The guard: a process of its own that alone holds a hospital's key, and decides what may leave."""
