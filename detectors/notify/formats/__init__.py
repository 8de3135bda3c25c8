"""What each kind of target wants to be sent: one file each, all made of the same `Draft`."""
