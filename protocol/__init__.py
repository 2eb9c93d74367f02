"""The rules every party must agree on. Pure: no files, no sockets, no clock, no torch."""
