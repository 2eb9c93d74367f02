"""The hospital's side: a Flower ClientApp over the site's own table and key."""

from pkgutil import extend_path

#: A study's bundle carries a part of this package; the rest is the installation's.
__path__ = extend_path(__path__, __name__)
