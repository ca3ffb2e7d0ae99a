"""Build the add-ons, but start nothing: python -m dev.addons."""

from dev.addons import argocd, containerd_two, envoy_gateway, flux, keda, prometheus, prometheus_adapter

if __name__ == "__main__":
    for addon in (containerd_two, envoy_gateway, prometheus, keda, prometheus_adapter, flux, argocd):
        addon.build()
