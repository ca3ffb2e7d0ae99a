"""Reports for people and for machines: the benchmark's page, tables, SARIF."""
