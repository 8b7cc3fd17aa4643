"""From a request and a snapshot to rows: the plan, the SQL, and the short way for few cells."""
