"""Who may ask: keys, tokens, rates."""
