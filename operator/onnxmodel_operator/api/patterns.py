"""The patterns of strings, and what each expects in words: a person is not to read a regular expression."""

SCHEMES = ("s3", "gs", "az", "http", "https", "oci", "hf", "pvc")
SOURCE_FORMS = (
    "s3://BUCKET/KEY, gs://BUCKET/KEY, az://ACCOUNT/CONTAINER/PATH, https://HOST/PATH, http://HOST/PATH, "
    "oci://REGISTRY/REPOSITORY:TAG or @DIGEST, hf://ORGANIZATION/NAME[@REVISION]/PATH or pvc://CLAIM/PATH"
)
# No @ before the path: a password in a URI would be in every copy of the manifest and in status.
SOURCE_URI = r"^((s3|gs|az|hf|oci|pvc)://[^/\s@]+/\S+|https?://[^/\s@]+/\S*)$"
SHA256 = r"^[0-9a-f]{64}$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$"

EXPECTED = {
    SOURCE_URI: "expected a URI such as s3://BUCKET/KEY, with the scheme s3, gs, az, hf, oci, pvc, http or "
    "https, with a path, and without spaces, user or password",
    SHA256: "expected 64 lowercase hexadecimal digits",
    QUANTITY: "expected a quantity such as 2, 500m or 512Mi",
}

NAMESPACE = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
MODEL_NAME = "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""The Service has the model's name, and a Service's name is a DNS-1035 label."""
MODEL_NAME_MESSAGE = (
    "metadata.name must be a DNS label that starts with a letter and has at most 63 characters, "
    "because the model's Service has the same name"
)
