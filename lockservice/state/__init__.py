"""What the lock service remembers, and the records that change it: pure, without a disk or a clock of its own."""
