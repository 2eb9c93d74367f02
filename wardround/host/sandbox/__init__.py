"""A sandbox for code from outside: what the machine offers, and how to enter it.

Three walls of Linux, each of use without the others: namespaces (`bubblewrap`) hide the
disk, the network and other processes; Landlock (`landlock`) lets a process read what it is given
and write nothing; seccomp (`system_calls`) leaves it only the system calls that arithmetic needs.
"""
