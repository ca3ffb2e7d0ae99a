"""A read-only page of all OnnxModels, for the browser. See docs/page.md."""
