"""What jobs and service share: the names of settings. Nothing but the standard library; neither of them is imported here."""
