"""A hospital's own tables: where they are, what is in them, and what training makes of them."""
