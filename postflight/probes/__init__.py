"""Connect, ask, return a frozen observation. No judgement here."""
