"""Code that the demo, the benchmarks and the tests share: a local Kubernetes, a platform, ports, stage results."""
