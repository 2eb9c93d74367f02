"""The hospital's side: a Flower ClientApp over the site's own table and key."""
