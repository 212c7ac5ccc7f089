"""Access: who a client is, proven by an API key."""
