"""Set-up of the lab: everything that is made once and kept. Standard library only: it runs before anything is there."""
