"""The command line of gramhd: each command parses, makes one call into gramhd_core, and prints."""
