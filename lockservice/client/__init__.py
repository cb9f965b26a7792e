"""Clients of a lock service: of our own, and of a real ZooKeeper behind the same interface."""
