"""Nothing: the integration is found with no edit of this file."""
