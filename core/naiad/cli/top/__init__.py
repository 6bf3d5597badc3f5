"""`naiad top`: the runs of a store, live, on a terminal."""
