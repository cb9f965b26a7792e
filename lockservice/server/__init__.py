"""The server: its log, who is to be told of what, the calls, and the clock."""
