"""The lock service: who is in charge, decided once for everybody (Chubby)."""
