"""Build the add-ons, but start nothing: python -m dev.addons."""

from dev.addons import envoy_gateway

if __name__ == "__main__":
    envoy_gateway.build()
