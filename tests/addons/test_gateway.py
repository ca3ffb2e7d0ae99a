"""Envoy Gateway itself: what the tests of routes stand on."""

import http.client

import pytest

from dev.addons import envoy_gateway
from dev.kube import until


@pytest.fixture(scope="module")
def infra(platform, gateway):
    kube = platform.namespace("infra")
    envoy_gateway.gateway(kube, "models")
    return kube


def test_its_envoy_answers_for_a_gateway(infra, gateway):
    def asked():
        connection = http.client.HTTPConnection(envoy_gateway.ADDRESS, envoy_gateway.PORT, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": "nobody.example.com"})
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    assert until("Envoy listens", asked, seconds=60) == 404, "no route has this name"
    assert gateway.running()
