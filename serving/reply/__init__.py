"""From rows to an answer over HTTP: bodies, formats, codings, headers, and problems."""
