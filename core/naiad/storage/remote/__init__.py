"""The back end of `https://` stores: runs are written in a folder here, shipped to a server, and read from it."""
