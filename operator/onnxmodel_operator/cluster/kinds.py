"""The kinds that the operator reads and writes."""

from dataclasses import dataclass

from onnxmodel_operator import names
from onnxmodel_operator.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind and its place in the API. label_selector: selects our objects; "" for all.

    add_on: of another project, which a cluster may lack: then there are no objects of it, until its CRD is there.
    """

    name: str
    group: str
    version: str
    plural: str
    label_selector: str = names.SELECTOR
    add_on: bool = False

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the URL path of the collection in all namespaces or in one, or of one object."""
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{prefix}{scope}/{self.plural}" + (f"/{name}" if name else "")


MODEL = Kind(names.KIND, names.GROUP, names.VERSION, names.PLURAL, label_selector="")
JOB = Kind("Job", "batch", "v1", "jobs")
POD = Kind("Pod", "", "v1", "pods")
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
SERVICE = Kind("Service", "", "v1", "services")
CLAIM = Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims")
RECORD = Kind("ControllerRevision", "apps", "v1", "controllerrevisions")
BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets")
SCALED_OBJECT = Kind("ScaledObject", "keda.sh", "v1alpha1", "scaledobjects", add_on=True)
AUTOSCALER = Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers")

_GATEWAY_API = "gateway.networking.k8s.io"
HTTP_ROUTE = Kind("HTTPRoute", _GATEWAY_API, "v1", "httproutes", add_on=True)
GRPC_ROUTE = Kind("GRPCRoute", _GATEWAY_API, "v1", "grpcroutes", add_on=True)

CHILDREN = (JOB, POD, DEPLOYMENT, SERVICE, CLAIM, RECORD, BUDGET)
ALL = (MODEL, *CHILDREN)
ROUTES = (HTTP_ROUTE, GRPC_ROUTE)
SCALERS = (SCALED_OBJECT, AUTOSCALER)
BY_NAME = {kind.name: kind for kind in (*ALL, *ROUTES, *SCALERS)}


def watched(settings: Settings) -> tuple[Kind, ...]:
    """Return the kinds to watch on this platform. Both of autoscalers, since KEDA makes one of Kubernetes'."""
    return (*ALL, *(ROUTES if settings.routes else ()), *(SCALERS if settings.autoscaling else ()))
