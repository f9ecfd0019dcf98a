"""The commands of the command line, a file for each group: each is a call of the library, with heavy imports inside."""
