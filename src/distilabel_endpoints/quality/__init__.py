"""What is wrong with answers, as far as a program can tell, and when a run should stop."""
