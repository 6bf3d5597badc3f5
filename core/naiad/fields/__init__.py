"""Fields: all there is to know about each kind of thing that can be stored at a path, one file a kind."""
