"""What a process needs of its machine: files, keys at rest, steps of a start, output kept quiet."""
