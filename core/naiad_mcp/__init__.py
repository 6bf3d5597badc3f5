"""`naiad mcp`: the runs of a store for agents, by the Model Context Protocol over standard input and output."""
