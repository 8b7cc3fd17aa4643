"""How the service bears load: queues, time limits, threads, slow clients, workers' shares, and the process for heavy requests."""
