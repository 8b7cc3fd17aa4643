"""How the service bears load: queues, time limits, threads, slow clients, and the process for heavy requests."""
