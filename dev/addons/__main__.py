"""Build the add-ons, but start nothing: python -m dev.addons."""

from dev.addons import envoy_gateway, keda, prometheus

if __name__ == "__main__":
    for addon in (envoy_gateway, prometheus, keda):
        addon.build()
