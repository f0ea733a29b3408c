"""The commands of ``bluesky-ptycho``, a module each: what it takes, and what it calls with that."""
