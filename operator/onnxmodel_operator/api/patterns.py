"""Patterns of strings, and descriptions of them for messages: nobody should have to read a regular expression."""

from onnxmodel_runtime.contract.uris import SCHEMES, SOURCE_URI

SHA256 = r"^[0-9a-f]{64}$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$"
BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
ENDPOINT = r"^(https?://\S+)?$"
REGION = r"^[A-Za-z0-9-]{1,64}$"
ROLE = r"^arn:[A-Za-z0-9+=,.@_/:$-]{16,}$"
FOLDER = r"^(/[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*)+$"
PREFIX = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"
REPOSITORY = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$"
DOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
NAMESPACE = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
OBJECT = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
SECTION = f"^({OBJECT[1:-1]})?$"

LABEL_KEY = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
SPAN = "^[1-9][0-9]{0,4}[sm]$"
PAUSE = "^(Manual|([0-9]{1,3}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?)$"

EXPECTED = {
    SOURCE_URI: f"expected a URI such as s3://BUCKET/KEY, with the scheme {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}, "
    "with a path, and without spaces, user or password",
    SHA256: "expected 64 lowercase hexadecimal digits",
    QUANTITY: "expected a quantity such as 2, 500m or 512Mi",
    PAUSE: "expected a duration such as 90s, 5m or 1h30m, or Manual",
    SPAN: "expected a duration such as 90s or 5m",
    LABEL_KEY: "expected a key such as team or example.com/team",
    LABEL_VALUE: "expected at most 63 letters, digits, '-', '_' and '.', with a letter or a digit at both ends",
    BUCKET: "expected the name of a bucket: 3 to 63 lowercase letters, digits, dots and hyphens",
    ENDPOINT: "expected a URL that begins with http:// or https://",
    REPOSITORY: "expected a repository such as registry.example.com/team/artifacts, without a scheme, a tag and a digest",
    REGION: "expected a region such as us-east-1",
    ROLE: "expected the ARN of a role such as arn:aws:iam::111122223333:role/artifacts",
    FOLDER: "expected the absolute path of a folder such as /var/cache/onnxmodel",
    NAMESPACE: "expected the name of a namespace: at most 63 lowercase letters, digits and hyphens",
    OBJECT: "expected the name of an object: lowercase letters, digits, dots and hyphens",
    SECTION: "expected the name of a listener: lowercase letters, digits, dots and hyphens",
    DOMAIN: "expected a domain such as models.example.com, without a wildcard",
    PREFIX: "expected a prefix such as clusters/a: letters, digits, dots, hyphens and underscores, without a slash at the end",
}

MODEL_NAME = "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A DNS-1035 label, because the Service has the model's name."""
MODEL_NAME_MESSAGE = (
    "metadata.name must be a DNS label that starts with a letter and has at most 63 characters, "
    "because the model's Service has the same name"
)
