"""What jobs and service share: names of settings, and days as a publication names them. Neither of the two is imported here."""
