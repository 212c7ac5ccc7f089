"""Makes the demo model: its text, its training, its folder and its evaluation."""
