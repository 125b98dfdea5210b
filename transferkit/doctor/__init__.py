"""Whether this machine can do the work: what is installed, what computes, where there is room."""
