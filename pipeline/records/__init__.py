"""Every query and every write. One file a question: what comes in, who works, what is overdue."""
