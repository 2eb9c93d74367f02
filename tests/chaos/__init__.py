"""Kill anything, lose nothing: processes of a study that die at random and at every named step."""
