"""The forms of URIs that models and data are fetched from: the API demands them, and fetch reads them."""

SCHEMES = ("s3", "gs", "az", "http", "https", "oci", "hf", "pvc")
SOURCE_FORMS = (
    "s3://BUCKET/KEY, gs://BUCKET/KEY, az://ACCOUNT/CONTAINER/PATH, https://HOST/PATH, http://HOST/PATH, "
    "oci://REGISTRY/REPOSITORY:TAG or @DIGEST, hf://ORGANIZATION/NAME[@REVISION]/PATH or pvc://CLAIM/PATH"
)
# No @ before the path: a password in a URI would be in every copy of the manifest and in status.
SOURCE_URI = r"^((s3|gs|az|hf|oci|pvc)://[^/\s@]+/\S+|https?://[^/\s@]+/\S*)$"
