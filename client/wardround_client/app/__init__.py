"""What a site runs to train: covered by the code digest, and carried by a study's bundle."""
