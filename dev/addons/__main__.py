"""Build the add-ons, but start nothing: python -m dev.addons."""

from dev.addons import envoy_gateway, keda, prometheus, prometheus_adapter

if __name__ == "__main__":
    for addon in (envoy_gateway, prometheus, keda, prometheus_adapter):
        addon.build()
