"""``python -m wardround`` is ``wardround``."""

from wardround.command_line import main

main()
