"""Run the whole of docqa on one machine, and operate a running one."""
