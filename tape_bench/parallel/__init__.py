"""Several processes of one run: who they are, how they meet, what they share."""
