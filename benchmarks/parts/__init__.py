"""What is measured: one module a question. Each has `measure(bench, size) -> rows`."""
